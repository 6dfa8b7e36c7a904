"""Losses of the MU-Layer's motion (not in the paper): against exact displacements, and by the labels of neighbouring frames."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Float, Scalar, UInt8
from munet_jax.losses import SumAndCount, soft_cross_entropy
from munet_jax.models.clip import Matched
from munet_jax.models.motion_prior import move_by_matching
from munet_jax.training.drawn_motion import DrawnFrame, cell_means, window_target

EXACT_SHARE = 1 / 3  # of the loss of exact displacements: it is a choice among 625, the labels' among few
# Least chance that a moved label counts with: a cell that was hidden in the frame before has no match.
FLOOR = 1e-3


def motion_terms(
    matched: Matched, drawn: DrawnFrame, labels: UInt8[Array, "b t h w"], valid: Array, *, n: int, radius: int
) -> dict[str, SumAndCount]:
    """Both losses.

    Args:
      matched: what the network says.
      drawn: the frames whose motion is known.
      labels: of the clips, 0..n.
      valid: pixels that count, bool [b, t, h, w].
      n: object slots.
      radius: of the search window.

    Returns:
      'loss_motion': cross-entropy between the softmax over the window and the exact displacement of each cell that was seen
      before. 'loss_moved_labels': cross-entropy between the labels of a query frame's cells and those that the softmax brings
      from the frame before, over all cells that count.
    """
    target, weights = window_target(drawn.displacement, drawn.weights, radius)
    shares = label_shares(labels, valid, n)
    before, now = (x.reshape(-1, *x.shape[2:]) for x in (shares[:, :-1], shares[:, 1:]))
    moved = move_by_matching(matched.neighbours.reshape(-1, *matched.neighbours.shape[2:]), before)
    return {
        "loss_motion": soft_cross_entropy(matched.extra, target, weights),
        "loss_moved_labels": soft_cross_entropy(jnp.log(jnp.maximum(moved, FLOOR)), now, jnp.ones(now.shape[:-1])),
    }


def motion_loss(parts: dict[str, Scalar]) -> Scalar:
    """Both together."""
    return EXACT_SHARE * parts["loss_motion"] + parts["loss_moved_labels"]


def blank(drawn: DrawnFrame, frames: int, radius: int) -> Matched:
    """What a network could say of query frames: it gives the counts of `motion_terms` without one."""
    b, rows, columns = drawn.weights.shape
    shape = (b, rows, columns, (2 * radius + 1) ** 2)
    return Matched(jnp.zeros((b, frames, 1, 1, 1)), jnp.zeros((b, frames, *shape[1:])), jnp.zeros(shape))


def label_shares(labels: UInt8[Array, "b t h w"], valid: Array, n: int) -> Float[Array, "b t hc wc c"]:
    """The share of each label in each cell, background first; what does not count belongs to none."""
    one_hot = (labels[..., None] == jnp.arange(n + 1, dtype=labels.dtype)[None, None, None, None]) & valid[..., None]
    return jax.vmap(jax.vmap(cell_means))(one_hot.astype(jnp.float32))
