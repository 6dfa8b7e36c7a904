"""An option beyond the paper: the previous frame's masks, moved by the MU-Layer's own matching, as a hint to the decoder."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from munet_jax.array_types import AnyMap, Array, CostVolume, FeatureMap, Float, ObjectMasks
from munet_jax.models.padding import STRIDE, pad_to_stride

# The hint has the decoder's finest stride; a stride-16 cell moves its 4 x 4 values together.
PRIOR_STRIDE = 4
CELL = STRIDE // PRIOR_STRIDE


def move_by_matching(weights: CostVolume, features: FeatureMap) -> FeatureMap:
    """Bring what was in frame t-1 to where the matching says it is in frame t.

    Args:
      weights: how much each window position counts, [b, h, w, (2r+1)**2], adding up to 1; order of `cost_volume`.
      features: [b, h, w, d] of frame t-1; 0 outside.

    Returns:
      [b, h, w, d]: out(x) = sum over u of weights(x, u) * features(x + u).
    """
    height = weights.shape[1]
    side = round(weights.shape[-1] ** 0.5)
    radius = side // 2
    rows = jnp.moveaxis(weights.reshape(*weights.shape[:3], side, side), 3, 0)
    padded = jnp.pad(features, ((0, 0), (radius, radius), (radius, radius), (0, 0)))

    def add_row(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        dy, row = inputs
        below = jax.lax.dynamic_slice_in_dim(padded, dy, height, axis=1)
        return total + jnp.einsum("byxz,byzd->byxd", banded(row), below), None

    # A few rows a turn: what a turn costs beside its product is as much again.
    return jax.lax.scan(jax.checkpoint(add_row), jnp.zeros_like(features), (jnp.arange(side), rows), unroll=5)[0]


def banded(diagonals: Float[Array, "b h w s"]) -> Float[Array, "b h w z"]:
    """out[..., x, x + j] = diagonals[..., x, j], else 0, with z = w + s - 1: a matrix product then sums shifted values."""
    b, h, w, s = diagonals.shape
    z = w + s - 1
    # Rows of z + 1, read again with rows of z, move each row one further to the right.
    wide = jnp.pad(diagonals, ((0, 0), (0, 0), (0, 0), (0, z + 1 - s))).reshape(b, h, w * (z + 1))
    return wide[..., : w * z].reshape(b, h, w, z)


def motion_prior(weights: Float[Array, "b hc wc u"], masks: ObjectMasks) -> Float[Array, "b n hp wp"]:
    """The masks of frame t-1 at stride 4, moved to frame t cell by cell.

    Args:
      weights: matching of frame t against t-1, [b, h', w', u].
      masks: [b, n, h, w] in [0, 1], at the frame's size.

    Returns:
      [b, n, 4 h', 4 w'] in [0, 1].
    """
    masks = pad_to_stride(masks, height_axis=2)
    b, n, h, w = masks.shape
    cells = means(means(masks, PRIOR_STRIDE, axis=2), PRIOR_STRIDE, axis=3)
    cells = cells.reshape(b, n, h // STRIDE, CELL, w // STRIDE, CELL)
    cells = jnp.transpose(cells, (0, 2, 4, 1, 3, 5)).reshape(b, h // STRIDE, w // STRIDE, n * CELL * CELL)
    moved = move_by_matching(weights, cells).reshape(b, h // STRIDE, w // STRIDE, n, CELL, CELL)
    return jnp.transpose(moved, (0, 3, 1, 4, 2, 5)).reshape(b, n, h // PRIOR_STRIDE, w // PRIOR_STRIDE)


def cell_means(prior: Float[Array, "b n hp wp"]) -> AnyMap:
    """The hint averaged to stride 16: [b, n, h', w']."""
    return means(means(prior, CELL, axis=2), CELL, axis=3)


def means(x: Array, count: int, *, axis: int) -> Array:
    """The mean of every `count` neighbours along an axis, which gets as much shorter: sums of strided slices, on CPUs twice as
    fast as a reduction so short.
    """
    parts = [jax.lax.slice_in_dim(x, first, None, count, axis) for first in range(count)]
    return functools.reduce(jnp.add, parts) / count
