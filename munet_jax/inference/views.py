"""Between a frame as the user gives it and what the network sees: resized, mirrored, padded; and the way back."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from munet_jax.array_types import AnyMap, Array, Float
from munet_jax.models.aggregation import STRIDE
from munet_jax.models.decoder import upsample

Size = tuple[int, int]  # height, width


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How one view of a video lies in what the network sees.

    Attributes:
      size: of the user's frames.
      work: at which they are worked on.
      padded: with what is put around them.
      flip: whether the view is mirrored from left to right.
    """

    size: Size
    work: Size
    padded: Size
    flip: bool = False

    @property
    def offset(self) -> Size:
        """Rows and columns before the picture; what is missing is split evenly."""
        top, left = ((whole - part) // 2 for whole, part in zip(self.padded, self.work, strict=True))
        return top, left

    @property
    def inside(self) -> np.ndarray:
        """Where the picture lies: top, left, height, width, int32 [4]."""
        return np.array([*self.offset, *self.work], np.int32)

    @property
    def positions(self) -> int:
        """Stride-16 positions of a padded frame."""
        return self.padded[0] // STRIDE * (self.padded[1] // STRIDE)


def create_geometry(
    size: Size, *, max_size: int = 0, scale: float = 1.0, flip: bool = False, multiple: int = STRIDE
) -> Geometry:
    """The view of frames of `size` whose short side is at most `max_size` (0: any) times `scale`, padded to `multiple`."""
    work = working_size(size, max_size)
    if scale != 1.0:
        work = max(1, round(work[0] * scale)), max(1, round(work[1] * scale))
    padded = -(-work[0] // multiple) * multiple, -(-work[1] // multiple) * multiple
    return Geometry(size, work, padded, flip)


def working_size(size: Size, max_size: int) -> Size:
    """(height, width) at which a frame of `size` is worked on: its own, or a short side of `max_size` where that is less."""
    short = min(size)
    if not max_size or short <= max_size:
        return size
    return round(size[0] * max_size / short), round(size[1] * max_size / short)


@functools.partial(jax.jit, static_argnums=1)
def fit_frame(frame: Array, geometry: Geometry) -> Array:
    """A frame [h, w, 3], uint8 or f32 in [0, 1] -> [1, H, W, 3]; f32 and averaged where it shrinks."""
    if geometry.work != geometry.size:
        if frame.dtype == jnp.uint8:
            frame = frame.astype(jnp.float32) / 255.0
        frame = jax.image.resize(frame, (*geometry.work, 3), "linear")
    if geometry.flip:
        frame = frame[:, ::-1]
    return jnp.pad(frame, (*_around(geometry), (0, 0)))[None]


@functools.partial(jax.jit, static_argnums=1)
def fit_masks(masks: Float[Array, "1 n h w"], geometry: Geometry) -> Array:
    """Soft masks of the user's size -> [1, n, H, W]; averaged where they shrink, so that small objects do not vanish."""
    if geometry.work != geometry.size:
        masks = jax.image.resize(masks, (*masks.shape[:2], *geometry.work), "linear")
    if geometry.flip:
        masks = masks[..., ::-1]
    return jnp.pad(masks, ((0, 0), (0, 0), *_around(geometry)))


@functools.partial(jax.jit, static_argnums=1)
def masks_to_source(masks: Float[Array, "1 n h w"], geometry: Geometry) -> Array:
    """Undo `fit_masks`."""
    (top, left), (height, width) = geometry.offset, geometry.work
    masks = masks[:, :, top : top + height, left : left + width]
    if geometry.flip:
        masks = masks[..., ::-1]
    if geometry.work == geometry.size:
        return masks
    return jax.image.resize(masks, (*masks.shape[:2], *geometry.size), "linear")


@functools.partial(jax.jit, static_argnums=1)
def map_to_source(x: AnyMap, geometry: Geometry) -> Array:
    """A stride-16 map [1, H/16, W/16, c] of a view that is not mirrored -> [h, w, c]."""
    (top, left), (height, width) = geometry.offset, geometry.work
    shown = upsample(x, STRIDE)[0, top : top + height, left : left + width]
    return shown if geometry.work == geometry.size else jax.image.resize(shown, (*geometry.size, x.shape[-1]), "linear")


def _around(geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns before and after the picture."""
    (top, left), (height, width), (rows, columns) = geometry.offset, geometry.work, geometry.padded
    return (top, rows - height - top), (left, columns - width - left)
