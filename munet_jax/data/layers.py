"""Frames composed of moving layers: a background, and cut-out objects over it, with exact label maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image as PILImage

from munet_jax.data.still_motion import Course
from munet_jax.data.transforms import (
    Matrix,
    WarpedImage,
    WarpedLabels,
    WarpedValid,
    warp_coverage,
    warp_image,
    warp_mask,
)
from munet_jax.host_types import BinaryMask, Float, Image

_VISIBLE = 128  # of alpha: where half of a pixel or more is the layer's, the pixel is


@dataclasses.dataclass(frozen=True)
class Layer:
    """Something that is drawn over what lies behind it.

    Attributes:
      image: its colours, RGB uint8 [h, w, 3].
      mask: where it is, bool [h, w]; None is everywhere.
      place: from output to image positions, at rest.
      courses: its motions between output positions, in the order in which an output position passes through them.
      slot: the label of its pixels; 0 is background.
    """

    image: Image
    mask: BinaryMask | None
    place: Matrix
    courses: tuple[Course, ...]
    slot: int

    def matrix(self, time: float) -> Matrix:
        """From output to image positions at a time in [0, 1]."""
        matrix = self.place
        for course in reversed(self.courses):
            matrix = matrix @ course.at(time)
        return matrix


def compose(
    layers: Sequence[Layer], time: float, size: tuple[int, int]
) -> tuple[WarpedImage, WarpedLabels, WarpedValid]:
    """One frame: colours, labels, and where anything is known; the first layer has no mask and lies behind the others."""
    behind, *others = layers
    matrix = behind.matrix(time)
    picture = PILImage.fromarray(warp_image(behind.image, matrix, size))
    labels = np.full(size, behind.slot, np.uint8)
    valid = warp_coverage(behind.image.shape[:2], matrix, size)
    for layer in others:
        assert layer.mask is not None
        matrix = layer.matrix(time)
        alpha = warp_mask(layer.mask, matrix, size)
        picture.paste(PILImage.fromarray(warp_image(layer.image, matrix, size)), mask=PILImage.fromarray(alpha))
        labels[alpha >= _VISIBLE] = layer.slot
        valid = valid | (alpha >= _VISIBLE)
    return np.asarray(picture), labels, valid


def fill_holes(image: Image, hole: BinaryMask) -> Image:
    """Replaces the pixels of `hole` by averages of what surrounds them, the finest that know anything.

    The image is halved until no pixel lacks a colour; on the way back, pixels without one take the coarser one's.
    """
    if not hole.any() or hole.all():
        return image
    known = ~hole
    return np.round(_fill(image.astype(np.float32) * known[..., None], known.astype(np.float32))).astype(np.uint8)


def _fill(total: Float[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Colours [h, w, 3] of weighted sums; where the weight is 0, those of the sums over 2 x 2 blocks."""
    if (weight > 0).all():
        return total / weight[..., None]
    height, width = weight.shape
    coarse = _double(_fill(_halve(total), _halve(weight[..., None])[..., 0]))[:height, :width]
    return np.where(weight[..., None] > 0, total / np.maximum(weight[..., None], 1e-9), coarse)


def _halve(x: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h2 w2 c"]:
    """Sums over 2 x 2 blocks; an odd side is filled up with zeros."""
    x = np.pad(x, [(0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)])
    return x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]


def _double(x: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h2 w2 c"]:
    """Twice the size, bilinearly."""
    size = (2 * x.shape[1], 2 * x.shape[0])
    planes = [PILImage.fromarray(plane).resize(size, PILImage.Resampling.BILINEAR) for plane in np.moveaxis(x, -1, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def middle_of(mask: BinaryMask) -> Float[np.ndarray, " 2"]:
    """(x, y) of the mean position of a mask's pixels."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])
