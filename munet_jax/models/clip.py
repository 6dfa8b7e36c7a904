"""Training clips through the network: frame 0 is given, the others are segmented (SPEC section 4)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import (
    AnyMap,
    Array,
    Bool,
    ClipBatch,
    CostVolume,
    Float,
    FrameBatch,
    Int,
    ObjectMasks,
    ObjectValid,
    UInt8,
)
from munet_jax.models.aggregation import object_probabilities
from munet_jax.models.memory.every_k import FrameBank, empty_bank
from munet_jax.models.query import Encoded, Query


class Matched(NamedTuple):
    """A clip's logits, and the softmax over the window that its frames were matched with."""

    logits: Float[Array, "b s h w c"]
    neighbours: Float[Array, "b s hc wc u"]  # of each query frame against the frame before
    extra: CostVolume  # the logarithm of that of each clip's extra frame against the frame that it is a view of


def segment_clip(
    model: nn.Module,
    frames: ClipBatch,
    masks: ObjectMasks,
    objects: ObjectValid,
    *,
    memory: str = "reference",
    truncate: bool = False,
    hinted: Bool[Array, "b s"] | None = None,
) -> Float[Array, "b s h w c"]:
    """Segment frames 1.. of a clip, given frame 0's masks.

    Args:
      model: a bound `MUNet`.
      frames: [b, t, h, w, 3].
      masks: frame 0's objects, one-hot [b, n, h, w].
      objects: which slots hold an object.
      memory: 'reference' remembers frame 0 only; 'sequential' also each predicted frame.
      truncate: whether no gradient goes through a predicted mask to the frames before.
      hinted: which query frames are given the motion prior, where the decoder has one; the others get an empty one, so that the
        network learns to do without. None is all.

    Returns:
      logits [b, t - 1, h, w, n + 1].
    """
    encoded = model.encode(merged(frames))
    return _segment(model, frames, masks, objects, encoded, memory, truncate, hinted)[0]


def segment_and_match(
    model: nn.Module,
    frames: ClipBatch,
    masks: ObjectMasks,
    objects: ObjectValid,
    extra: FrameBatch,
    origin: Int[Array, " b"],
    *,
    memory: str = "reference",
    truncate: bool = False,
    hinted: Bool[Array, "b s"] | None = None,
) -> Matched:
    """`segment_clip`, and what the MU-Layer's softmax says; Enc-Q sees each frame once.

    Args:
      model: as there, with the other arguments.
      frames: as there.
      masks: as there.
      objects: as there.
      extra: another view of one frame of each clip, of the clips' type.
      origin: the number of that frame.
      memory: as there.
      truncate: as there.
      hinted: as there.
    """
    b, t = frames.shape[:2]
    both = model.encode(jnp.concatenate([merged(frames), extra]))
    encoded = jax.tree.map(lambda x: x[: b * t], both)
    logits, query = _segment(model, frames, masks, objects, encoded, memory, truncate, hinted)
    own = encoded.reduced.reshape(b, t, *encoded.reduced.shape[1:])
    seen = jnp.take_along_axis(own, origin[:, None, None, None, None], axis=1)[:, 0]
    weights = query.motion.weights
    return Matched(
        logits, weights.reshape(b, t - 1, *weights.shape[1:]), model.mu_layer.log_weights(both.reduced[b * t :], seen)
    )


def _segment(
    model: nn.Module,
    frames: ClipBatch,
    masks: ObjectMasks,
    objects: ObjectValid,
    encoded: Encoded,
    memory: str,
    truncate: bool,
    hinted: Bool[Array, "b s"] | None,
) -> tuple[Float[Array, "b s h w c"], Query]:
    """What `segment_clip` gives, of encoded frames, and all query frames [b * s, ...]."""
    b, t = frames.shape[:2]
    query = model.query(*neighbours(encoded, b, t))
    room = 1 if memory == "reference" else t - 1
    bank = _first_memory(model, frames[:, 0], masks, objects, first_of_clips(encoded, b, t), room)
    if memory == "reference":
        return _match_together(model, query, bank, objects, masks), query
    hinted = jnp.ones((b, t - 1), jnp.bool_) if hinted is None else hinted
    return _match_in_order(model, query, bank, objects, masks, frames[:, 1:], truncate, hinted), query


