"""A memory of a fixed number of positions that merges what it has seen before (after AFB-URR), for long videos.

Like the bank of frames it is a value of fixed shape with pure functions on it; here each object keeps single positions, not
whole frames.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, Float, ObjectValid
from munet_jax.models.reading import Memory, in_turns

# Below this a vector has no direction.
TINY = 1e-12
# Remembered positions that new ones are compared with together: a whole memory's cosines do not fit at 1080p.
COMPARED = 4096


class AdaptiveBank(NamedTuple):
    """Up to m positions for each object slot, and what decides which of them goes when there is no room."""

    keys: Float[Array, "b n m k"]
    values: Float[Array, "b n m v"]
    occupied: Bool[Array, "b n m"]
    pinned: Bool[Array, "b n m"]  # of the frame that gave the object; never goes
    use: Float[Array, "b n m"]
    age: Float[Array, "b n m"]  # writes since the position was inserted

    def flat(self) -> Memory:
        """What is read."""
        return Memory(self.keys, self.values, self.occupied)

    def used(self, counts: Float[Array, "b n m"]) -> AdaptiveBank:
        """After a read in which `counts` query positions attended to each memory position: use grows by log(1 + count)."""
        return self._replace(use=self.use + jnp.log1p(counts))


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """The policy 'adaptive'.

    Attributes:
      capacity: positions for each object, in frames of h' * w' positions.
      merge_above: a new position whose key has a larger cosine than this with a remembered one is merged into it.
      merge_rate: how far the remembered direction moves towards the new one.
    """

    capacity: int = 16
    merge_above: float = 0.95
    merge_rate: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a memory that could not hold the frame that is pinned and one more."""
        if self.capacity < 2:
            raise ValueError(f"adaptive.capacity is {self.capacity}; it must be >= 2: a frame is pinned")
        if not (-1 <= self.merge_above <= 1 and 0 <= self.merge_rate <= 1):
            raise ValueError(
                f"adaptive.merge_above is a cosine (-1 to 1) and merge_rate a share (0 to 1), not {self.merge_above} and "
                f"{self.merge_rate}"
            )

    def init(self, objects: int, positions: int, *, key_dim: int, value_dim: int, dtype: Any) -> AdaptiveBank:
        """An empty memory for frames of `positions` positions."""
        return init_adaptive(1, objects, self.capacity * positions, key_dim=key_dim, value_dim=value_dim, dtype=dtype)

    def write(
        self,
        bank: AdaptiveBank,
        key: Float[Array, "b n p k"],
        value: Float[Array, "b n p v"],
        objects: ObjectValid,
        pin: ObjectValid,
        inside: Bool[Array, " p"] | None = None,
    ) -> AdaptiveBank:
        """Merge or insert every position of a frame.

        Args:
          bank: the memory.
          key: of the new positions.
          value: likewise.
          objects: which objects take part.
          pin: objects that this frame gives: their inserted positions never go.
          inside: positions that show something of the frame.

        Returns:
          The memory after it. When it is full, the positions with the least use / age go first, those of the pinned frame never;
          new ones for which nothing may go are dropped, the lower right of the frame first.
        """
        valid = jnp.broadcast_to(objects[:, :, None], key.shape[:3])
        if inside is not None:
            valid &= inside[None, None]

        def one(inputs: Any) -> AdaptiveBank:
            return self._write_object(*inputs)

        b, n = objects.shape
        flat = jax.tree.map(lambda x: x.reshape(b * n, *x.shape[2:]), (bank, key, value, valid, pin))
        # One object after the other: the cosines of one are large already.
        written = jax.lax.map(one, flat)
        return jax.tree.map(lambda x: x.reshape(b, n, *x.shape[1:]), written)

    def _write_object(self, bank: AdaptiveBank, key: Array, value: Array, valid: Array, pin: Array) -> AdaptiveBank:
        """One object's [m, ...] memory and [p, ...] new positions."""
        cosine, where = nearest(bank, key)
        merges = valid & (cosine > self.merge_above)
        keys, values = (self._merged(old, new, merges, where) for old, new in ((bank.keys, key), (bank.values, value)))
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
            bank.pinned.at[target].set(pin, mode="drop"),
            bank.use.at[target].set(0.0, mode="drop"),
            age.at[target].set(0.0, mode="drop"),
        )

    def _merged(self, old: Array, new: Array, merges: Array, where: Array) -> Array:
        """Remembered features [m, d] after the new ones [p, d] that `merges` names were merged in at `where`.

        The new ones for one position are averaged first; its direction moves by `merge_rate`, its magnitude stays.
        """
        m = old.shape[0]
        target = jnp.where(merges, where, m)
        count = jnp.zeros(m, jnp.float32).at[target].add(1.0, mode="drop")
        total = jnp.zeros(old.shape, jnp.float32).at[target].add(new.astype(jnp.float32), mode="drop")
        mean = total / jnp.maximum(count, 1.0)[:, None]
        before = old.astype(jnp.float32)
        direction = unit((1.0 - self.merge_rate) * unit(before) + self.merge_rate * unit(mean))
        moved = jnp.linalg.norm(before, axis=-1, keepdims=True) * direction
        return jnp.where(count[:, None] > 0, moved, before).astype(old.dtype)


def init_adaptive(
    batch: int, objects: int, positions: int, *, key_dim: int, value_dim: int, dtype: Any = jnp.float32
) -> AdaptiveBank:
    """An empty memory of `positions` positions for each object."""
    shape = (batch, objects, positions)
    return AdaptiveBank(
        jnp.zeros((*shape, key_dim), dtype),
        jnp.zeros((*shape, value_dim), dtype),
        jnp.zeros(shape, jnp.bool_),
        jnp.zeros(shape, jnp.bool_),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros(shape, jnp.float32),
    )


def nearest(bank: AdaptiveBank, key: Float[Array, "p k"]) -> tuple[Float[Array, " p"], Array]:
    """For each new key the largest cosine with an occupied position's key ([m, ...], one object), and which it is.

    -2 where nothing is occupied.
    """
    wanted = unit(key.astype(jnp.float32))

    def turn(best: tuple[Array, Array], start: Any, fresh: Array) -> tuple[Array, Array]:
        keys = jax.lax.dynamic_slice_in_dim(bank.keys, start, fresh.size).astype(jnp.float32)
        known = jax.lax.dynamic_slice_in_dim(bank.occupied, start, fresh.size) & fresh
        cosines = jnp.where(known[None], wanted @ unit(keys).T, -2.0)
        largest = jnp.max(cosines, axis=-1)
        where = (jnp.argmax(cosines, axis=-1) + start).astype(jnp.int32)
        better = largest > best[0]
        return jnp.where(better, largest, best[0]), jnp.where(better, where, best[1])

    nobody = (jnp.full(key.shape[0], -2.0), jnp.zeros(key.shape[0], jnp.int32))
    return in_turns(bank.occupied.shape[0], COMPARED, nobody, turn)


def unit(x: Float[Array, "m d"]) -> Float[Array, "m d"]:
    """Each row at length 1; a row of zeros stays one."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), TINY)
