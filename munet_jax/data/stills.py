"""Training clips from still images: what is cut out, what lies behind it, and what crosses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from munet_jax.data.clips import ClipOptions, ClipSource, Video
from munet_jax.data.layers import Layer, compose, fill_holes, middle_of
from munet_jax.data.masks import IGNORE
from munet_jax.data.objects import pick_objects, slots_by_id
from munet_jax.data.still_motion import Course, draw_course
from munet_jax.data.transforms import Matrix, affine, draw_crop, recolour, warp_image, warp_labels
from munet_jax.host_types import Float, Image, LabelMap

# Colours, slots and validity of a clip's frames; and the number of slots in use.
Frames = tuple[np.ndarray, np.ndarray, np.ndarray]
MovedStill = tuple[np.ndarray, np.ndarray, np.ndarray, int]
Point = Float[np.ndarray, " 2"]

_PLACED_MIDDLE = (0.2, 0.8)  # of its middle, as a part of the frame
_ARRANGEMENTS = 4  # tried until every object shows in frame 0


@dataclasses.dataclass(frozen=True)
class _Other:
    """Another image, and what it is for."""

    image: Image
    labels: LabelMap
    behind: bool
    crosses: bool


class FramesAsStills:
    """Every annotated frame of a source's videos as a still image of its own."""

    def __init__(self, source: ClipSource) -> None:
        """Counts the frames; nothing is read."""
        self.name = f"{source.name}-stills"
        self._source = source
        self._ends = np.cumsum([len(source.video(index).annotated) for index in range(len(source))])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends.size else 0

    def video(self, index: int) -> Video:
        """One frame, named 'video/frame'."""
        video, frame = self._place(index)
        description = self._source.video(video)
        name = description.frame_names[frame]
        return Video(
            f"{description.name}/{name}", (name,), (0,), description.categories, still=True, origin=description.name
        )

    def frame(self, index: int, frame: int) -> Image:
        """The image, RGB uint8 [h, w, 3]; `frame` is 0."""
        return self._source.frame(*self._place(index))

    def labels(self, index: int, frame: int) -> LabelMap:
        """Its label map, uint8 [h, w]; `frame` is 0."""
        return self._source.labels(*self._place(index))

    def _place(self, index: int) -> tuple[int, int]:
        video = int(np.searchsorted(self._ends, index, side="right"))
        annotated = self._source.video(video).annotated
        return video, annotated[index - int(self._ends[video]) + len(annotated)]


