"""The space-time memory read (paper Fig. 2), of the whole memory at once or of a part at a time with a running softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, Float

# Stands for minus infinity in scores: a row in which nothing is occupied must not become NaN.
NEVER = -1e30
# An object whose positions all score this much below another's is read on its own: its exponentials would be too coarse.
FAINT = 1e-20
# A query position uses a memory position when it gives it more than this of its attention.
USED_ABOVE = 1e-3


class Memory(NamedTuple):
    """What is read: m remembered positions for each object, whatever policy keeps them."""

    keys: Float[Array, "b n m k"]
    values: Float[Array, "b n m v"]
    occupied: Bool[Array, "b n m"]


class Softmax(NamedTuple):
    """A softmax under way: its largest score so far, the sum of exponentials relative to it, and the values so weighted."""

    largest: Float[Array, "b _ q"]
    total: Float[Array, "b n q"]
    summed: Float[Array, "b n q v"]


def in_turns(length: int, chunk: int, carry: Any, turn: Callable[[Any, Any, Any], Any]) -> Any:
    """Fold `turn` over 0..length in slices of `chunk`; 0, or one as long as all, is a single turn outside any loop.

    Args:
      length: of the axis that is sliced.
      chunk: entries of a slice. The last slice begins early enough to be whole.
      carry: what the first turn gets.
      turn: (carry, start, fresh) -> carry; `fresh` is bool [chunk], False for entries that a slice before had.
    """
    if not chunk or chunk >= length:
        return turn(carry, 0, jnp.ones(length, jnp.bool_))

    def step(carry: Any, first: Array) -> tuple[Any, None]:
        start = jnp.minimum(first, length - chunk)
        return turn(carry, start, start + jnp.arange(chunk) >= first), None

    return jax.lax.scan(step, carry, jnp.arange(0, length, chunk))[0]


def read(
    memory: Memory, query_key: Float[Array, "b q k"], *, top_k: int | None = None, chunk: int = 0
) -> Float[Array, "b n q v"]:
    """Softmax over all memory positions of k_m . k_q / sqrt(k), weighted sum of values.

    Args:
      memory: the memory.
      query_key: keys of the positions that ask; the same for all objects.
      top_k: keep only the k best memory positions of each query position (and those equal to the k-th); None keeps all.
      chunk: memory positions that are looked at together; 0 takes all, and then [b, n, q, m] scores exist at once.

    Returns:
      [b, n, q, v] f32; zeros for an object that has nothing in memory.
    """
    return _found(memory, _softmax(memory, query_key, weakest_score(memory, query_key, top_k, chunk), chunk))


def read_shared(memory: Memory, query_key: Float[Array, "b q k"], *, chunk: int) -> Float[Array, "b n q v"]:
    """`read` where every object has the same keys (those of slot 0, at each position that any object occupies).

    Scores and exponentials are computed once instead of for each object; each has its own sum and weighted values. Not for
    gradients: both ways of reading would be kept for them.
    """
    first = Memory(memory.keys[:, :1], memory.values[:, :1], jnp.any(memory.occupied, axis=1, keepdims=True))
    b, n, m, v = memory.values.shape
    q = query_key.shape[1]

    def add(softmax: Softmax, part: Memory, occupied: Array, values: Array) -> Softmax:
        largest, kept, weights = _weights(softmax, part, query_key, None)
        # Kept as an array: the compiler would compute the exponentials again for each object.
        weights = jax.lax.optimization_barrier(weights[:, 0])
        total = jnp.einsum("bqm,bnm->bnq", weights, occupied.astype(jnp.float32))
        values = jnp.where(occupied[..., None], values.astype(jnp.float32), 0.0)
        summed = jnp.stack([jnp.einsum("bqm,bmv->bqv", weights, values[:, j]) for j in range(n)], axis=1)
        return Softmax(largest, softmax.total * kept + total, softmax.summed * kept[..., None] + summed)

    def turn(softmax: Softmax, start: Any, fresh: Array) -> Softmax:
        part, everyone = _part(first, start, fresh), _part(memory, start, fresh)
        return _unless_empty(fresh.size < m, add, softmax, part, everyone.occupied, everyone.values)

    start = Softmax(jnp.full((b, 1, q), NEVER), jnp.zeros((b, n, q)), jnp.zeros((b, n, q, v)))
    softmax = in_turns(m, chunk, start, turn)
    faint = _known(memory)[..., None] & (softmax.total < FAINT)
    return jax.lax.cond(jnp.any(faint), lambda: read(memory, query_key, chunk=chunk), lambda: _found(memory, softmax))


def read_and_count(
    memory: Memory, query_key: Float[Array, "b q k"], *, top_k: int | None = None, chunk: int = 0
) -> tuple[Float[Array, "b n q v"], Float[Array, "b n m"]]:
    """`read`, and how many query positions gave each memory position more than `USED_ABOVE` of their attention."""
    weakest = weakest_score(memory, query_key, top_k, chunk)
    softmax = _softmax(memory, query_key, weakest, chunk)

    def turn(counts: Array, start: Any, fresh: Array) -> Array:
        weights = jnp.exp(_scores(_part(memory, start, fresh), query_key, weakest) - softmax.largest[..., None])
        used = jnp.sum(weights > USED_ABOVE * softmax.total[..., None], axis=2, dtype=jnp.float32)
        used = jnp.where(fresh[None, None] & _known(memory)[:, :, None], used, 0.0)
        before = jax.lax.dynamic_slice_in_dim(counts, start, fresh.size, axis=2)
        return jax.lax.dynamic_update_slice_in_dim(counts, before + used, start, axis=2)

    counts = in_turns(memory.keys.shape[2], chunk, jnp.zeros(memory.occupied.shape, jnp.float32), turn)
    return _found(memory, softmax), counts


def weakest_score(memory: Memory, query_key: Float[Array, "b q k"], top_k: int | None, chunk: int) -> Array | None:
    """The `top_k`-th best score of each query position, [b, n, q, 1]; None where all take part."""
    b, n, m, _ = memory.keys.shape
    if top_k is None or top_k >= m:
        return None

    def turn(best: Array, start: Any, fresh: Array) -> Array:
        scores = _scores(_part(memory, start, fresh), query_key, None)
        return jax.lax.top_k(jnp.concatenate([best, scores], axis=-1), top_k)[0]

    nothing = jnp.full((b, n, query_key.shape[1], top_k), NEVER)
    weakest = in_turns(m, chunk, nothing, turn)[..., -1:]
    # The scores are computed again when they are weighted, and may then be rounded otherwise.
    return weakest - 1e-6 * (1.0 + jnp.abs(weakest))


def _softmax(memory: Memory, query_key: Array, weakest: Array | None, chunk: int) -> Softmax:
    b, n, m, _ = memory.keys.shape
    q, v = query_key.shape[1], memory.values.shape[-1]

    def add(softmax: Softmax, part: Memory) -> Softmax:
        largest, kept, weights = _weights(softmax, part, query_key, weakest)
        summed = jnp.einsum("bnqm,bnmv->bnqv", weights, part.values.astype(jnp.float32))
        return Softmax(
            largest, softmax.total * kept + jnp.sum(weights, axis=-1), softmax.summed * kept[..., None] + summed
        )

    def turn(softmax: Softmax, start: Any, fresh: Array) -> Softmax:
        return _unless_empty(fresh.size < m, add, softmax, _part(memory, start, fresh))

    start = Softmax(jnp.full((b, n, q), NEVER), jnp.zeros((b, n, q)), jnp.zeros((b, n, q, v)))
    return in_turns(m, chunk, start, turn)


def _unless_empty(is_part: bool, add: Callable[..., Softmax], softmax: Softmax, part: Memory, *rest: Array) -> Softmax:
    """`add`; a part of the memory (not all of it) that nobody has written to costs nothing."""
    if not is_part:
        return add(softmax, part, *rest)
    return jax.lax.cond(jnp.any(part.occupied), add, lambda softmax, *_: softmax, softmax, part, *rest)


def _weights(softmax: Softmax, part: Memory, query_key: Array, weakest: Array | None) -> tuple[Array, Array, Array]:
    """Largest score after this part, what the sums so far are worth relative to it, and the part's exponentials."""
    scores = _scores(part, query_key, weakest)
    # What the largest score is cancels out, and so has no gradient.
    largest = jax.lax.stop_gradient(jnp.maximum(softmax.largest, jnp.max(scores, axis=-1)))
    return largest, jnp.exp(softmax.largest - largest), jnp.exp(scores - largest[..., None])


