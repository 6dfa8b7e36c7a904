"""From each object's two channels to one probability map over background and objects, and the padding around it all."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, ClassLogits, Float, Inside, Int, ObjectValid

CLIP = 1e-7
LARGEST_LOGIT = math.log((1.0 - CLIP) / CLIP)
STRIDE = 16
# Logit of a padded object slot: its share of the softmax is exactly 0 in f32.
ABSENT = -1e4


def soft_aggregation(channels: Float[Array, "b n h w 2"], objects: ObjectValid) -> ClassLogits:
    """Merge objects that were segmented one by one.

    p_i = softmax(two channels)[1]; background = prod(1 - p_i); logit = log(p / (1 - p)) with p clipped to
    [1e-7, 1 - 1e-7]. The softmax over the n + 1 maps is the prediction.

    Args:
      channels: background and object channel of each slot.
      objects: False where a slot is padding; such a slot takes no part.

    Returns:
      logits [b, h, w, n + 1], background first, f32.
    """
    present = objects[:, :, None, None]
    # softmax[1] of two channels is the sigmoid of their difference, so the difference is the logit already: no rounding
    # of 1 - 1e-7 to f32, and a gradient wherever p is not clipped.
    difference = channels[..., 1] - channels[..., 0]
    log_background = jnp.sum(jnp.where(present, jax.nn.log_sigmoid(-difference), 0.0), axis=1, keepdims=True)
    log_background = jnp.minimum(log_background, -CLIP)
    background = log_background - jnp.log(-jnp.expm1(log_background))
    logits = jnp.concatenate([clip(background), jnp.where(present, clip(difference), ABSENT)], axis=1)
    return jnp.moveaxis(logits, 1, -1)


def clip(logit: Array) -> Array:
    """The logit of a probability clipped to [1e-7, 1 - 1e-7]."""
    return jnp.clip(logit, -LARGEST_LOGIT, LARGEST_LOGIT)


def object_probabilities(logits: ClassLogits) -> Float[Array, "b n h w"]:
    """Softmax over n + 1 maps, background left out, as Enc-R takes it."""
    # Maps that lie one after the other, as they were made, and a sum without a reduction: XLA's CPU compiler takes ten times as
    # long for one over an axis this short.
    maps = jnp.moveaxis(logits, -1, 1)
    # What is subtracted cancels out, and so has no gradient.
    exponentials = jnp.exp(maps - jax.lax.stop_gradient(jnp.max(maps, axis=1, keepdims=True)))
    total = functools.reduce(jnp.add, [exponentials[:, i : i + 1] for i in range(maps.shape[1])])
    return exponentials[:, 1:] / total


def padding(size: int) -> tuple[int, int]:
    """Zeros to put before and after an axis so that it becomes a multiple of the stride, split evenly."""
    missing = -size % STRIDE
    return missing // 2, missing - missing // 2


def inside_mask(inside: Inside, height: int, width: int) -> Bool[Array, "{height} {width}"]:
    """True where a padded frame of height x width shows the picture."""
    top, left, rows, columns = inside
    y, x = jnp.arange(height), jnp.arange(width)
    return ((y >= top) & (y < top + rows))[:, None] & ((x >= left) & (x < left + columns))[None, :]


def inside_cells(inside: Inside, height: int, width: int) -> Bool[Array, "{height} {width}"]:
    """True for the stride-16 positions, of height x width in all, that show something of the picture."""
    first, end = cell_range(inside)
    return inside_mask(jnp.concatenate([first, end - first]), height, width)


def cell_range(inside: Inside) -> tuple[Int[Array, 2], Int[Array, 2]]:
    """(row, column) of the first stride-16 position that shows something of the picture, and of the one after the last."""
    return inside[:2] // STRIDE, -(-(inside[:2] + inside[2:]) // STRIDE)


def pad_to_stride(x: Array, *, height_axis: int) -> Array:
    """Pad height and width (two neighbouring axes) to multiples of 16 with zeros."""
    axis = height_axis % x.ndim
    widths = [(0, 0)] * x.ndim
    widths[axis], widths[axis + 1] = padding(x.shape[axis]), padding(x.shape[axis + 1])
    return jnp.pad(x, widths)


def crop_padding(x: Array, size: tuple[int, int], *, height_axis: int) -> Array:
    """Undo `pad_to_stride`: keep the (height, width) that was there before."""
    axis = height_axis % x.ndim
    index = [slice(None)] * x.ndim
    for offset, length in enumerate(size):
        before, _ = padding(length)
        index[axis + offset] = slice(before, before + length)
    return x[tuple(index)]
