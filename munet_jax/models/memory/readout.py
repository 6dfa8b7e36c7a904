"""The space-time memory read (paper Fig. 2): the formula, then forms of it that need less memory or less time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, Float

# GPUs and TPUs would round the factors of a score to 10 or 7 bits, which moves it by up to 8e-3.
HIGHEST = jax.lax.Precision.HIGHEST
# Stands for minus infinity in scores: a row in which nothing is occupied must not become NaN.
NEVER = -1e30
# An object whose positions all score this much below another's is read on its own: its exponentials would be too coarse.
FAINT = 1e-20
# A query position uses a memory position when it gives it more than this of its attention.
USED_ABOVE = 1e-3


class MemoryFormat(NamedTuple):
    """What a memory keeps at each position."""

    key_dim: int
    value_dim: int
    key_dtype: Any = jnp.float32
    value_dtype: Any = jnp.float32

    @property
    def bytes(self) -> int:
        """Of a key and a value."""
        return int(
            self.key_dim * jnp.dtype(self.key_dtype).itemsize + self.value_dim * jnp.dtype(self.value_dtype).itemsize
        )

    def empty(self, *shape: int) -> tuple[Array, Array]:
        """Keys and values of that many positions, all zeros."""
        return jnp.zeros((*shape, self.key_dim), self.key_dtype), jnp.zeros((*shape, self.value_dim), self.value_dtype)


class Memory(NamedTuple):
    """What is read: m remembered positions for each object, whatever policy keeps them."""

    keys: Float[Array, "b n m k"]
    values: Float[Array, "b n m v"]
    occupied: Bool[Array, "b n m"]


def readout(memory: Memory, query_key: Float[Array, "b q k"]) -> Float[Array, "b n q v"]:
    """Softmax over all memory positions of k_m . k_q / sqrt(k), weighted sum of their values, f32.

    An object that has nothing in memory reads zeros. All [b, n, q, m] scores exist at once.
    """
    found = weighted("bnqm,bnmv->bnqv", jax.nn.softmax(scores(memory, query_key), axis=-1), memory.values)
    return jnp.where(is_known(memory)[..., None, None], found, 0.0)


def scores(memory: Memory, query_key: Float[Array, "b q k"]) -> Float[Array, "b n q m"]:
    """k_m . k_q / sqrt(k), f32; `NEVER` at positions that are not occupied."""
    scaled = query_key * query_key.shape[-1] ** -0.5
    # One product for each object, in the order of its result: XLA's CPU compiler would make [m, q] of a single one and transpose
    # it, which takes as long as the product.
    per_object = jnp.broadcast_to(scaled[:, None], (*memory.keys.shape[:2], *scaled.shape[1:]))
    products = jnp.einsum(
        "bnqk,bnmk->bnqm", per_object, memory.keys, precision=HIGHEST, preferred_element_type=jnp.float32
    )
    return jnp.where(memory.occupied[:, :, None], products, NEVER)


def weighted(form: str, weights: Array, values: Array) -> Array:
    """The einsum of weights with values, in the values' type and added up in f32: half precision has fast products of its own."""
    return jnp.einsum(form, weights.astype(values.dtype), values, preferred_element_type=jnp.float32)


def is_known(memory: Memory) -> Bool[Array, "b n"]:
    """Whether an object has anything in memory."""
    return jnp.any(memory.occupied, axis=-1)


class RunningSoftmax(NamedTuple):
    """A softmax under way: its largest score so far, the sum of exponentials relative to it, and the values so weighted."""

    largest: Float[Array, "b _ q"]
    total: Float[Array, "b n q"]
    summed: Float[Array, "b n q v"]

    def mean(self, memory: Memory) -> Float[Array, "b n q v"]:
        """The weighted mean of the values; zeros for an object that has nothing in memory."""
        total = jnp.where(self.total > 0, self.total, 1.0)[..., None]
        return jnp.where(is_known(memory)[..., None, None], self.summed / total, 0.0)