class StillMover:
    """Makes training clips of the still images of a source."""

    def __init__(self, source: ClipSource, options: ClipOptions) -> None:
        self._source = source
        self._options = options
        self._motion = options.still_motion

    def clip(
        self, index: int, labels: LabelMap, crop: Matrix, ids: Sequence[int], rng: np.random.Generator
    ) -> MovedStill:
        """A clip of `t` = options.length frames of h x w = options.size.

        Args:
          index: of the image.
          labels: its label map.
          crop: from output to image positions in frame 0.
          ids: objects to follow, as slots 1, 2, ...
          rng: random numbers.

        Returns:
          frames uint8 [t, h, w, 3], labels uint8 [t, h, w] (slots), valid bool [t, h, w], number of slots in use.

        Raises:
          InputError: an unreadable image.
        """
        image = self._source.frame(index, 0)
        camera = draw_course(rng, self._motion, self._options.size)
        if rng.uniform() < self._motion.separate:
            other = self._draw_other(index, rng)
            for _ in range(_ARRANGEMENTS):
                layers = self._arrange(image, labels, crop, ids, camera, other, rng)
                slots = max(layer.slot for layer in layers)
                frames, moved, valid = self._render(layers)
                if self._shows(moved[0], slots):
                    return frames, moved, valid, slots
        return *self._move_whole(image, labels, crop, ids, camera), len(ids)

    @property
    def _times(self) -> list[float]:
        return np.linspace(0.0, 1.0, self._options.length).tolist()

    def _move_whole(self, image: Image, labels: LabelMap, crop: Matrix, ids: Sequence[int], camera: Course) -> Frames:
        size = self._options.size
        slot_of = slots_by_id(ids)
        matrices = [crop @ camera.at(time) for time in self._times]
        warped = [warp_labels(labels, matrix, size) for matrix in matrices]
        return (
            np.stack([warp_image(image, matrix, size) for matrix in matrices]),
            np.stack([slot_of[found] for found, _ in warped]),
            np.stack([inside & (found != IGNORE) for found, inside in warped]),
        )

    def _render(self, layers: Sequence[Layer]) -> Frames:
        frames = [compose(layers, time, self._options.size) for time in self._times]
        images, labels, valid = (np.stack(parts) for parts in zip(*frames, strict=True))
        return images, labels, valid

    def _shows(self, labels: LabelMap, slots: int) -> bool:
        """Whether every slot has at least `min_pixels` pixels of a frame's labels."""
        pixels = np.bincount(labels.ravel(), minlength=slots + 1)
        return bool((pixels[1 : slots + 1] >= self._options.min_pixels).all())

    def _draw_other(self, index: int, rng: np.random.Generator) -> _Other | None:
        """Another image for a background, for an object that crosses, for both or for neither."""
        behind, crosses = rng.uniform(size=2) < (self._motion.paste, self._motion.crossing)
        other = self._unrelated(index, rng) if behind or crosses else None
        if other is None:
            return None
        return _Other(self._source.frame(other, 0), self._source.labels(other, 0), bool(behind), bool(crosses))

    def _unrelated(self, index: int, rng: np.random.Generator) -> int | None:
        """Another image that does not show the same things."""
        origin = self._source.video(index).origin
        for candidate in rng.integers(len(self._source), size=_ARRANGEMENTS).tolist():
            if candidate != index and (not origin or self._source.video(candidate).origin != origin):
                return candidate
        return None

    def _arrange(
        self,
        image: Image,
        labels: LabelMap,
        crop: Matrix,
        ids: Sequence[int],
        camera: Course,
        other: _Other | None,
        rng: np.random.Generator,
    ) -> list[Layer]:
        """Background first, then objects, the nearest last."""
        size = self._options.size
        moved = other is not None and other.behind
        objects = []
        for slot, identity in enumerate(ids, 1):
            mask = labels == identity
            middle = middle_of(warp_labels(mask.astype(np.uint8), crop, size)[0] > 0)
            place, middle = self._place(crop, middle, rng) if moved else (crop, middle)
            own = draw_course(rng, self._motion, size, middle=middle, factor=self._motion.own_factor)
            objects.append(Layer(image, mask, place, (camera, own), slot))
        if other is not None and other.crosses:
            passes = self._look_alike(image, labels, ids, rng) or other
            crossing = self._crossing(passes, middle, camera, rng, slot=len(ids) + 1)
            if crossing is not None:
                objects.insert(int(rng.integers(len(objects) + 1)), crossing)
        if other is not None and other.behind:
            other_crop = draw_crop(rng, self._options.augmentation, other.labels.shape, size)
            # What crosses must not stand in the background as well.
            behind = fill_holes(other.image, other.labels > 0) if other.crosses else other.image
            return [Layer(behind, None, other_crop, (camera,), 0), *objects]
        hole = labels > 0
        # An image that is objects everywhere keeps those that stand still.
        hole = np.isin(labels, ids) if hole.all() else hole
        return [Layer(fill_holes(image, hole), None, crop, (camera,), 0), *objects]

    def _look_alike(
        self, image: Image, labels: LabelMap, ids: Sequence[int], rng: np.random.Generator
    ) -> _Other | None:
        """The last of the image's objects in other colours, or None, as drawn."""
        options = self._options
        if not options.look_alike or rng.uniform() >= options.look_alike:
            return None
        colours = recolour(image[None], rng, options.augmentation)[0]
        return _Other(colours, np.where(labels == ids[-1], labels, 0).astype(np.uint8), behind=False, crosses=True)

    def _place(
        self, crop: Matrix, middle: Point, rng: np.random.Generator, to: Point | None = None
    ) -> tuple[Matrix, Point]:
        """Another place (default: anywhere but at the edge) and size for what a crop shows around `middle`."""
        height, width = self._options.size
        to = rng.uniform(*_PLACED_MIDDLE, size=2) * (width, height) if to is None else to
        shrink = 1.0 / rng.uniform(self._motion.placed_min, self._motion.placed_max)
        way = (float(middle[0] - to[0]), float(middle[1] - to[1]))
        return crop @ affine(to, angle=0.0, shear=0.0, factor=shrink, move=way), to

    def _crossing(
        self, other: _Other, target: Point, camera: Course, rng: np.random.Generator, *, slot: int
    ) -> Layer | None:
        """An object of another image on a straight way past `target`; None where that image has none."""
        options = self._options
        crop = draw_crop(rng, options.augmentation, other.labels.shape, options.size)
        ids = pick_objects(
            warp_labels(other.labels, crop, options.size)[0], rng, max_objects=1, min_pixels=options.min_pixels
        )
        if not ids:
            return None
        mask = other.labels == ids[0]
        middle = middle_of(warp_labels(mask.astype(np.uint8), crop, options.size)[0] > 0)
        heading = rng.uniform(0, 2 * np.pi)
        half = np.array([np.cos(heading), np.sin(heading)]) * rng.uniform(0.1, 0.4) * min(options.size)
        place, start = self._place(crop, middle, rng, to=target - half)
        # Where an output position comes from moves against the object.
        own = Course(start, np.array([*(-2 * half), 0.0, 0.0, 0.0]), np.zeros(5))
        free = slot <= options.max_objects and rng.uniform() < 0.5
        return Layer(other.image, mask, place, (camera, own), slot if free else 0)
