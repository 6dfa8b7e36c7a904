"""The policy 'adaptive': a fixed number of positions that merges what it has seen before (after AFB-URR), for long videos.

Each object keeps single positions, not whole frames.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, Float
from munet_jax.models.memory.new_frame import NewFrame
from munet_jax.models.memory.readout import Memory, MemoryFormat, counted_readout, scan_chunks

# Below this a vector has no direction.
TINY = 1e-12
# Remembered positions that new ones are compared with together: a whole memory's cosines do not fit at 1080p.
COMPARED = 4096


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Adaptive:
    """How positions are merged and evicted (SPEC 'adaptive').

    Attributes:
      capacity: positions for each object, in frames of h' * w' positions.
      merge_above: a new position whose key has a larger cosine than this with a remembered one is merged into it.
      merge_rate: how far the remembered direction moves towards the new one.
      chunk: memory positions that are read at a time; 0: all.
    """

    capacity: int = 16
    merge_above: float = 0.95
    merge_rate: float = 0.1
    chunk: int = 0

    capacity_option: ClassVar[str] = "adaptive_capacity"
    least_capacity: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse a memory that could not hold the frame that is pinned and one more."""
        if self.capacity < self.least_capacity:
            raise ValueError(f"adaptive.capacity is {self.capacity}; it must be >= 2: a frame is pinned")
        if not (-1 <= self.merge_above <= 1 and 0 <= self.merge_rate <= 1):
            raise ValueError(
                f"adaptive.merge_above is a cosine (-1 to 1) and merge_rate a share (0 to 1), not {self.merge_above} and "
                f"{self.merge_rate}"
            )

    def init(self, batch: int, objects: int, positions: int, form: MemoryFormat) -> AdaptiveBank:
        """An empty memory for frames of `positions` = h' * w' stride-16 positions."""
        shape = (batch, objects, self.capacity * positions)
        occupied, pinned = (jnp.zeros(shape, jnp.bool_) for _ in range(2))
        use, age = (jnp.zeros(shape, jnp.float32) for _ in range(2))
        return AdaptiveBank(*form.empty(*shape), occupied, pinned, use, age, self)

    def stays(self, frame: Any, given: Any) -> Any:
        """Whether a frame takes room of its own: none does."""
        del frame, given
        return False

    @property
    def growth(self) -> tuple[int, ...]:
        """Numbers of kept frames at which a bank grows: it never does."""
        return ()

    def bank_bytes(self, objects: int, positions: int, form: MemoryFormat) -> float:
        """Bytes of a bank at its largest moment: a write makes the new one beside the old one, and merges in f32."""
        kept = self.capacity * positions
        return float(2 * objects * kept * form.bytes + kept * (form.key_dim + 2 * form.value_dim) * 4)


class AdaptiveBank(NamedTuple):
    """Up to m positions for each object slot, and what decides which of them is evicted when there is no room."""

    keys: Float[Array, "b n m k"]
    values: Float[Array, "b n m v"]
    occupied: Bool[Array, "b n m"]
    pinned: Bool[Array, "b n m"]  # of the frame that gave the object; never evicted
    use: Float[Array, "b n m"]
    age: Float[Array, "b n m"]  # writes since the position was inserted
    policy: Adaptive = Adaptive()

    def flat(self) -> Memory:
        """What is read."""
        return Memory(self.keys, self.values, self.occupied)

    def write(self, frame: NewFrame) -> AdaptiveBank:
        """Merge or insert every position of a frame; those that an object's first frame inserts are pinned.

        When the memory is full, the positions with the least use / age are evicted first, pinned ones never; new ones for which
        nothing may go are dropped, the lower right of the frame first.
        """
        valid = jnp.broadcast_to(frame.objects[:, :, None], frame.key.shape[:3])
        b, n = frame.objects.shape
        flat = jax.tree.map(lambda x: x.reshape(b * n, *x.shape[2:]), (self, frame.key, frame.value, valid, frame.new))
        # One object after the other: the cosines of one are large already.
        written = jax.lax.map(lambda inputs: _write_object(*inputs), flat)
        return jax.tree.map(lambda x: x.reshape(b, n, *x.shape[1:]), written)

    def read(
        self, query_key: Float[Array, "b q k"], *, top_k: int | None = None, shared_keys: bool = False
    ) -> tuple[Float[Array, "b n q v"], AdaptiveBank]:
        """As `FrameBank.read`; use grows by log(1 + query positions that attended). Each object has keys of its own."""
        del shared_keys
        found, counts = counted_readout(self.flat(), query_key, top_k=top_k, chunk=self.policy.chunk)
        return found, self._replace(use=self.use + jnp.log1p(counts))

    def grow(self, kept: int) -> AdaptiveBank:
        """The same memory: its room is fixed."""
        del kept
        return self


