"""From a source's videos to training samples: which frames, which objects, which slots."""

from __future__ import annotations

import bisect
import dataclasses
import itertools

import numpy as np

from munet_jax.data.clips import ClipOptions, ClipSource
from munet_jax.data.composites import paste_objects
from munet_jax.data.masks import IGNORE
from munet_jax.data.objects import pick_objects, slots_by_id
from munet_jax.data.options import DataConfig
from munet_jax.data.stills import Frames, StillMover
from munet_jax.data.transforms import (
    Matrix,
    draw_affine,
    draw_crop,
    jitter_colours,
    recolour,
    warp_image,
    warp_labels,
)
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section

Sample = dict[str, np.ndarray]

CROP_TRIES = 4  # crops drawn before a clip is given up
CLIP_TRIES = 32  # clips drawn before a source is given up
OTHER_TRIES = 4  # clips drawn to paste the objects of, before a clip is left as it is
PHASES = ("random", "fixed")


class ClipIndex:
    """The clips of an epoch of a source in order, as (video, start) pairs; `start` counts the video's annotated frames.

    With `stride` 1 a clip starts at every annotated frame that has enough after it; with `stride` = `length` the clips
    do not overlap. Videos that are too short have no clips; a still image has one, whatever the length.

    Phase 'fixed' has the same starts in every epoch: 0, stride, 2 * stride, ... With 'random' all starts of a video move
    on by one number, drawn anew for every video and epoch. Those that pass the last possible start come in again at the
    first, so that an epoch has as many clips as with 'fixed', all starts are equally likely, and at most two clips of a
    video are closer than `stride`.
    """

    def __init__(
        self, source: ClipSource, length: int, stride: int = 1, *, phase: str = "fixed", seed: int = 0
    ) -> None:
        """Counts the clips; the random phases follow from `seed`. Raises InputError if no video is long enough."""
        if length < 1 or stride < 1:
            raise InputError(f"a clip has at least 1 frame and a stride of at least 1, not {length} and {stride}")
        check_section("config.data", {"clip_phase": phase}, DataConfig)
        videos = [source.video(video) for video in range(len(source))]
        annotated = [length if video.still else len(video.annotated) for video in videos]
        self._starts = [max(0, frames - length + 1) for frames in annotated]
        self._stride, self._seed = stride, seed
        # With stride 1 every start is taken anyway.
        self._moves = phase == "random" and stride > 1
        self._ends = list(itertools.accumulate(-(-starts // stride) for starts in self._starts))
        if not self._ends or not self._ends[-1]:
            longest = f"the longest video has {max(annotated)}" if annotated else "it has no videos"
            raise InputError(f"{source.name}: no video has {length} annotated frames ({longest}); take shorter clips")

    def __len__(self) -> int:
        """The number of clips in an epoch."""
        return self._ends[-1]

    def place(self, clip: int, epoch: int) -> tuple[int, int]:
        """(video, start) of a clip, which is numbered from 0, in an epoch."""
        video = bisect.bisect_right(self._ends, clip)
        before = self._ends[video - 1] if video else 0
        starts = self._starts[video]
        phase = int(np.random.default_rng((self._seed, epoch, video)).integers(starts)) if self._moves else 0
        return video, ((clip - before) * self._stride + phase) % starts

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        """(video, start) of `count` clips, drawn from all epochs."""
        clips = rng.integers(len(self), size=count).tolist()
        epochs = rng.integers(2**32, size=count).tolist() if self._moves else [0] * count
        return [self.place(clip, epoch) for clip, epoch in zip(clips, epochs, strict=True)]


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
    options: ClipOptions,
    index: ClipIndex | None = None,
) -> Sample:
    """Reads and augments one clip; `h w` is `options.size`, `t` its `length`, `n` its `max_objects`.

    Frame 0 is the reference, unmoved but for flip and crop. Its objects (at most n of them, chosen at random) are
    renumbered 1, 2, ... in the order of their ids; every other object is background in all frames. A clip whose
    reference shows no object after cropping is drawn again: other crops, then another start in the video, then other
    videos. A still image is moved; its objects may be put over another image, and one of that image may be added
    (munet_jax/data/stills.py). Objects of another video, or its own once more, may pass over a video's clip
    (munet_jax/data/composites.py), and others over those.

    Args:
      source: the videos.
      video: index of the video.
      start: the clip's first frame, an index into the video's `annotated`.
      rng: random numbers; the sample depends on nothing else but the arguments.
      options: what clips are like.
      index: the clips to draw another one from; made of the source if not given.

    Returns:
      `frames` uint8 [t, h, w, 3], `labels` uint8 [t, h, w] from 0 to n, `valid` bool [t, h, w] (false outside the
      image and where the data says 'ignore'), `objects` bool [n] (the slots in use), and `video` and `start`, int32
      scalars: the clip that was taken in the end.

    Raises:
      InputError: unreadable files, frames of different sizes in a clip, or no object in any of the clips tried.
    """
    reference = _find_reference(source, video, start, rng, options, index)
    if source.video(reference.video).still:
        mover = StillMover(source, options)
        *parts, slots = mover.clip(reference.video, reference.labels, reference.crop, reference.ids, rng)
        frames, labels, valid = parts
    else:
        frames, labels, valid = _read_frames(source, reference, rng, options)
        slots = len(reference.ids)
        for _ in range(max(1, options.max_objects - 1)):
            if not options.composite or rng.uniform() >= options.composite:
                break
            (frames, labels, valid), slots = _add_other(
                source, reference, (frames, labels, valid), slots, rng, options, index
            )
    if options.augmentation.changes_colours:
        frames[1:] = [jitter_colours(frame, rng, options.augmentation) for frame in frames[1:]]
    return {
        "frames": frames,
        "labels": labels,
        "valid": valid,
        "objects": np.arange(options.max_objects) < slots,
        "video": np.array(reference.video, np.int32),
        "start": np.array(reference.start, np.int32),
    }


def _read_frames(source: ClipSource, reference: _Reference, rng: np.random.Generator, options: ClipOptions) -> Frames:
    """Reads and moves the frames of a clip: colours, slots and validity, stacked over time."""
    annotated = source.video(reference.video).annotated
    room = (len(annotated) - 1 - reference.start) // max(1, options.length - 1)
    largest = min(options.max_skip, room)
    skip = int(rng.integers(1, largest + 1)) if largest > 1 else 1
    slot_of = slots_by_id(reference.ids)
    frames = np.empty((options.length, *options.size, 3), np.uint8)
    labels = np.empty((options.length, *options.size), np.uint8)
    valid = np.empty((options.length, *options.size), bool)
    for position in range(options.length):
        frame = annotated[reference.start + position * skip]
        image = source.frame(reference.video, frame)
        label_map = source.labels(reference.video, frame) if position else reference.labels
        _check_sizes(source, reference, frame, image, label_map)
        matrix = reference.crop
        if position and options.augmentation.moves_queries:
            matrix = matrix @ draw_affine(rng, options.augmentation, options.size)
        frames[position] = warp_image(image, matrix, options.size)
        ids, inside = warp_labels(label_map, matrix, options.size)
        valid[position] = inside & (ids != IGNORE)
        labels[position] = slot_of[ids]
    return frames, labels, valid


def _add_other(
    source: ClipSource,
    reference: _Reference,
    clip: Frames,
    slots: int,
    rng: np.random.Generator,
    options: ClipOptions,
    index: ClipIndex | None,
) -> tuple[Frames, int]:
    """Pastes the objects of a clip of another video, or its own once more, and counts the slots.

    The clip stays as it is where they would hide it.
    """
    index = index or ClipIndex(source, options.length)
    alike = bool(options.look_alike) and rng.uniform() < options.look_alike
    own = [(reference.video, reference.start)] * OTHER_TRIES
    for video, start in own if alike else index.draw(rng, OTHER_TRIES):
        if video == reference.video and not alike:
            continue
        other = _find_reference(source, video, start, rng, options, index)
        if (other.video == reference.video) != alike:
            continue
        followed = slots < options.max_objects and rng.uniform() < 0.5
        above = _read_frames(source, other, rng, options)
        if alike:
            above = (recolour(above[0], rng, options.augmentation), *above[1:])
        pasted = paste_objects(clip, above, slots + 1 if followed else 0)
        pixels = np.bincount(pasted[1][0].ravel(), minlength=slots + 2)[1 : slots + 1 + followed]
        if (pixels >= options.min_pixels).all():
            return pasted, slots + followed
    return clip, slots


def _find_reference(
    source: ClipSource,
    video: int,
    start: int,
    rng: np.random.Generator,
    options: ClipOptions,
    index: ClipIndex | None,
) -> _Reference:
    """The first clip, of those drawn, whose cropped reference shows an object; only label maps are read."""
    _check_start(source, video, start, options.length)
    objects, pixels = options.max_objects, options.min_pixels
    for attempt in range(CLIP_TRIES):
        labels = source.labels(video, source.video(video).annotated[start])
        tries = CROP_TRIES if _has_object(labels) else 0
        for _ in range(tries):
            crop = draw_crop(rng, options.augmentation, labels.shape, options.size)
            cropped, _ = warp_labels(labels, crop, options.size)
            ids = pick_objects(cropped, rng, max_objects=objects, min_pixels=pixels)
            if ids:
                return _Reference(video, start, labels, crop, ids)
        starts = len(source.video(video).annotated) - options.length + 1
        if attempt < CLIP_TRIES // 2 and starts > 1:
            start = int(rng.integers(starts))
        else:
            index = index or ClipIndex(source, options.length)
            [(video, start)] = index.draw(rng, 1)
    raise InputError(
        f"{source.name}: {CLIP_TRIES} clips in a row show no object of {pixels} pixels at {options.size[0]} x "
        f"{options.size[1]} in their first frame; check the label maps, or lower min_pixels"
    )


def _check_start(source: ClipSource, video: int, start: int, length: int) -> None:
    annotated = source.video(video).annotated
    if source.video(video).still and start == 0:
        return
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
