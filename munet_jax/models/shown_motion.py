"""The motion that users see, whatever form feeds the network: where a place was, and the chance that it was within one cell.

It is read off the cost volume by a softmax of its own, and computed only where a map is asked for. Neighbouring places mostly
move alike, so each entry is averaged a little with theirs. Small displacements are likelier than large ones before anything is
seen. Only cells next to the best match count in the mean: where features have little contrast, the many others would pull to
the frame's middle.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, CostVolume, Displacement, Float
from munet_jax.models.mu_layer import HIGHEST, near_best, window_inside, window_offsets
from munet_jax.models.padding import STRIDE

# Chosen on synthetic videos other than those of docs/tools/measure_motion.py, and on labels of real ones (docs/results.md).
TEMPERATURE = 0.04
NEIGHBOUR = 0.25  # what the place above, below, left and right counts beside the place itself
REACH = 1  # cells


class ShownMotion(NamedTuple):
    """Of a frame against the frame before it."""

    displacement: Displacement  # (dx, dy) in pixels of the frame, t -> t-1
    chance: Float[Array, "b h w 1"]  # that the match is at most one cell away


def shown_motion(cost: CostVolume, *, radius: int) -> ShownMotion:
    """Displacement and chance from a cost volume [b, h', w', (2 r + 1)**2] of `cost_volume`."""
    inside = window_inside(cost.shape[1], cost.shape[2], radius)
    scores = jnp.where(inside, TEMPERATURE * log_prior(radius)[None, None, None] + with_neighbours(cost), -jnp.inf)
    near = near_best(scores, radius=radius, reach=REACH)
    weights = jnp.where(near, jax.nn.softmax(scores / TEMPERATURE, axis=-1), 0.0)
    chance = jnp.sum(weights, axis=-1, keepdims=True)
    moved = jnp.matmul(weights, window_offsets(radius), precision=HIGHEST) / chance
    return ShownMotion(STRIDE * moved, chance)


def log_prior(radius: int) -> Float[Array, " u"]:
    """Of each window entry, up to a constant: a Cauchy distribution in two dimensions, whose width is one cell."""
    return -1.5 * jnp.log1p(jnp.sum(window_offsets(radius) ** 2, axis=-1))


def with_neighbours(cost: CostVolume) -> CostVolume:
    """Each entry averaged with the same entry of the eight places around; at the frame's edge places count again."""
    padded = jnp.pad(cost, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, 1:-1] + NEIGHBOUR * (padded[:, :-2] + padded[:, 2:])
    both = rows[:, :, 1:-1] + NEIGHBOUR * (rows[:, :, :-2] + rows[:, :, 2:])
    return both / (1 + 2 * NEIGHBOUR) ** 2