def _part(memory: Memory, start: Any, fresh: Array) -> Memory:
    """A slice of the memory, in which entries that are not fresh are not occupied."""
    if fresh.size == memory.keys.shape[2]:
        return memory
    part = Memory(*[jax.lax.dynamic_slice_in_dim(array, start, fresh.size, axis=2) for array in memory])
    return part._replace(occupied=part.occupied & fresh[None, None])


def _scores(part: Memory, query_key: Array, weakest: Array | None) -> Float[Array, "b n q m"]:
    scaled = query_key * query_key.shape[-1] ** -0.5
    # One product for each object, in the order of its result: XLA's CPU compiler would make [m, q] of a single one and turn it
    # round, which takes as long as the product.
    asked = jnp.broadcast_to(scaled[:, None], (*part.keys.shape[:2], *scaled.shape[1:]))
    scores = jnp.einsum("bnqk,bnmk->bnqm", asked, part.keys, preferred_element_type=jnp.float32)
    scores = jnp.where(part.occupied[:, :, None], scores, NEVER)
    return scores if weakest is None else jnp.where(scores >= weakest, scores, NEVER)


def _known(memory: Memory) -> Bool[Array, "b n"]:
    return jnp.any(memory.occupied, axis=-1)


def _found(memory: Memory, softmax: Softmax) -> Float[Array, "b n q v"]:
    total = jnp.where(softmax.total > 0, softmax.total, 1.0)[..., None]
    return jnp.where(_known(memory)[:, :, None, None], softmax.summed / total, 0.0)
