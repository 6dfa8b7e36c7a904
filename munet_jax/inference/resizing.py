"""Working on large frames at a smaller size, and bringing the results back to the frame's own."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from munet_jax.array_types import AnyMap, Array, Float
from munet_jax.models.aggregation import STRIDE, crop_padding
from munet_jax.models.decoder import upsample


@functools.partial(jax.jit, static_argnums=(1, 2))
def to_frame(x: AnyMap, work: tuple[int, int], size: tuple[int, int]) -> Array:
    """A stride-16 map of a frame that is worked on at size `work`, at the frame's own size."""
    shown = crop_padding(upsample(x, STRIDE), work, height_axis=1)[0]
    return shown if work == size else jax.image.resize(shown, (*size, x.shape[-1]), "linear")


@functools.partial(jax.jit, static_argnums=1)
def resize_frame(frame: Array, size: tuple[int, int]) -> Array:
    """A frame [1, h, w, 3] at another size, f32 in [0, 1]; averaged where it shrinks."""
    if frame.dtype == jnp.uint8:
        frame = frame.astype(jnp.float32) / 255.0
    return jax.image.resize(frame, (1, *size, 3), "linear")


@functools.partial(jax.jit, static_argnums=1)
def resize_masks(masks: Float[Array, "1 n h w"], size: tuple[int, int]) -> Array:
    """Soft masks at another size; averaged where they shrink, so that small objects do not vanish."""
    return jax.image.resize(masks, (*masks.shape[:2], *size), "linear")


def working_size(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    """(height, width) at which a frame of `size` is worked on: its own, or a short side of `max_size` where that is less."""
    short = min(size)
    if not max_size or short <= max_size:
        return size
    return round(size[0] * max_size / short), round(size[1] * max_size / short)