def chunked_readout(
    memory: Memory, query_key: Float[Array, "b q k"], *, chunk: int = 0, top_k: int | None = None
) -> Float[Array, "b n q v"]:
    """`readout` of `chunk` memory positions at a time (0: all), and of each query position's `top_k` best alone (None: all)."""
    return _running_softmax(memory, query_key, kth_score(memory, query_key, top_k, chunk), chunk).mean(memory)


def counted_readout(
    memory: Memory, query_key: Float[Array, "b q k"], *, chunk: int = 0, top_k: int | None = None
) -> tuple[Float[Array, "b n q v"], Float[Array, "b n m"]]:
    """`chunked_readout`, and how many query positions gave each memory position more than `USED_ABOVE` of their attention."""
    kth = kth_score(memory, query_key, top_k, chunk)
    softmax = _running_softmax(memory, query_key, kth, chunk)

    def body(counts: Array, start: Any, is_new: Array) -> Array:
        part = _part(memory, start, is_new)
        weights = jnp.exp(_best_scores(part, query_key, kth) - softmax.largest[..., None])
        used = jnp.sum(weights > USED_ABOVE * softmax.total[..., None], axis=2, dtype=jnp.float32)
        used = jnp.where(is_new[None, None] & is_known(memory)[:, :, None], used, 0.0)
        before = jax.lax.dynamic_slice_in_dim(counts, start, is_new.size, axis=2)
        return jax.lax.dynamic_update_slice_in_dim(counts, before + used, start, axis=2)

    counts = scan_chunks(memory.keys.shape[2], chunk, jnp.zeros(memory.occupied.shape, jnp.float32), body)
    return softmax.mean(memory), counts


def shared_readout(memory: Memory, query_key: Float[Array, "b q k"], *, chunk: int) -> Float[Array, "b n q v"]:
    """`chunked_readout` where every object has the same keys (those of slot 0, wherever any object occupies a position).

    Scores and exponentials are computed once instead of for each object; each has its own sum and weighted values. Not for
    gradients: both ways of reading would be kept for them.
    """
    first = Memory(memory.keys[:, :1], memory.values[:, :1], jnp.any(memory.occupied, axis=1, keepdims=True))
    b, n, m, v = memory.values.shape
    q = query_key.shape[1]

    def add(softmax: RunningSoftmax, part: Memory, occupied: Array, values: Array) -> RunningSoftmax:
        largest, kept, weights = _weights(softmax, _best_scores(part, query_key, None))
        # Kept as an array: the compiler would compute the exponentials again for each object.
        weights = jax.lax.optimization_barrier(weights[:, 0])
        total = jnp.einsum("bqm,bnm->bnq", weights, occupied.astype(jnp.float32))
        values = jnp.where(occupied[..., None], values, jnp.zeros((), values.dtype))
        summed = jnp.stack([weighted("bqm,bmv->bqv", weights, values[:, j]) for j in range(n)], axis=1)
        return RunningSoftmax(largest, softmax.total * kept + total, softmax.summed * kept[..., None] + summed)

    def body(softmax: RunningSoftmax, start: Any, is_new: Array) -> RunningSoftmax:
        part, everyone = _part(first, start, is_new), _part(memory, start, is_new)
        return _unless_empty(is_new.size < m, add, softmax, part, everyone.occupied, everyone.values)

    nothing = RunningSoftmax(jnp.full((b, 1, q), NEVER), jnp.zeros((b, n, q)), jnp.zeros((b, n, q, v)))
    softmax = scan_chunks(m, chunk, nothing, body)
    faint = is_known(memory)[..., None] & (softmax.total < FAINT)
    return jax.lax.cond(
        jnp.any(faint), lambda: chunked_readout(memory, query_key, chunk=chunk), lambda: softmax.mean(memory)
    )


def kth_score(memory: Memory, query_key: Float[Array, "b q k"], top_k: int | None, chunk: int) -> Array | None:
    """The `top_k`-th best score of each query position, [b, n, q, 1]; None where all take part."""
    b, n, m, _ = memory.keys.shape
    if top_k is None or top_k >= m:
        return None

    def body(best: Array, start: Any, is_new: Array) -> Array:
        both = jnp.concatenate([best, scores(_part(memory, start, is_new), query_key)], axis=-1)
        return jax.lax.top_k(both, top_k)[0]

    nothing = jnp.full((b, n, query_key.shape[1], top_k), NEVER)
    kth = scan_chunks(m, chunk, nothing, body)[..., -1:]
    # The scores are computed again when they are weighted, and may then be rounded otherwise.
    return kth - 1e-6 * (1.0 + jnp.abs(kth))


