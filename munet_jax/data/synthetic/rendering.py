"""From a synthetic scene to frames, label maps, exact motion and what hides what.

Coordinates are continuous image pixels: the centre of the first pixel is (0.5, 0.5), the frame is [0, width] x
[0, height]. Layer 0 is the background, layer k + 1 is body k of the stage; a higher layer hides a lower one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image as PillowImage

from munet_jax.data.synthetic.shapes import Affine, Course, Points, Shape
from munet_jax.data.synthetic.textures import Texture
from munet_jax.host_types import BinaryMask, Float, Image, Int, LabelMap, UInt8

Layers = UInt8[np.ndarray, "h w"]
Counts = Int[np.ndarray, " n"]
Window = tuple[slice, slice]

# A darker rim, so that a body is seen before a layer of the same texture too.
_RIM_WIDTH = 0.2  # of the radius
_RIM_SHADE = 0.4


@dataclasses.dataclass(frozen=True)
class Body:
    """One moving shape.

    Attributes:
      label: its id in the label maps; 0 for a distractor.
      texture: index into Scene.textures.
      shape: its outline, in radii.
      radius: pixels.
      course: from pixels around its centre to the world, whose origin is the middle of the frame.
    """

    label: int
    texture: int
    shape: Shape
    radius: float
    course: Course


@dataclasses.dataclass(frozen=True)
class Stage:
    """Where everything is at any time, without its looks.

    Attributes:
      height: of the frame in pixels.
      width: of the frame in pixels.
      camera: from the world to pixels around the middle of the frame.
      bodies: from back to front; labels are 1..n, each once, and 0.
    """

    height: int
    width: int
    camera: Course
    bodies: tuple[Body, ...]

    def placement(self, frame: int) -> tuple[Affine, ...]:
        """For every layer, from its own pixels to image pixels at a frame."""
        middle = Affine(1.0, 0.0, self.width / 2, 0.0, 1.0, self.height / 2)
        view = middle.after(self.camera.at(frame))
        return (view.rounded(), *(view.after(body.course.at(frame)).rounded() for body in self.bodies))


@dataclasses.dataclass(frozen=True)
class Scene:
    """All there is to know of a video: every frame, label map and motion follows.

    Attributes:
      stage: where everything is.
      background: texture, uint8 [side, side, 3]; its middle is the world's origin.
      textures: of object 1, 2, ..., each uint8 [side, side, 3]; its middle is the body's centre.
    """

    stage: Stage
    background: Texture
    textures: tuple[Texture, ...]


def render(scene: Scene, frame: int) -> tuple[Image, Layers]:
    """The frame, uint8 [h, w, 3] with smooth outlines, and the topmost layer of every pixel, uint8 [h, w]."""
    stage = scene.stage
    placement = stage.placement(frame)
    everywhere = (slice(0, stage.height), slice(0, stage.width))
    image = np.array(_sample(scene.background, placement[0], everywhere))
    layers = np.zeros((stage.height, stage.width), np.uint8)
    for layer, window, distance in _outlines(stage, frame, step=1):
        body = stage.bodies[layer - 1]
        rim = np.clip(1 + distance / np.float32(_RIM_WIDTH * body.radius), 0, 1)[..., None]
        texture = _sample(scene.textures[body.texture], placement[layer], window) * (1 - np.float32(_RIM_SHADE) * rim)
        cover = np.clip(np.float32(0.5) - distance, 0, 1)[..., None]
        below = image[window].astype(np.float32)
        image[window] = (below + cover * (texture - below) + np.float32(0.5)).astype(np.uint8)
        layers[window][distance <= 0] = layer
    return image, layers


def label_map(stage: Stage, layers: Layers) -> LabelMap:
    """The labels of the topmost layers: uint8 [h, w]."""
    return np.array([0, *(body.label for body in stage.bodies)], np.uint8)[layers]


def backward_motion(stage: Stage, frame: int, layers: Layers) -> tuple[Float[np.ndarray, "h w 2"], BinaryMask]:
    """Where every surface point seen in `frame` was one frame earlier, and whether it was seen there.

    Args:
      stage: where everything is.
      frame: at least 1.
      layers: the topmost layer of every pixel of `frame`, uint8 [h, w].

    Returns:
      displacement: float32 [h, w, 2], (dx, dy) in pixels; the point at x was at x + displacement in frame - 1.
      visible: bool [h, w]; there it was inside the frame and under no other layer.
    """
    now, before = stage.placement(frame), stage.placement(frame - 1)
    displacement = np.zeros((stage.height, stage.width, 2), np.float32)
    visible = np.zeros((stage.height, stage.width), bool)
    for layer in range(len(now)):
        rows, columns = np.nonzero(layers == layer)
        x, y = columns.astype(np.float32) + np.float32(0.5), rows.astype(np.float32) + np.float32(0.5)
        old_x, old_y = before[layer].after(now[layer].inverse()).apply(x, y)
        displacement[rows, columns] = np.stack([old_x - x, old_y - y], axis=-1)
        seen = (old_x >= 0) & (old_x < stage.width) & (old_y >= 0) & (old_y < stage.height)
        for above in range(layer + 1, len(now)):
            seen &= _distance(stage.bodies[above - 1], before[above], old_x, old_y) > 0
        visible[rows, columns] = seen
    return displacement, visible


def count_surfaces(stage: Stage, frame: int, step: int = 1) -> tuple[Counts, Counts]:
    """How much of object 1..n lies inside the frame, and how much of that is seen.

    Args:
      stage: where everything is.
      frame: any.
      step: pixels between samples, along each axis.

    Returns:
      inside: int [n], samples inside the frame, whether hidden or not.
      seen: int [n], those that no other layer hides.
    """
    layers = np.zeros((math.ceil(stage.height / step), math.ceil(stage.width / step)), np.uint8)
    labels = [body.label for body in stage.bodies]
    objects = max(labels)
    inside, seen = np.zeros(objects + 1, np.int64), np.zeros(objects + 1, np.int64)
    for layer, window, distance in _outlines(stage, frame, step):
        body = distance <= 0
        layers[window][body] = layer
        inside[labels[layer - 1]] += np.count_nonzero(body)
    np.add.at(seen, [0, *labels], np.bincount(layers.ravel(), minlength=len(labels) + 1))
    return inside[1:], seen[1:]


def _outlines(stage: Stage, frame: int, step: int) -> Iterator[tuple[int, Window, Float[np.ndarray, "rows columns"]]]:
    """Every body in the frame, from back to front: its layer, the window around it and the distance to its outline.

    The window is in samples, `step` pixels apart; the distance is in pixels, negative inside.
    """
    for layer, (body, place) in enumerate(zip(stage.bodies, stage.placement(frame)[1:], strict=True), start=1):
        rows = _extent(place.f, body.radius * math.hypot(place.d, place.e), stage.height, step)
        columns = _extent(place.c, body.radius * math.hypot(place.a, place.b), stage.width, step)
        if rows.start < rows.stop and columns.start < columns.stop:
            x, y = np.meshgrid(_centres(columns, step), _centres(rows, step))
            yield layer, (rows, columns), _distance(body, place, x, y)


def _extent(centre: float, reach: float, size: int, step: int) -> slice:
    """The samples of an axis of `size` pixels that a body can touch, with a pixel to spare for its smooth outline."""
    first = max(0, math.floor((centre - reach - 1) / step))
    last = min(math.ceil(size / step), math.ceil((centre + reach + 1) / step))
    return slice(first, last)


def _centres(samples: slice, step: int) -> Float[np.ndarray, " samples"]:
    return (np.arange(samples.start, samples.stop, dtype=np.float32) + np.float32(0.5)) * np.float32(step)


def _distance(body: Body, place: Affine, x: Points, y: Points) -> Points:
    """Signed distance of image points to the body's outline, in image pixels, negative inside."""
    own_x, own_y = place.inverse().apply(x, y)
    radius = np.float32(body.radius)
    scale = np.float32(body.radius * math.sqrt(abs(place.a * place.e - place.b * place.d)))
    return body.shape(own_x / radius, own_y / radius) * scale


def _sample(texture: Texture, place: Affine, window: Window) -> Image:
    """The texture as it appears in a window of the image: uint8 [rows, columns, 3], bilinear."""
    rows, columns = window
    middle = Affine(1.0, 0.0, texture.shape[1] / 2, 0.0, 1.0, texture.shape[0] / 2)
    corner = Affine(1.0, 0.0, float(columns.start), 0.0, 1.0, float(rows.start))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    source = middle.after(place.inverse()).after(corner)
    picture = PillowImage.fromarray(texture)
    return np.asarray(
        picture.transform(size, PillowImage.Transform.AFFINE, source, resample=PillowImage.Resampling.BILINEAR)
    )
