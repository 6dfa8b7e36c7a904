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

from munet_jax.array_types import Array, Bool, CostVolume, Displacement, Float, Int
from munet_jax.models.mu_layer import window_inside, window_offsets
from munet_jax.models.padding import STRIDE

# Chosen on synthetic videos other than those of docs/tools/measure_motion.py (docs/results.md).
TEMPERATURE = 0.05
CHANCE_TEMPERATURE = 0.07  # neighbouring cosines are not independent, so chances are stated more softly
NEIGHBOUR = 0.5  # what the place above, below, left and right counts beside the place itself
INDEPENDENT_SHARE = 0.1  # of the places: those that move otherwise than many others do
REACH = 1  # cells
ALIKE = 0.5  # cells: how far the displacements of places that are averaged lie apart
SMOOTHING_ROUNDS = 6


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
    best = jnp.argmax(scores, axis=-1)
    weights = jax.nn.softmax(seen / CHANCE_TEMPERATURE + prior, axis=-1)
    chance = jnp.sum(weights, axis=-1, keepdims=True, where=near(best, radius=radius))
    moved = window_offsets(radius)[best] + between_cells(seen, best, radius=radius)
    return ShownMotion(STRIDE * smoothed(moved), chance)


def log_prior(seen: CostVolume, *, radius: int) -> Float[Array, "b 1 1 u"]:
    """How likely each window entry is before a place is looked at: a mixture of what all places say and of small displacements.

    `seen` is [b, h', w', u], -inf outside the frame.
    """
    small = jax.nn.softmax(log_cauchy(radius))[None, None, None]
    of_places = jax.nn.softmax(seen / TEMPERATURE + jnp.log(small), axis=-1)
    common = jnp.mean(of_places, axis=(1, 2), keepdims=True)
    return jnp.log((1 - INDEPENDENT_SHARE) * common + INDEPENDENT_SHARE * small)


def log_cauchy(radius: int) -> Float[Array, " u"]:
    """Of each window entry, up to a constant: a Cauchy distribution in two dimensions, whose width is one cell."""
    return -1.5 * jnp.log1p(jnp.sum(window_offsets(radius) ** 2, axis=-1))


def near(best: Int[Array, "b h w"], *, radius: int) -> Bool[Array, "b h w u"]:
    """The window's entries at most `REACH` rows and columns from the best one."""
    offsets = window_offsets(radius)
    return jnp.all(jnp.abs(offsets[None, None, None] - offsets[best][..., None, :]) <= REACH, axis=-1)


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
    """Averages each displacement [b, h', w', 2], in cells, with those of the eight places around that differ by `ALIKE` at most.

    `SMOOTHING_ROUNDS` times, so that a place learns from further ones, but nothing passes an edge between two motions.
    """
    _, rows, columns, _ = moved.shape

    def average(_: Int[Array, ""], moved: Displacement) -> Displacement:
        padded = jnp.pad(moved, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        around = jnp.stack([padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)])
        alike = jnp.sum((around - moved[None]) ** 2, axis=-1, keepdims=True) <= ALIKE**2
        return jnp.mean(around, axis=0, where=alike)

    return jax.lax.fori_loop(0, SMOOTHING_ROUNDS, average, moved)
