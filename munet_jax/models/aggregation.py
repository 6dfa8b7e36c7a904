"""From each object's two channels to one probability map over background and objects."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, ClassLogits, Float, ObjectValid

CLIP = 1e-7
LARGEST_LOGIT = math.log((1.0 - CLIP) / CLIP)
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


def aggregated_probabilities(channels: Float[Array, "b n h w 2"], objects: ObjectValid) -> Float[Array, "b n h w"]:
    """`object_probabilities` of `soft_aggregation` in one step, with one exponential for each object: for inference.

    With odds e_i = p_i / (1 - p_i) the softmax over logits divides each object's odds by the sum of all, and the background's are
    1 / (prod(1 + e_i) - 1).
    """
    # A map that exists: what enlarged the channels would be computed again for each of its uses.
    channels = jax.lax.optimization_barrier(channels)
    odds = jnp.exp(clip(channels[..., 1] - channels[..., 0]))
    odds = jnp.where(objects[:, :, None, None], odds, 0.0)
    slots = [odds[:, i] for i in range(odds.shape[1])]
    # prod(1 + e_i) - 1, without the 1 in which small odds would be lost; what is clipped below may not overflow before.
    any_object = functools.reduce(lambda total, e: jnp.minimum(total + e + total * e, 1.0 / CLIP), slots)
    background = jnp.clip(1.0 / any_object, CLIP, 1.0 / CLIP)
    return odds / functools.reduce(jnp.add, slots, background)[:, None]
