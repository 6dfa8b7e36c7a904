"""Memory bank and matcher: keys and values of past frames per object, and the space-time read (paper Fig. 2).

The bank is a value of fixed shape. Nothing here changes it in place, and adding a frame or an object never changes a shape:
frames go to numbered slots, and slots that were never written for an object are masked out of the read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float, Keys, ObjectValid, Occupied, Values
from munet_jax.models.convolution import conv

# The slot of the neighbouring frame, replaced at each step; later slots hold frames that stay.
PREVIOUS_SLOT = 0
FIRST_SLOT = 1

# Stands for minus infinity in scores: a row in which nothing is occupied must not become NaN.
NEVER = -1e30


class MemoryBank(NamedTuple):
    """Keys and values of up to f frames for each object slot."""

    keys: Keys
    values: Values
    occupied: Occupied


def init_bank(
    batch: int, objects: int, frames: int, positions: int, *, key_dim: int, value_dim: int, dtype: Any = jnp.float32
) -> MemoryBank:
    """An empty bank for `frames` frames of `positions` = h' * w' stride-16 positions."""
    shape = (batch, objects, frames, positions)
    return MemoryBank(
        jnp.zeros((*shape, key_dim), dtype), jnp.zeros((*shape, value_dim), dtype), jnp.zeros(shape[:3], jnp.bool_)
    )


def write(
    bank: MemoryBank,
    key: Float[Array, "b n p k"],
    value: Float[Array, "b n p v"],
    objects: ObjectValid,
    slot: int | Array,
) -> MemoryBank:
    """Put one frame into a slot, replacing what was there; objects that are not valid leave their part unoccupied."""
    put = jax.lax.dynamic_update_index_in_dim
    return MemoryBank(
        put(bank.keys, key.astype(bank.keys.dtype), slot, axis=2),
        put(bank.values, value.astype(bank.values.dtype), slot, axis=2),
        put(bank.occupied, objects, slot, axis=2),
    )


def forget(bank: MemoryBank, slot: int | Array) -> MemoryBank:
    """Mark a slot empty for every object."""
    nobody = jnp.zeros(bank.occupied.shape[:2], jnp.bool_)
    return bank._replace(occupied=jax.lax.dynamic_update_index_in_dim(bank.occupied, nobody, slot, axis=2))


def resize(bank: MemoryBank, objects: int, frames: int) -> MemoryBank:
    """The same memory with room for more objects and frames; both can only grow."""
    _, n, f = bank.occupied.shape

    def pad(array: Array) -> Array:
        widths = [(0, 0), (0, objects - n), (0, frames - f), *[(0, 0)] * (array.ndim - 3)]
        return jnp.pad(array, widths)

    return MemoryBank(*[pad(array) for array in bank])


def read(bank: MemoryBank, query_key: Float[Array, "b q k"], *, top_k: int | None = None) -> Float[Array, "b n q v"]:
    """Space-time memory read: softmax over all memory positions of k_m . k_q / sqrt(k), weighted sum of values.

    Args:
      bank: the memory.
      query_key: keys of the positions that ask; the same for all objects.
      top_k: keep only the k best memory positions of each query position; None keeps all.

    Returns:
      [b, n, q, v] f32; zeros for an object that has nothing in memory.
    """
    b, n, f, p, k = bank.keys.shape
    keys = bank.keys.reshape(b, n, f * p, k)
    values = bank.values.reshape(b, n, f * p, -1)
    scale = k**-0.5
    scores = jnp.einsum("bqk,bnmk->bnqm", query_key * scale, keys, preferred_element_type=jnp.float32)
    taking_part = jnp.repeat(bank.occupied, p, axis=-1)[:, :, None, :]
    scores = jnp.where(taking_part, scores, NEVER)
    if top_k is not None and top_k < f * p:
        weakest = jax.lax.top_k(scores, top_k)[0][..., -1:]
        scores = jnp.where(scores >= weakest, scores, NEVER)
    weights = jax.nn.softmax(scores, axis=-1)
    known = jnp.any(bank.occupied, axis=-1)[:, :, None, None]
    return jnp.where(known, jnp.einsum("bnqm,bnmv->bnqv", weights, values.astype(jnp.float32)), 0.0)


@dataclasses.dataclass(frozen=True)
class EveryK:
    """Which frames stay (SPEC 'every_k'): the first, every `interval`-th, and the previous one, in `capacity` slots.

    Attributes:
      interval: a frame whose index is a multiple of it stays in memory.
      capacity: frames in all, the previous one included; when full, the oldest frame but the first goes.
    """

    interval: int = 5
    capacity: int = 24

    def __post_init__(self) -> None:
        """Refuse a bank that could not hold the first, the previous and one more frame."""
        if self.interval < 1 or self.capacity < 3:
            raise ValueError(f"memory.interval {self.interval} must be >= 1 and memory.capacity {self.capacity} >= 3")

    def stays(self, frame_index: int) -> bool:
        """Whether the frame is kept beyond the next step."""
        return frame_index % self.interval == 0

    def slot(self, kept: int) -> int:
        """Slot of the next frame to keep, after `kept` frames (the first included) were kept before."""
        if kept == 0:
            return FIRST_SLOT
        return FIRST_SLOT + 1 + (kept - 1) % (self.capacity - FIRST_SLOT - 1)

    def frames_needed(self, kept: int) -> int:
        """Slots that a bank with `kept` kept frames uses, the previous frame's included."""
        return min(self.capacity, FIRST_SLOT + kept)


class KeyValue(nn.Module):
    """Key and value embeddings: one 3x3 convolution each. Query and memory have their own.

    Attributes:
      key_dim: channels k; None makes no key (a memory that keeps the query's).
      value_dim: channels v.
      dtype: compute dtype.
    """

    key_dim: int | None = 128
    value_dim: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: FeatureMap) -> tuple[AnyMap | None, AnyMap]:
        """[b, h', w', d] -> key [b, h', w', k], value [b, h', w', v]."""
        key = None
        if self.key_dim is not None:
            key = conv(self.key_dim, 3, dtype=self.dtype, name="key")(features)
        value = conv(self.value_dim, 3, dtype=self.dtype, name="value")(features)
        return key, value


class Matcher(nn.Module):
    """Read the memory for a query frame and put the query's own value beside it; has no parameters.

    Attributes:
      top_k: memory positions that take part for each query position; None takes all.
    """

    top_k: int | None = None

    def __call__(
        self, bank: MemoryBank, key: Float[Array, "b h w k"], value: Float[Array, "b h w v"]
    ) -> Float[Array, "b n h w e"]:
        """Query key and value -> what was read and the query value, concatenated: e = 2 v."""
        b, h, w, k = key.shape
        found = read(bank, key.reshape(b, h * w, k), top_k=self.top_k)
        n, v = found.shape[1], found.shape[-1]
        found = found.reshape(b, n, h, w, v).astype(value.dtype)
        own = jnp.broadcast_to(value[:, None], (b, n, h, w, v))
        return jnp.concatenate([found, own], axis=-1)