def _first_memory(
    model: nn.Module, frame: FrameBatch, masks: ObjectMasks, objects: ObjectValid, encoded: Encoded, room: int
) -> FrameBank:
    """A bank of `room` frames that has the given frame, which is its own neighbour."""
    query = model.query(encoded, encoded.reduced)
    key, value = model.memorise(frame, masks, query.key, query.semantic, objects)
    b, n, p, _ = key.shape
    return empty_bank(b, n, room, p, model.memory_format).put(0, key, value, objects)


def _match_together(
    model: nn.Module, query: Query, bank: FrameBank, objects: ObjectValid, masks: ObjectMasks
) -> Float[Array, "b s h w c"]:
    """All query frames [b * s, ...] against the same memory: each clip's bank serves its s frames."""
    assert not model.decoder.motion_prior, "a motion prior needs the previous frame's masks: memory='sequential'"
    b = objects.shape[0]
    s = query.key.shape[0] // b
    keys, values, occupied = (jnp.repeat(x, s, axis=0) for x in (bank.keys, bank.values, bank.occupied))
    shared = bank._replace(keys=keys, values=values, occupied=occupied)
    logits, _ = model.match(query, shared, jnp.repeat(objects, s, axis=0), jnp.repeat(masks, s, axis=0))
    return logits.reshape(b, s, *logits.shape[1:])


def _match_in_order(
    model: nn.Module,
    query: Query,
    bank: FrameBank,
    objects: ObjectValid,
    masks: ObjectMasks,
    frames: ClipBatch,
    truncate: bool,
    hinted: Bool[Array, "b s"],
) -> Float[Array, "b s h w c"]:
    """Frame by frame: each predicted mask goes into memory before the next frame is matched."""
    b, s = frames.shape[:2]
    Memory = tuple[FrameBank, Array]

    def step(model: nn.Module, memory: Memory, inputs: tuple[Query, Array, Array, Array]) -> tuple[Memory, Array]:
        (bank, masks), (frame_query, frame, index, hint) = memory, inputs
        logits, _ = model.match(frame_query, bank, objects, jnp.where(hint[:, None, None, None], masks, 0.0))
        masks = object_probabilities(logits)
        masks = jax.lax.stop_gradient(masks) if truncate else masks
        key, value = model.memorise(frame, masks, frame_query.key, frame_query.semantic, objects)
        # The last frame's memory has nobody to read it and no slot: it falls on the last slot, after its last use.
        slot = jnp.minimum(index + 1, s - 1)
        return (bank.put(slot, key, value, objects), masks), logits

    # Unrolled: a clip is short, and XLA's CPU convolutions are 6 times slower inside a while loop (measured).
    scan = nn.scan(
        step,
        variable_broadcast=("params", "batch_stats"),
        split_rngs={"params": False},
        in_axes=0,
        out_axes=1,
        unroll=s,
    )
    in_order = (by_time(query, b, s), jnp.moveaxis(frames, 1, 0), jnp.arange(s), hinted.T)
    return scan(model, (bank, masks), in_order)[1]


def merged(frames: ClipBatch) -> Float[Array, "_ h w 3"] | UInt8[Array, "_ h w 3"]:
    """[b, t, h, w, 3] -> [b * t, h, w, 3]."""
    return frames.reshape(-1, *frames.shape[2:])


def first_of_clips(encoded: Encoded, b: int, t: int) -> Encoded:
    """Frame 0 of each clip, of [b * t, ...] maps."""
    return jax.tree.map(lambda x: x.reshape(b, t, *x.shape[1:])[:, 0], encoded)


def neighbours(encoded: Encoded, b: int, t: int) -> tuple[Encoded, AnyMap]:
    """Frames 1..t-1 of each clip, and the reduced feature of the frame before each: [b * (t - 1), ...]."""

    def frames(x: Array, first: int, last: int) -> Array:
        return x.reshape(b, t, *x.shape[1:])[:, first:last].reshape(b * (t - 1), *x.shape[1:])

    return jax.tree.map(lambda x: frames(x, 1, t), encoded), frames(encoded.reduced, 0, t - 1)


def by_time(query: Query, b: int, s: int) -> Query:
    """[b * s, ...] maps -> [s, b, ...], the order of a scan over time."""

    def move(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(b, s, *x.shape[1:]), 1, 0)

    return jax.tree.map(move, query)