def scan_chunks(length: int, chunk: int, carry: Any, body: Callable[[Any, Any, Any], Any]) -> Any:
    """Fold `body` over 0..length in slices of `chunk`; 0, or one as long as all, is a single call outside any loop.

    Args:
      length: of the axis that is sliced.
      chunk: entries of a slice. The last slice begins early enough to be whole.
      carry: what the first call gets.
      body: (carry, start, is_new) -> carry; `is_new` is bool [chunk], False for entries that an earlier slice had.
    """
    if not chunk or chunk >= length:
        return body(carry, 0, jnp.ones(length, jnp.bool_))

    def step(carry: Any, first: Array) -> tuple[Any, None]:
        start = jnp.minimum(first, length - chunk)
        return body(carry, start, start + jnp.arange(chunk) >= first), None

    return jax.lax.scan(step, carry, jnp.arange(0, length, chunk))[0]


def _running_softmax(memory: Memory, query_key: Array, kth: Array | None, chunk: int) -> RunningSoftmax:
    b, n, m, _ = memory.keys.shape
    q, v = query_key.shape[1], memory.values.shape[-1]

    def add(softmax: RunningSoftmax, part: Memory) -> RunningSoftmax:
        largest, kept, weights = _weights(softmax, _best_scores(part, query_key, kth))
        summed = weighted("bnqm,bnmv->bnqv", weights, part.values)
        total = softmax.total * kept + jnp.sum(weights, axis=-1)
        return RunningSoftmax(largest, total, softmax.summed * kept[..., None] + summed)

    def body(softmax: RunningSoftmax, start: Any, is_new: Array) -> RunningSoftmax:
        return _unless_empty(is_new.size < m, add, softmax, _part(memory, start, is_new))

    nothing = RunningSoftmax(jnp.full((b, n, q), NEVER), jnp.zeros((b, n, q)), jnp.zeros((b, n, q, v)))
    return scan_chunks(m, chunk, nothing, body)


def _unless_empty(
    is_part: bool, add: Callable[..., RunningSoftmax], softmax: RunningSoftmax, part: Memory, *rest: Array
) -> RunningSoftmax:
    """`add`; on CPUs a part of the memory (not all of it) that nobody has written to costs nothing.

    Elsewhere it is added too, without effect: a GPU would ask the host at each part whether it is empty.
    """
    if not is_part:
        return add(softmax, part, *rest)

    def if_occupied(softmax: RunningSoftmax, part: Memory, *rest: Array) -> RunningSoftmax:
        return jax.lax.cond(jnp.any(part.occupied), add, lambda softmax, *_: softmax, softmax, part, *rest)

    return jax.lax.platform_dependent(softmax, part, *rest, cpu=if_occupied, default=add)


def _weights(softmax: RunningSoftmax, scores: Float[Array, "b _ q m"]) -> tuple[Array, Array, Array]:
    """Largest score after this part, what the sums so far are worth relative to it, and the part's exponentials."""
    # What the largest score is cancels out, and so has no gradient.
    largest = jax.lax.stop_gradient(jnp.maximum(softmax.largest, jnp.max(scores, axis=-1)))
    return largest, jnp.exp(softmax.largest - largest), jnp.exp(scores - largest[..., None])


def _part(memory: Memory, start: Any, is_new: Array) -> Memory:
    """A slice of the memory, in which entries that are not new are not occupied."""
    if is_new.size == memory.keys.shape[2]:
        return memory
    part = Memory(*[jax.lax.dynamic_slice_in_dim(array, start, is_new.size, axis=2) for array in memory])
    return part._replace(occupied=part.occupied & is_new[None, None])


def _best_scores(part: Memory, query_key: Array, kth: Array | None) -> Float[Array, "b n q m"]:
    """`scores`, without those below the k-th best."""
    found = scores(part, query_key)
    return found if kth is None else jnp.where(found >= kth, found, NEVER)
