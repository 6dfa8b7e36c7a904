"""From a source's videos to training samples: which frames, which objects, which slots."""

from __future__ import annotations

import bisect
import dataclasses
import itertools

import numpy as np

from munet_jax.array_types import Image, LabelMap
from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import IGNORE
from munet_jax.data.transforms import (
    AugmentationConfig,
    Matrix,
    draw_affine,
    draw_crop,
    jitter_colours,
    warp_image,
    warp_labels,
)
from munet_jax.errors import InputError

Sample = dict[str, np.ndarray]

CROP_TRIES = 4  # crops drawn before a clip is given up
CLIP_TRIES = 32  # clips drawn before a source is given up


class ClipIndex:
    """All clips of a source in order, as (video, start) pairs; `start` counts the video's annotated frames.

    With `stride` 1 a clip starts at every annotated frame that has enough after it; with `stride` = `length` the clips
    do not overlap. Videos that are too short have no clips.
    """

    def __init__(self, source: ClipSource, length: int, stride: int = 1) -> None:
        """Counts the clips. Raises InputError if no video is long enough."""
        if length < 1 or stride < 1:
            raise InputError(f"a clip has at least 1 frame and a stride of at least 1, not {length} and {stride}")
        annotated = [len(source.video(video).annotated) for video in range(len(source))]
        counts = [max(0, (frames - length) // stride + 1) for frames in annotated]
        self._stride = stride
        self._ends = list(itertools.accumulate(counts))
        if not self._ends or not self._ends[-1]:
            longest = f"the longest video has {max(annotated)}" if annotated else "it has no videos"
            raise InputError(f"{source.name}: no video has {length} annotated frames ({longest}); take shorter clips")

    def __len__(self) -> int:
        """The number of clips."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[int, int]:
        """(video, start) of clip `index`."""
        video = bisect.bisect_right(self._ends, index)
        before = self._ends[video - 1] if video else 0
        return video, (index - before) * self._stride


@dataclasses.dataclass(frozen=True)
class _Reference:
    """A clip that is worth reading: where it starts, its first label map, the crop, and the ids for the slots."""

    video: int
    start: int
    labels: LabelMap
    crop: Matrix
    ids: tuple[int, ...]


def sample_clip(
    source: ClipSource,
    video: int,
    start: int,
    rng: np.random.Generator,
    *,
    length: int,
    size: tuple[int, int],
    max_objects: int,
    augmentation: AugmentationConfig,
    max_skip: int = 1,
    min_pixels: int = 16,
) -> Sample:
    """Reads and augments one clip; `h w` is `size`, `t` is `length`, `n` is `max_objects`.

    Frame 0 is the reference, unmoved but for flip and crop. Its objects (at most n of them, chosen at random) are
    renumbered 1, 2, ... in the order of their ids; every other object is background in all frames. A clip whose
    reference shows no object after cropping is drawn again: other crops, then another start in the video, then other
    videos.

    Args:
      source: the videos.
      video: index of the video.
      start: the clip's first frame, an index into the video's `annotated`.
      rng: random numbers; the sample depends on nothing else but the arguments.
      length: frames in the clip, consecutive annotated ones.
      size: (height, width) of the sample.
      max_objects: the number of object slots.
      augmentation: strengths.
      max_skip: every k-th annotated frame is taken, k drawn from 1 to this (less where the video ends).
      min_pixels: an object with fewer pixels in the cropped reference is not chosen.

    Returns:
      `frames` uint8 [t, h, w, 3], `labels` uint8 [t, h, w] from 0 to n, `valid` bool [t, h, w] (false outside the
      image and where the data says 'ignore'), `objects` bool [n] (the slots in use), and `video` and `start`, int32
      scalars: the clip that was taken in the end.

    Raises:
      InputError: unreadable files, frames of different sizes in a clip, or no object in any of the clips tried.
    """
    reference = _find_reference(source, video, start, rng, length, size, max_objects, augmentation, min_pixels)
    annotated = source.video(reference.video).annotated
    room = (len(annotated) - 1 - reference.start) // max(1, length - 1)
    skip = int(rng.integers(1, min(max_skip, room) + 1)) if min(max_skip, room) > 1 else 1
    chosen = annotated[reference.start : reference.start + (length - 1) * skip + 1 : skip]
    slot_of = np.zeros(256, np.uint8)
    slot_of[list(reference.ids)] = np.arange(1, len(reference.ids) + 1)

    frames = np.empty((length, *size, 3), np.uint8)
    labels = np.empty((length, *size), np.uint8)
    valid = np.empty((length, *size), bool)
    for position, frame in enumerate(chosen):
        image = source.frame(reference.video, frame)
        label_map = source.labels(reference.video, frame) if position else reference.labels
        _check_sizes(source, reference, frame, image, label_map)
        matrix = reference.crop
        if position and augmentation.moves_queries:
            matrix = matrix @ draw_affine(rng, augmentation, size)
        frames[position] = warp_image(image, matrix, size)
        if position and augmentation.changes_colours:
            frames[position] = jitter_colours(frames[position], rng, augmentation)
        ids, inside = warp_labels(label_map, matrix, size)
        valid[position] = inside & (ids != IGNORE)
        labels[position] = slot_of[ids]
    return {
        "frames": frames,
        "labels": labels,
        "valid": valid,
        "objects": np.arange(max_objects) < len(reference.ids),
        "video": np.array(reference.video, np.int32),
        "start": np.array(reference.start, np.int32),
    }


def pick_objects(
    labels: LabelMap, rng: np.random.Generator, *, max_objects: int, min_pixels: int = 16
) -> tuple[int, ...]:
    """At most `max_objects` ids, chosen at random and sorted, of the objects with at least `min_pixels` pixels."""
    pixels = np.bincount(labels.ravel(), minlength=256)
    pixels[[0, IGNORE]] = 0
    present = np.flatnonzero(pixels >= max(1, min_pixels))
    if len(present) > max_objects:
        present = np.sort(rng.choice(present, max_objects, replace=False))
    return tuple(present.tolist())


def _find_reference(
    source: ClipSource,
    video: int,
    start: int,
    rng: np.random.Generator,
    length: int,
    size: tuple[int, int],
    max_objects: int,
    augmentation: AugmentationConfig,
    min_pixels: int,
) -> _Reference:
    """The first clip, of those drawn, whose cropped reference shows an object; only label maps are read."""
    _check_start(source, video, start, length)
    index = None
    for attempt in range(CLIP_TRIES):
        labels = source.labels(video, source.video(video).annotated[start])
        tries = CROP_TRIES if _has_object(labels) else 0
        for _ in range(tries):
            crop = draw_crop(rng, augmentation, labels.shape, size)
            ids = pick_objects(warp_labels(labels, crop, size)[0], rng, max_objects=max_objects, min_pixels=min_pixels)
            if ids:
                return _Reference(video, start, labels, crop, ids)
        starts = len(source.video(video).annotated) - length + 1
        if attempt < CLIP_TRIES // 2 and starts > 1:
            start = int(rng.integers(starts))
        else:
            index = index or ClipIndex(source, length)
            video, start = index[int(rng.integers(len(index)))]
    raise InputError(
        f"{source.name}: {CLIP_TRIES} clips in a row show no object of {min_pixels} pixels at {size[0]} x {size[1]} "
        "in their first frame; check the label maps, or lower min_pixels"
    )


def _check_start(source: ClipSource, video: int, start: int, length: int) -> None:
    annotated = source.video(video).annotated
    if not 0 <= start <= len(annotated) - length:
        what = f"{source.name}/{source.video(video).name}: has {len(annotated)} annotated frames"
        raise InputError(f"{what}; a clip of {length} cannot start at number {start}")


def _has_object(labels: LabelMap) -> bool:
    return bool(((labels > 0) & (labels < IGNORE)).any())


def _check_sizes(source: ClipSource, reference: _Reference, frame: int, image: Image, labels: LabelMap) -> None:
    height, width = reference.labels.shape
    if image.shape[:2] == (height, width) == labels.shape:
        return
    video = source.video(reference.video)
    found = f"frame {image.shape[1]} x {image.shape[0]}, label map {labels.shape[1]} x {labels.shape[0]}"
    raise InputError(
        f"{source.name}/{video.name}, frame {video.frame_names[frame]}: {found}, but the clip began with {width} x "
        f"{height}; make them one size"
    )
