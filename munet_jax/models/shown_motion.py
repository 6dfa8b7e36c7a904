"""The motion that users see, whatever form feeds the network: where a place was, and the chance that it was within one cell.

It is read off the cost volume, and computed only where a map is asked for. Places next to each other mostly move alike, so each
entry is averaged with theirs. A frame's places mostly move alike too, by the camera: what many of them say is likelier for each.
A match lies between cells, where a parabola through the best entry and its neighbours has its peak. What that leaves of noise is
averaged among neighbours that move alike, so that an object's edge stays one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, CostVolume, Displacement, Float, Int
from munet_jax.models.mu_layer import near_best, window_inside, window_offsets
from munet_jax.models.padding import STRIDE

# Chosen on synthetic videos other than those of docs/tools/measure_motion.py (docs/results.md).
TEMPERATURE = 0.05
CHANCE_TEMPERATURE = 0.07  # neighbouring cosines are not independent, so chances are stated more softly
NEIGHBOUR = 0.5  # what the place above, below, left and right counts beside the place itself
OWN_WAY = 0.1  # the share of places that move otherwise than many others do
REACH = 1  # cells
ALIKE = 0.5  # cells: how far the displacements of places that are averaged lie apart
ROUNDS = 6  # of averaging


class ShownMotion(NamedTuple):
    """Of a frame against the frame before it."""

    displacement: Displacement  # (dx, dy) in pixels of the frame, t -> t-1
    chance: Float[Array, "b h w 1"]  # that the match is at most one cell away


def shown_motion(cost: CostVolume, *, radius: int) -> ShownMotion:
    """Displacement and chance from a cost volume [b, h', w', (2 r + 1)**2] of `cost_volume`."""
    inside = window_inside(cost.shape[1], cost.shape[2], radius)
    seen = jnp.where(inside, with_neighbours(cost), -jnp.inf)
    prior = log_prior(seen, radius=radius)
    scores = seen / TEMPERATURE + prior
    near = near_best(scores, radius=radius, reach=REACH)
    weights = jax.nn.softmax(seen / CHANCE_TEMPERATURE + prior, axis=-1)
    chance = jnp.sum(jnp.where(near, weights, 0.0), axis=-1, keepdims=True)
    best = jnp.argmax(scores, axis=-1)
    moved = window_offsets(radius)[best] + between_cells(seen, best, radius=radius)
    return ShownMotion(STRIDE * smoothed(moved), chance)


def log_prior(seen: CostVolume, *, radius: int) -> Float[Array, "b 1 1 u"]:
    """How likely each displacement is before a place is looked at, by what all places of the frame say: [b, 1, 1, u]."""
    alone = jax.nn.softmax(log_small(radius))
    each = jax.nn.softmax(seen / TEMPERATURE + jnp.log(alone)[None, None, None], axis=-1)
    together = jnp.mean(each, axis=(1, 2), keepdims=True)
    return jnp.log((1 - OWN_WAY) * together + OWN_WAY * alone[None, None, None])


def log_small(radius: int) -> Float[Array, " u"]:
    """Of each window entry, up to a constant: a Cauchy distribution in two dimensions, whose width is one cell."""
    return -1.5 * jnp.log1p(jnp.sum(window_offsets(radius) ** 2, axis=-1))


def with_neighbours(cost: CostVolume) -> CostVolume:
    """Each entry averaged with the same entry of the eight places around; at the frame's edge places count again."""
    padded = jnp.pad(cost, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, 1:-1] + NEIGHBOUR * (padded[:, :-2] + padded[:, 2:])
    both = rows[:, :, 1:-1] + NEIGHBOUR * (rows[:, :, :-2] + rows[:, :, 2:])
    return both / (1 + 2 * NEIGHBOUR) ** 2


def between_cells(seen: CostVolume, best: Int[Array, "b h w"], *, radius: int) -> Displacement:
    """Where the peak lies beside the best entry, (dx, dy) in [-0.5, 0.5] cells.

    Args:
      seen: scores [b, h', w', u]; -inf outside the frame.
      best: the entry of each place.
      radius: search radius r.

    Returns:
      [b, h', w', 2]; 0 along an axis where a neighbour is missing or the entries do not bend down.
    """
    side = 2 * radius + 1
    window = seen.reshape(*best.shape, side, side)
    window = jnp.pad(window, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-jnp.inf)
    middle = (best // side + 1) * (side + 2) + best % side + 1
    steps = jnp.array([0, -1, 1, -(side + 2), side + 2])
    entries = jnp.take_along_axis(window.reshape(*best.shape, -1), middle[..., None] + steps[None, None, None], axis=-1)
    at, lower, upper = entries[..., :1], entries[..., 1::2], entries[..., 2::2]
    bend = lower + upper - 2 * at
    peaked = jnp.isfinite(bend) & (bend < 0)
    return jnp.where(peaked, jnp.clip((lower - upper) / jnp.where(peaked, 2 * bend, 1.0), -0.5, 0.5), 0.0)


def smoothed(moved: Displacement) -> Displacement:
    """Averages each displacement, in cells, in turns with those of the eight places around that differ by `ALIKE` at most."""
    _, rows, columns, _ = moved.shape

    def average(_: Int[Array, ""], moved: Displacement) -> Displacement:
        padded = jnp.pad(moved, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        around = jnp.stack([padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)])
        alike = jnp.sum((around - moved[None]) ** 2, axis=-1, keepdims=True) <= ALIKE**2
        return jnp.mean(around, axis=0, where=alike)

    return jax.lax.fori_loop(0, ROUNDS, average, moved)
