"""The policy 'every_k': whole frames stay in memory, the first, every k-th and the previous one.

The bank is a value of fixed shape. Nothing here changes it in place: frames go to numbered slots, and slots that were never
written for an object are masked out of the read.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Float, Keys, ObjectValid, Occupied, Values
from munet_jax.models.memory.new_frame import NewFrame
from munet_jax.models.memory.readout import Memory, MemoryFormat, chunked_readout, readout, shared_readout

# The slot of the previous frame, replaced at each step; later slots hold frames that stay.
PREVIOUS_SLOT = 0
FIRST_SLOT = 1
# The bank grows in these steps, so that a video of any length causes a few compilations. Empty frames cost no reading.
FRAME_BUCKETS = (8, 24, 64, 256)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class EveryK:
    """Which frames stay (SPEC 'every_k'): the first, every `interval`-th, frames with a given mask, and the previous one.

    Attributes:
      interval: a frame whose index is a multiple of it stays in memory.
      capacity: frames in all, the previous one included; when full, the oldest frame but the first is evicted.
      chunk: memory positions that are read at a time; 0: all.
    """

    interval: int = 5
    capacity: int = 24
    chunk: int = 0

    capacity_option: ClassVar[str] = "memory_capacity"
    least_capacity: ClassVar[int] = 3

    def __post_init__(self) -> None:
        """Refuse a bank that could not hold the first, the previous and one more frame."""
        if self.interval < 1 or self.capacity < self.least_capacity:
            raise ValueError(f"memory.interval {self.interval} must be >= 1 and memory.capacity {self.capacity} >= 3")

    def init(self, batch: int, objects: int, positions: int, form: MemoryFormat) -> FrameBank:
        """An empty bank for frames of `positions` = h' * w' stride-16 positions, with the smallest room there is."""
        room = min(FRAME_BUCKETS[0], self.capacity)
        return empty_bank(batch, objects, room, positions, form)._replace(policy=self)

    def stays(self, frame: Any, given: Any) -> Any:
        """Whether a frame is kept beyond the next step: its index is a multiple of `interval`, or a mask is given in it."""
        return given | (frame % self.interval == 0)

    @property
    def growth(self) -> tuple[int, ...]:
        """Numbers of kept frames at which a bank grows."""
        return tuple(room for room in FRAME_BUCKETS if room < self.capacity)

    def room(self, kept: int) -> int:
        """Frames that a bank has room for once `kept` frames stay."""
        needed = FIRST_SLOT + min(kept, self.capacity - FIRST_SLOT)
        return min(next((size for size in FRAME_BUCKETS if size >= needed), self.capacity), self.capacity)

    def positions_at_a_time(self, positions: int) -> int:
        """What `chunk` is for frames of so many positions: whole frames where it holds one, so that no slice is partly empty."""
        return self.chunk // positions * positions or self.chunk

    def bank_bytes(self, objects: int, positions: int, form: MemoryFormat) -> float:
        """Bytes of a bank at its largest moment: where it grows, the one before it is there too."""
        before = max(self.growth, default=0)
        return float(objects * positions * form.bytes * (self.capacity + before))


class FrameBank(NamedTuple):
    """Keys and values of up to f frames for each object slot."""

    keys: Keys
    values: Values
    occupied: Occupied
    kept: Any  # int32 []: frames that were kept so far
    policy: EveryK = EveryK()

    def flat(self) -> Memory:
        """The remembered positions of all frames in one row."""
        b, n, f, p, _ = self.keys.shape
        return Memory(*[x.reshape(b, n, f * p, *x.shape[4:]) for x in (self.keys, self.values, self.occupied)])

    def put(
        self,
        slot: int | Array,
        key: Float[Array, "b n p k"],
        value: Float[Array, "b n p v"],
        objects: ObjectValid,
    ) -> FrameBank:
        """Put one frame into a slot, replacing what was there; objects that are not valid leave their part unoccupied."""
        put = jax.lax.dynamic_update_index_in_dim
        return self._replace(
            keys=put(self.keys, key.astype(self.keys.dtype), slot, axis=2),
            values=put(self.values, value.astype(self.values.dtype), slot, axis=2),
            occupied=put(self.occupied, jnp.broadcast_to(objects[:, :, None], key.shape[:3]), slot, axis=2),
        )

    def write(self, frame: NewFrame) -> FrameBank:
        """Put a frame into its slot; one that stays takes the place of the previous frame, which is evicted."""
        stays, policy = self.policy.stays(frame.index, frame.given), self.policy
        later = FIRST_SLOT + 1 + (self.kept - 1) % (policy.capacity - FIRST_SLOT - 1)
        slot = jnp.where(stays, jnp.where(self.kept == 0, FIRST_SLOT, later), PREVIOUS_SLOT)
        nobody = jnp.zeros((*self.occupied.shape[:2], self.occupied.shape[3]), jnp.bool_)
        emptied = jax.lax.dynamic_update_index_in_dim(self.occupied, nobody, PREVIOUS_SLOT, axis=2)
        kept = self.kept + jnp.asarray(stays, jnp.int32)
        return self._replace(occupied=emptied, kept=kept).put(slot, frame.key, frame.value, frame.objects)

    def read(
        self, query_key: Float[Array, "b q k"], *, top_k: int | None = None, shared_keys: bool = False
    ) -> tuple[Float[Array, "b n q v"], FrameBank]:
        """The readout of each object, and the bank after it (a read leaves it as it is).

        Args:
          query_key: keys of the positions that ask.
          top_k: memory positions that take part for each query position; None takes all.
          shared_keys: all objects remember the same keys.
        """
        memory, chunk = self.flat(), self.policy.positions_at_a_time(self.keys.shape[3])
        if top_k is None and chunk and shared_keys and memory.keys.shape[1] > 1:
            each = functools.partial(chunked_readout, chunk=chunk)  # `shared_readout` asks the host on GPUs
            shared = functools.partial(shared_readout, chunk=chunk)
            return jax.lax.platform_dependent(memory, query_key, cpu=shared, default=each), self
        if top_k is None and not 0 < chunk < memory.keys.shape[2]:
            return readout(memory, query_key), self
        return chunked_readout(memory, query_key, chunk=chunk, top_k=top_k), self

    def grow(self, kept: int) -> FrameBank:
        """The same memory with room for `kept` frames beside the previous one, in the steps of `FRAME_BUCKETS`."""
        new = self.policy.room(kept) - self.occupied.shape[2]
        return self if new <= 0 else more_frames(self, new)


def empty_bank(batch: int, objects: int, frames: int, positions: int, form: MemoryFormat) -> FrameBank:
    """A bank of `frames` slots that nobody has written to."""
    shape = (batch, objects, frames, positions)
    return FrameBank(*form.empty(*shape), jnp.zeros(shape, jnp.bool_), jnp.int32(0))


def more_frames(bank: FrameBank, count: int) -> FrameBank:
    """The same memory with `count` empty slots more."""

    def pad(x: Array) -> Array:
        return jnp.pad(x, [(0, 0), (0, 0), (0, count), *[(0, 0)] * (x.ndim - 3)])

    return bank._replace(keys=pad(bank.keys), values=pad(bank.values), occupied=pad(bank.occupied))
