"""Memory bank and matcher: keys and values of past frames per object, and who reads them (paper Fig. 2).

The bank is a value of fixed shape. Nothing here changes it in place, and adding a frame or an object never changes a shape:
frames go to numbered slots, and slots that were never written for an object are masked out of the read.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, Bool, FeatureMap, Float, Keys, ObjectValid, Occupied, Values
from munet_jax.models.adaptive_memory import AdaptiveBank
from munet_jax.models.convolution import Conv
from munet_jax.models.reading import Memory, read, read_and_count, read_shared

# The slot of the neighbouring frame, replaced at each step; later slots hold frames that stay.
PREVIOUS_SLOT = 0
FIRST_SLOT = 1
# The bank grows in these steps, so that a video of any length causes a few compilations. Empty frames cost no reading.
FRAME_BUCKETS = (8, 24, 64, 256)


class MemoryBank(NamedTuple):
    """Keys and values of up to f frames for each object slot."""

    keys: Keys
    values: Values
    occupied: Occupied

    def flat(self) -> Memory:
        """The remembered positions of all frames in one row."""
        b, n, f, p, _ = self.keys.shape
        return Memory(*[array.reshape(b, n, f * p, *array.shape[4:]) for array in self])


Bank: TypeAlias = MemoryBank | AdaptiveBank


def init_bank(
    batch: int, objects: int, frames: int, positions: int, *, key_dim: int, value_dim: int, dtype: Any = jnp.float32
) -> MemoryBank:
    """An empty bank for `frames` frames of `positions` = h' * w' stride-16 positions."""
    shape = (batch, objects, frames, positions)
    return MemoryBank(
        jnp.zeros((*shape, key_dim), dtype), jnp.zeros((*shape, value_dim), dtype), jnp.zeros(shape, jnp.bool_)
    )


def write(
    bank: MemoryBank,
    key: Float[Array, "b n p k"],
    value: Float[Array, "b n p v"],
    objects: ObjectValid,
    slot: int | Array,
    inside: Bool[Array, " p"] | None = None,
) -> MemoryBank:
    """Put one frame into a slot, replacing what was there; objects that are not valid leave their part unoccupied.

    `inside` says which positions show something of the frame, where it was padded by more than the stride asks for.
    """
    put = jax.lax.dynamic_update_index_in_dim
    occupied = jnp.broadcast_to(objects[:, :, None], key.shape[:3])
    if inside is not None:
        occupied &= inside[None, None]
    return MemoryBank(
        put(bank.keys, key.astype(bank.keys.dtype), slot, axis=2),
        put(bank.values, value.astype(bank.values.dtype), slot, axis=2),
        put(bank.occupied, occupied, slot, axis=2),
    )


def forget(bank: MemoryBank, slot: int | Array) -> MemoryBank:
    """Mark a slot empty for every object."""
    nobody = jnp.zeros((*bank.occupied.shape[:2], bank.occupied.shape[3]), jnp.bool_)
    return bank._replace(occupied=jax.lax.dynamic_update_index_in_dim(bank.occupied, nobody, slot, axis=2))


def more_frames(bank: MemoryBank, frames: int) -> MemoryBank:
    """The same memory with room for more frames."""
    new = frames - bank.occupied.shape[2]
    return MemoryBank(*[jnp.pad(x, [(0, 0), (0, 0), (0, new), *[(0, 0)] * (x.ndim - 3)]) for x in bank])


def more_objects(bank: Bank, objects: int) -> Bank:
    """The same memory with room for more objects, of either policy."""
    return jax.tree.map(lambda x: jnp.pad(x, [(0, 0), (0, objects - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]), bank)


def keep_objects(bank: Bank, objects: Bool[Array, " n"]) -> Bank:
    """Forget the objects that are not named, of either policy."""
    kept = objects.reshape(1, -1, *[1] * (bank.occupied.ndim - 2))
    return bank._replace(occupied=bank.occupied & kept)


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

    def slot(self, kept: int, *, stays: bool) -> int:
        """Slot of the next frame, after `kept` frames (the first included) were kept before."""
        if not stays:
            return PREVIOUS_SLOT
        if kept == 0:
            return FIRST_SLOT
        return FIRST_SLOT + 1 + (kept - 1) % (self.capacity - FIRST_SLOT - 1)

    def init(self, objects: int, positions: int, *, key_dim: int, value_dim: int, dtype: Any) -> MemoryBank:
        """An empty bank with the smallest room there is."""
        frames = min(FRAME_BUCKETS[0], self.capacity)
        return init_bank(1, objects, frames, positions, key_dim=key_dim, value_dim=value_dim, dtype=dtype)

    def make_room(self, bank: MemoryBank, kept: int) -> MemoryBank:
        """The bank, enlarged to the next bucket if `kept` frames and the previous one do not fit."""
        needed = FIRST_SLOT + min(kept, self.capacity - FIRST_SLOT)
        frames = min(next((size for size in FRAME_BUCKETS if size >= needed), self.capacity), self.capacity)
        return more_frames(bank, frames) if frames > bank.occupied.shape[2] else bank

    def write(
        self,
        bank: MemoryBank,
        key: Float[Array, "b n p k"],
        value: Float[Array, "b n p v"],
        objects: ObjectValid,
        slot: int | Array,
        inside: Bool[Array, " p"] | None = None,
    ) -> MemoryBank:
        """Put a frame into its slot; one that stays takes the place of the previous frame, which is forgotten."""
        return write(forget(bank, PREVIOUS_SLOT), key, value, objects, slot, inside)


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
            key = Conv(self.key_dim, 3, dtype=self.dtype, name="key")(features)
        value = Conv(self.value_dim, 3, dtype=self.dtype, name="value")(features)
        return key, value


class Matcher(nn.Module):
    """Read the memory for a query frame and put the query's own value beside it; has no parameters.

    Attributes:
      top_k: memory positions that take part for each query position; None takes all.
      shared_keys: all objects of a bank of frames remember the same keys (those of the query).
    """

    top_k: int | None = None
    shared_keys: bool = False

    def __call__(
        self, bank: Bank, key: Float[Array, "b h w k"], value: Float[Array, "b h w v"], *, chunk: int = 0
    ) -> tuple[Float[Array, "b n h w e"], Bank]:
        """Query key and value -> what was read and the query value, concatenated (e = 2 v), and the memory after the read.

        `chunk` memory positions are read at a time; 0 reads all at once.
        """
        b, h, w, k = key.shape
        asked = key.reshape(b, h * w, k)
        if isinstance(bank, AdaptiveBank):
            found, counts = read_and_count(bank.flat(), asked, top_k=self.top_k, chunk=chunk)
            bank = bank.used(counts)
        elif self.shared_keys and chunk and self.top_k is None and bank.keys.shape[1] > 1:
            found = read_shared(bank.flat(), asked, chunk=chunk)
        else:
            found = read(bank.flat(), asked, top_k=self.top_k, chunk=chunk)
        n, v = found.shape[1], found.shape[-1]
        found = found.reshape(b, n, h, w, v).astype(value.dtype)
        own = jnp.broadcast_to(value[:, None], (b, n, h, w, v))
        return jnp.concatenate([found, own], axis=-1), bank