def _write_object(bank: AdaptiveBank, key: Array, value: Array, valid: Array, new: Array) -> AdaptiveBank:
    """One object's [m, ...] memory and [p, ...] new positions."""
    policy = bank.policy
    cosine, where = nearest(bank, key)
    merges = valid & (cosine > policy.merge_above)
    keys, values = (
        _merged(old, x, merges, where, policy.merge_rate) for old, x in ((bank.keys, key), (bank.values, value))
    )
    age = bank.age + bank.occupied.astype(jnp.float32)
    # Free positions first, then by use / age; pinned ones last, and never taken.
    held = bank.occupied & bank.pinned
    worth = jnp.where(bank.occupied, bank.use / jnp.maximum(age, 1.0), -1.0)
    order = jnp.argsort(jnp.where(held, jnp.inf, worth), stable=True)
    inserts = valid & ~merges
    rank = jnp.cumsum(inserts) - 1
    m = bank.occupied.shape[0]
    fits = inserts & (rank < m - jnp.sum(held))
    # A target beyond the end is dropped.
    target = jnp.where(fits, order[jnp.clip(rank, 0, m - 1)], m)
    return AdaptiveBank(
        keys.at[target].set(key.astype(keys.dtype), mode="drop"),
        values.at[target].set(value.astype(values.dtype), mode="drop"),
        bank.occupied.at[target].set(True, mode="drop"),
        bank.pinned.at[target].set(new, mode="drop"),
        bank.use.at[target].set(0.0, mode="drop"),
        age.at[target].set(0.0, mode="drop"),
        policy,
    )


def _merged(old: Array, new: Array, merges: Array, where: Array, rate: float) -> Array:
    """Remembered features [m, d] after the new ones [p, d] that `merges` names were merged in at `where`.

    The new ones for one position are averaged first; its direction moves by `rate`, its magnitude stays.
    """
    m = old.shape[0]
    target = jnp.where(merges, where, m)
    count = jnp.zeros(m, jnp.float32).at[target].add(1.0, mode="drop")
    total = jnp.zeros(old.shape, jnp.float32).at[target].add(new.astype(jnp.float32), mode="drop")
    mean = total / jnp.maximum(count, 1.0)[:, None]
    before = old.astype(jnp.float32)
    direction = unit((1.0 - rate) * unit(before) + rate * unit(mean))
    moved = jnp.linalg.norm(before, axis=-1, keepdims=True) * direction
    return jnp.where(count[:, None] > 0, moved, before).astype(old.dtype)


def nearest(bank: AdaptiveBank, key: Float[Array, "p k"]) -> tuple[Float[Array, " p"], Array]:
    """For each new key the largest cosine with an occupied position's key ([m, ...], one object), and which it is.

    -2 where nothing is occupied.
    """
    wanted = unit(key.astype(jnp.float32))

    def body(best: tuple[Array, Array], start: Any, is_new: Array) -> tuple[Array, Array]:
        keys = jax.lax.dynamic_slice_in_dim(bank.keys, start, is_new.size).astype(jnp.float32)
        known = jax.lax.dynamic_slice_in_dim(bank.occupied, start, is_new.size) & is_new
        cosines = jnp.where(known[None], wanted @ unit(keys).T, -2.0)
        largest = jnp.max(cosines, axis=-1)
        where = (jnp.argmax(cosines, axis=-1) + start).astype(jnp.int32)
        better = largest > best[0]
        return jnp.where(better, largest, best[0]), jnp.where(better, where, best[1])

    nobody = (jnp.full(key.shape[0], -2.0), jnp.zeros(key.shape[0], jnp.int32))
    return scan_chunks(bank.occupied.shape[0], COMPARED, nobody, body)


def unit(x: Float[Array, "m d"]) -> Float[Array, "m d"]:
    """Each row at length 1; a row of zeros stays one."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), TINY)
