"""Padding of frames and masks to multiples of the network's stride, split evenly, and the way back."""

from __future__ import annotations

import jax.numpy as jnp

from munet_jax.array_types import Array

STRIDE = 16  # pixels of a position of F_s


def padding(size: int) -> tuple[int, int]:
    """Pixels to put before and after an axis so that it becomes a multiple of the stride."""
    missing = -size % STRIDE
    return missing // 2, missing - missing // 2


def positions_of(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of stride-16 positions of a frame of `size` (height, width) pixels."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def pad_to_stride(x: Array, *, height_axis: int) -> Array:
    """Pad height and width (two neighbouring axes) to multiples of the stride with zeros."""
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
