"""Endless, repeatable batches of training clips, on grain.

Batch number `step` depends on the seed and on `step` only: not on threads, not on where the iteration began. So a run
that is resumed at step k sees what an uninterrupted run would have seen, and P processes together see what one would.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import grain
import numpy as np

from munet_jax.data.clips import ClipSource
from munet_jax.data.sampling import ClipIndex, Sample, sample_clip
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.errors import InputError

Batch = dict[str, np.ndarray]


def make_loader(
    source: ClipSource,
    *,
    batch_size: int,
    length: int,
    size: tuple[int, int],
    max_objects: int,
    augmentation: AugmentationConfig,
    seed: int,
    start_step: int = 0,
    threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
    max_skip: int = 1,
    min_pixels: int = 16,
    stride: int = 1,
) -> Iterator[Batch]:
    """An endless iterator over batches: the samples of `sample_clip`, stacked along a leading axis `b`.

    Each epoch visits every clip of `ClipIndex(source, length, stride)` once, in an order of its own.

    Args:
      source: the videos.
      batch_size: clips per step over all processes; each process gets batch_size / process_count of them.
      length: frames per clip.
      size: (height, width) of the samples.
      max_objects: object slots.
      augmentation: strengths.
      seed: 0 to 2^32 - 1.
      start_step: the first batch to give; a resumed run passes the number of steps it has done.
      threads: how many batches are made at the same time in the background; 0 makes each when it is asked for.
      process_index: which of the processes this is.
      process_count: how many processes train together.
      max_skip: see `sample_clip`.
      min_pixels: see `sample_clip`.
      stride: annotated frames between the starts of clips; `length` means clips that do not overlap.

    Raises:
      InputError: numbers that do not fit together, a source without clips; and, from `next`, whatever reading a clip
        raises, also where a background thread met it.
    """
    _check_numbers(batch_size, seed, start_step, threads, process_index, process_count)
    read = functools.partial(
        _read_sample,
        source=source,
        length=length,
        size=size,
        max_objects=max_objects,
        augmentation=augmentation,
        max_skip=max_skip,
        min_pixels=min_pixels,
    )
    clips = grain.MapDataset.source(ClipIndex(source, length, stride)).seed(seed).shuffle().repeat()
    # The random numbers of a sample follow from its place in the endless stream, so the slices come after the draw.
    samples = clips.random_map(read).slice(slice(process_index, None, process_count))
    batches = samples.batch(batch_size // process_count, drop_remainder=True).slice(slice(start_step, None))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches.to_iter_dataset(options))


def steps_per_epoch(source: ClipSource, *, batch_size: int, length: int, stride: int = 1) -> int:
    """Whole batches in one pass over the clips, at least 1. Raises InputError for a source without clips."""
    return max(1, len(ClipIndex(source, length, stride)) // batch_size)


def _read_sample(
    clip: tuple[int, int],
    rng: np.random.Generator,
    *,
    source: ClipSource,
    length: int,
    size: tuple[int, int],
    max_objects: int,
    augmentation: AugmentationConfig,
    max_skip: int,
    min_pixels: int,
) -> Sample:
    video, start = clip
    return sample_clip(
        source,
        video,
        start,
        rng,
        length=length,
        size=size,
        max_objects=max_objects,
        augmentation=augmentation,
        max_skip=max_skip,
        min_pixels=min_pixels,
    )


def _check_numbers(
    batch_size: int, seed: int, start_step: int, threads: int, process_index: int, process_count: int
) -> None:
    if not 0 <= process_index < process_count:
        raise InputError(f"process {process_index} of {process_count} processes does not exist")
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size {batch_size} cannot be split evenly over {process_count} processes; change it")
    if not 0 <= seed < 2**32:
        raise InputError(f"the seed lies between 0 and 2^32 - 1, not {seed}")
    if start_step < 0 or threads < 0:
        raise InputError(f"start_step and threads are not negative, but {start_step} and {threads} were given")
