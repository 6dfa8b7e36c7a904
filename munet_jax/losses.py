"""Losses of the paper (Sec. 3.4, Eq. 4): bootstrapped cross-entropy and mask-IoU, and plain cross-entropy for the ablation.

Every loss can return its sum and its count apart (`reduction='sum_and_count'`): a mean over devices is exact only when
sums and counts are added up first. Here b may stand for clips times frames: each entry is one frame.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, ClassLogits, Float, Int, Scalar


class SumAndCount(NamedTuple):
    """A mean under way: over several devices or micro-batches, sums and counts are added up before the division."""

    total: Scalar
    entries: Scalar

    def over(self, count: Scalar) -> Scalar:
        """The part of a mean over `count` entries that these make up; 0 where nothing counts."""
        return self.total / jnp.maximum(count, 1.0)


# In Eq. 4's quotient: an object of no area must not divide by zero.
AREA_EPSILON = 1e-6


def equation_4(bsce: Scalar, iou: Scalar, weight: float | int) -> Scalar:
    """Eq. 4: bootstrapped cross-entropy plus lambda (`weight`, 1 in the paper) times the mask-IoU loss."""
    return bsce + weight * iou


def pixel_cross_entropy(logits: ClassLogits, labels: Int[Array, "b h w"]) -> Float[Array, "b h w"]:
    """-log softmax(logits)[label] of every pixel."""
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def cross_entropy(
    logits: ClassLogits,
    labels: Int[Array, "b h w"],
    *,
    valid: Bool[Array, "b h w"] | None = None,
    reduction: str = "mean",
) -> Scalar | SumAndCount:
    """Mean cross-entropy over all valid pixels (Table 4 without the paper's loss)."""
    losses = pixel_cross_entropy(logits, labels)
    weights = jnp.ones_like(losses) if valid is None else valid.astype(losses.dtype)
    return _reduce(jnp.sum(losses * weights), jnp.sum(weights), reduction)


def soft_cross_entropy(
    log_probabilities: Float[Array, "*shape c"], target: Float[Array, "*shape c"], weights: Float[Array, "*shape"]
) -> SumAndCount:
    """Cross-entropy against shares of the classes, summed over weighted places; the weights are what is counted.

    A class without a share does not count, whatever its probability: its logarithm may be minus infinity.
    """
    terms = target * jnp.where(target > 0, log_probabilities, 0.0)
    return SumAndCount(-jnp.sum(terms * weights[..., None]), jnp.sum(weights))


def kullback_leibler(logits: ClassLogits, target_logits: ClassLogits, *, valid: Bool[Array, "b h w"]) -> SumAndCount:
    """Sum p log(p / q) of each valid pixel, p the softmax of `target_logits`, which get no gradient, and q that of `logits`.

    It is 0 where both say the same. Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network (2015), at temperature 1.
    """
    target = jax.lax.stop_gradient(jax.nn.log_softmax(target_logits, axis=-1))
    divergence = jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(logits, axis=-1)), axis=-1)
    weights = valid.astype(divergence.dtype)
    return SumAndCount(jnp.sum(divergence * weights), jnp.sum(weights))


def bootstrapped_cross_entropy(
    logits: ClassLogits,
    labels: Int[Array, "b h w"],
    *,
    fraction: float | Scalar = 0.4,
    valid: Bool[Array, "b h w"] | None = None,
    reduction: str = "mean",
) -> Scalar | SumAndCount:
    """First term of Eq. 4: mean cross-entropy over each frame's hardest pixels.

    Args:
      logits: [b, h, w, n + 1], background first.
      labels: [b, h, w] in 0..n.
      fraction: share of a frame's valid pixels that counts: the round(fraction * valid pixels) hardest.
      valid: pixels that may count; None takes all.
      reduction: 'mean' over all counted pixels of all frames, or 'sum_and_count'.

    Returns:
      A scalar, or (sum, count).
    """
    b = labels.shape[0]
    losses = pixel_cross_entropy(logits, labels).reshape(b, -1)
    usable = jnp.ones_like(losses, jnp.bool_) if valid is None else valid.reshape(b, -1)
    counts = jnp.round(fraction * jnp.sum(usable.astype(losses.dtype), axis=-1)).astype(jnp.int32)
    weights = hardest_weights(jax.lax.stop_gradient(jnp.where(usable, losses, -1.0)), counts)
    return _reduce(jnp.sum(weights * losses), jnp.sum(counts).astype(losses.dtype), reduction)


def hardest_weights(losses: Float[Array, "b p"], counts: Int[Array, " b"]) -> Float[Array, "b p"]:
    """Weights that pick the `counts[i]` largest entries of row i: 1, 0, and a share each where several tie at the edge.

    The k-th largest value is found by bisection on the bits of the floats, 31 counting passes in place of a sort.
    Entries below 0 are never picked.
    """
    bits = jax.lax.bitcast_convert_type(
        jnp.maximum(losses, 0.0), jnp.int32
    )  # ordered like the floats, as none is negative

    def add_bit(step: Array, threshold: Int[Array, "b 1"]) -> Int[Array, "b 1"]:
        candidate = threshold | (jnp.int32(1) << (30 - step))
        enough = jnp.sum((bits >= candidate) & (losses >= 0.0), axis=-1, keepdims=True) >= counts[:, None]
        return jnp.where(enough, candidate, threshold)

    # The largest threshold that at least `count` entries reach: the count-th largest entry.
    threshold = jax.lax.fori_loop(0, 31, add_bit, jnp.zeros((losses.shape[0], 1), jnp.int32))
    above = (bits > threshold) & (losses >= 0.0)
    tied = (bits == threshold) & (losses >= 0.0)
    left = counts[:, None] - jnp.sum(above, axis=-1, keepdims=True)
    share = left / jnp.maximum(jnp.sum(tied, axis=-1, keepdims=True), 1)
    return jnp.where(above, 1.0, jnp.where(tied, share, 0.0))


def mask_iou_loss(
    probabilities: Float[Array, "b n h w"],
    labels_one_hot: Float[Array, "b n h w"],
    *,
    valid: Bool[Array, "b h w"] | None = None,
    reduction: str = "mean",
) -> Scalar | SumAndCount:
    """Second term of Eq. 4: 1 - sum(min(M, P)) / sum(max(M, P)) of each foreground object that a frame shows.

    Args:
      probabilities: foreground objects only.
      labels_one_hot: the same slots; a slot without a valid pixel is not present and does not count.
      valid: pixels that count; None takes all.
      reduction: 'mean' over present objects of all frames, or 'sum_and_count'.

    Returns:
      A scalar, or (sum, count).
    """
    weights = 1.0 if valid is None else valid[:, None].astype(probabilities.dtype)
    intersection = jnp.sum(jnp.minimum(labels_one_hot, probabilities) * weights, axis=(2, 3))
    union = jnp.sum(jnp.maximum(labels_one_hot, probabilities) * weights, axis=(2, 3))
    present = (jnp.sum(labels_one_hot * weights, axis=(2, 3)) > 0).astype(probabilities.dtype)
    losses = 1.0 - intersection / jnp.maximum(union, AREA_EPSILON)
    return _reduce(jnp.sum(losses * present), jnp.sum(present), reduction)


def _reduce(total: Scalar, count: Scalar, reduction: str) -> Scalar | SumAndCount:
    """Mean (0 where nothing counts), or the sum and the count themselves."""
    if reduction == "sum_and_count":
        return SumAndCount(total, count)
    if reduction != "mean":
        raise ValueError(f"reduction is {reduction!r}; choose 'mean' or 'sum_and_count'")
    return SumAndCount(total, count).over(count)
