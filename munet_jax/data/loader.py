"""Endless, repeatable batches of training clips, on grain.

Batch number `step` depends on the seed and on `step` only: not on threads, not on where the iteration began. So a run
that is resumed at step k sees what an uninterrupted run would have seen, and P processes together see what one would.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import logging

from munet_jax.data.clips import ClipOptions, ClipSource, Part
from munet_jax.data.options import DataConfig
from munet_jax.data.sampling import ClipIndex, Sample, sample_clip
from munet_jax.data.workers import (
    AUTOMATIC,
    BUFFERED,
    Crew,
    begin_worker,
    choose_crew,
    clip_bytes,
    close_at_exit,
    let_workers_start,
)
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section
from munet_jax.runtime.prefetch import prefetch

Batch = dict[str, np.ndarray]

SKIP_TRIES = 20  # unreadable clips in a row after which skipping gives up


def make_loader(
    parts: Sequence[Part],
    options: ClipOptions,
    *,
    batch_size: int,
    seed: int,
    stride: int = 1,
    start_step: int = 0,
    threads: int = AUTOMATIC,
    workers: int = 0,
    on_error: str = "stop",
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """An endless iterator over batches: the samples of `sample_clip`, stacked along a leading axis `b`.

    Each also has `part`, the number of the part that it comes from.

    Each pass over a part visits every clip of its `ClipIndex` once, in an order of its own. Parts take turns in the
    proportion of their weights.

    Args:
      parts: where clips come from.
      options: what clips are like.
      batch_size: clips per step over all processes; each process gets batch_size / process_count of them.
      seed: 0 to 2^32 - 1.
      stride: annotated frames between the starts of clips; `options.length` means clips that do not overlap.
      start_step: the first batch to give; a resumed run passes the number of steps it has done.
      threads: of each process that makes clips in the background; 0 makes each when it is asked for.
      workers: processes that make clips; 0 makes them in this one. They import the program anew, so a script that asks
        for them has its work under `if __name__ == "__main__":`.
      on_error: what an unreadable clip does: 'stop' the iteration, or 'skip' it: another one is drawn in its place, and
        the batch's `skipped` (int32 [b]) counts.
      process_index: which of the processes this is.
      process_count: how many processes train together.

    `threads` and `workers` may be `AUTOMATIC`: `choose_crew` (munet_jax/data/workers.py) chooses them by the cores.

    Raises:
      InputError: numbers that do not fit together, a source without clips; and, from `next`, whatever reading a clip
        raises, also where a background thread met it.
    """
    _check_numbers(batch_size, seed, start_step, process_index, process_count)
    check_section("config.data", {"on_error": on_error}, DataConfig)
    crew = choose_crew(threads, workers, clip_bytes(options.length, options.size))
    indices = [ClipIndex(part.source, options.length, stride, phase=part.phase, seed=seed) for part in parts]
    streams = [
        grain.MapDataset.range(len(index)).seed(seed).shuffle().map_with_index(_Place(number, index)).repeat()
        for number, index in enumerate(indices)
    ]
    clips = grain.MapDataset.mix(streams, weights=[part.weight for part in parts]) if len(parts) > 1 else streams[0]
    sources = [part.source for part in parts]
    read = functools.partial(_read_sample, sources=sources, indices=indices, options=options, skip=on_error == "skip")
    # The random numbers of a sample follow from its place in the endless stream, so the slices come after the draw.
    samples = clips.seed(seed).random_map(read).slice(slice(process_index, None, process_count))
    own = batch_size // process_count
    return _stream(samples.slice(slice(start_step * own, None)), own, crew)


def _stream(samples: grain.MapDataset[Sample], batch_size: int, crew: Crew) -> Iterator[Batch]:
    """Batches of samples that threads and workers make ahead, clip by clip: what waits takes no more room than they are."""
    ahead = max(2 * crew.threads, 0 if crew.workers else 2 * batch_size)
    clips = samples.to_iter_dataset(grain.ReadOptions(num_threads=crew.threads, prefetch_buffer_size=ahead))
    if crew.workers:
        let_workers_start()
        options = grain.MultiprocessingOptions(num_workers=crew.workers, per_worker_buffer_size=BUFFERED)
        clips = clips.mp_prefetch(options, worker_init_fn=begin_worker)
    batches = iter(clips.batch(batch_size, drop_remainder=True))
    if crew.workers:
        return close_at_exit(prefetch(_from_workers(batches)))
    return prefetch(batches) if crew.threads else batches


def _from_workers(batches: grain.DatasetIterator[Batch]) -> Iterator[Batch]:
    """The same batches; a worker that ends is an InputError with the usual causes, and all end with the iteration."""
    try:
        yield from batches
    except RuntimeError as error:
        if "Worker process" not in str(error):
            raise
        raise InputError(
            f"{' '.join(str(error).split('.')[0].split())}: what it printed is above. A script that starts workers has its "
            'work under `if __name__ == "__main__":`; codes -7 and -9 say that memory, or shared memory (/dev/shm), ran '
            "out: lower config.data.workers"
        ) from error
    finally:
        batches.close()


def fake_loader(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The first batch, again and again: what a run would cost if data were free."""
    return itertools.repeat(next(batches))


def count_clips(parts: Sequence[Part], options: ClipOptions, *, stride: int = 1) -> int:
    """Clips in one pass over all parts. Raises InputError for a source without clips."""
    return sum(len(ClipIndex(part.source, options.length, stride, phase=part.phase)) for part in parts)


class _Clip(NamedTuple):
    """A clip of a mix: number of the part, and what its `ClipIndex` says."""

    part: int
    place: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Place:
    """From a position in a part's endless stream, and the clip that the shuffled epoch has there, to the clip itself."""

    part: int
    index: ClipIndex

    def __call__(self, position: int, clip: int) -> _Clip:
        return _Clip(self.part, self.index.place(clip, epoch=position // len(self.index)))


def _read_sample(
    clip: _Clip,
    rng: np.random.Generator,
    *,
    sources: Sequence[ClipSource],
    indices: Sequence[ClipIndex],
    options: ClipOptions,
    skip: bool,
) -> Sample:
    source, index, (video, start) = sources[clip.part], indices[clip.part], clip.place
    for skipped in range(SKIP_TRIES):
        try:
            sample = sample_clip(source, video, start, rng, options, index)
            return sample | {"part": np.array(clip.part, np.int32), "skipped": np.array(skipped, np.int32)}
        except InputError as error:
            if not skip:
                raise
            logging.warning("clip skipped: %s", error)
            reason = error
        [(video, start)] = index.draw(rng, 1)
    raise InputError(f"{source.name}: {SKIP_TRIES} clips in a row cannot be read; the last: {reason}")


def _check_numbers(batch_size: int, seed: int, start_step: int, process_index: int, process_count: int) -> None:
    if not 0 <= process_index < process_count:
        raise InputError(f"process {process_index} of {process_count} processes does not exist")
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size {batch_size} cannot be split evenly over {process_count} processes; change it")
    if not 0 <= seed < 2**32:
        raise InputError(f"the seed lies between 0 and 2^32 - 1, not {seed}")
    if start_step < 0:
        raise InputError(f"start_step is {start_step}; steps are counted from 0")
