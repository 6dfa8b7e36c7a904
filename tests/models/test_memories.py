"""Reading in parts equals reading at once; the adaptive memory equals a numpy loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.adaptive_memory import Adaptive, AdaptiveBank, init_adaptive
from munet_jax.models.memory import keep_objects, more_objects
from munet_jax.models.reading import Memory, read, read_and_count, read_shared


def random_memory(*, n: int = 2, m: int = 11, k: int = 5, v: int = 6) -> Memory:
    rng = np.random.default_rng(0)
    occupied = rng.random((1, n, m)) < 0.7
    occupied[0, 1, 4:] = False  # whole parts that nobody has written to
    keys, values = 3 * rng.standard_normal((1, n, m, k)), rng.standard_normal((1, n, m, v))
    return Memory(jnp.asarray(keys, jnp.float32), jnp.asarray(values, jnp.float32), jnp.asarray(occupied))


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("chunk", [1, 4, 10])
def test_reading_in_parts_equals_reading_at_once(chunk: int, top_k: int | None) -> None:
    memory = random_memory()
    query = jnp.asarray(np.random.default_rng(1).standard_normal((1, 7, 5)), jnp.float32)
    together, counts = read_and_count(memory, query, top_k=top_k)
    np.testing.assert_allclose(read(memory, query, top_k=top_k, chunk=chunk), together, atol=1e-5)
    parts, counts_of_parts = read_and_count(memory, query, top_k=top_k, chunk=chunk)
    np.testing.assert_allclose(parts, together, atol=1e-5)
    np.testing.assert_array_equal(counts_of_parts, counts)


@pytest.mark.parametrize("chunk", [4, 10, 11])
def test_reading_with_shared_keys_equals_reading_each_object(chunk: int) -> None:
    memory = random_memory(n=4)
    # One object has positions that another lacks, and one has none.
    occupied = memory.occupied.at[0, 2].set(jnp.arange(11) >= 6).at[0, 3].set(False)
    shared = Memory(jnp.broadcast_to(memory.keys[:, :1], memory.keys.shape), memory.values, occupied)
    query = jnp.asarray(np.random.default_rng(1).standard_normal((1, 7, 5)), jnp.float32)
    together = read(shared, query)
    found = jax.jit(read_shared, static_argnames="chunk")(shared, query, chunk=chunk)
    np.testing.assert_allclose(found, together, atol=1e-5)
    assert not found[0, 3].any()
    # An object whose best score is far below what another has: as exact, in its own read.
    faint = shared._replace(keys=shared.keys.at[..., :4, :].multiply(60.0))
    together = read(faint, query)
    assert jnp.any(together[0, 2] != 0, axis=-1).all()
    np.testing.assert_allclose(read_shared(faint, query, chunk=chunk), together, rtol=1e-4, atol=1e-4)


def test_counts_are_of_query_positions_that_attend() -> None:
    memory = random_memory()
    query = np.random.default_rng(1).standard_normal((1, 7, 5)).astype(np.float32)
    keys, occupied = np.asarray(memory.keys, np.float64), np.asarray(memory.occupied)
    expected = np.zeros(occupied.shape)
    for j in range(2):
        for q in range(7):
            scores = np.where(occupied[0, j], keys[0, j] @ query[0, q] / np.sqrt(5), -np.inf)
            weights = np.exp(scores - scores.max())
            expected[0, j] += weights / weights.sum() > 1e-3
    _, counts = read_and_count(memory, jnp.asarray(query))
    np.testing.assert_array_equal(counts, expected)
    nobody = memory._replace(occupied=jnp.zeros_like(memory.occupied))
    found, counts = read_and_count(nobody, jnp.asarray(query), chunk=4)
    assert not found.any()
    assert not counts.any()


class Loop:
    """The adaptive memory of one object, position by position."""

    def __init__(self, policy: Adaptive, positions: int) -> None:
        self.policy, self.size = policy, policy.capacity * positions
        self.entries: list[dict | None] = [None] * self.size

    def write(self, keys: np.ndarray, values: np.ndarray, pin: bool) -> None:
        before = [None if e is None else dict(e) for e in self.entries]
        merged: dict[int, list[int]] = {}
        inserted = []
        for number, key in enumerate(keys):
            cosines = [-2.0 if e is None else cosine(e["key"], key) for e in before]
            best = int(np.argmax(cosines))
            if cosines[best] > self.policy.merge_above:
                merged.setdefault(best, []).append(number)
            else:
                inserted.append(number)
        for entry in self.entries:
            if entry is not None:
                entry["age"] += 1
        for place, numbers in merged.items():
            for name, new in (("key", keys), ("value", values)):
                self.entries[place][name] = self.moved(before[place][name], np.mean(new[numbers], axis=0))

        def order(place: int) -> float:
            entry = self.entries[place]
            return -1.0 if entry is None else entry["use"] / max(entry["age"], 1)

        free = [i for i, e in enumerate(self.entries) if e is None or not e["pinned"]]
        for number, place in zip(inserted, sorted(free, key=order), strict=False):
            self.entries[place] = {
                "key": keys[number], "value": values[number], "pinned": pin, "use": 0.0, "age": 0,
            }  # fmt: skip

    def moved(self, old: np.ndarray, mean: np.ndarray) -> np.ndarray:
        rate = self.policy.merge_rate
        direction = (1 - rate) * old / np.linalg.norm(old) + rate * mean / np.linalg.norm(mean)
        return np.linalg.norm(old) * direction / np.linalg.norm(direction)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_adaptive_memory_equals_the_loop() -> None:
    policy, p, k, v = Adaptive(capacity=3, merge_above=0.9, merge_rate=0.3), 6, 3, 4
    rng = np.random.default_rng(3)
    bank = init_adaptive(1, 2, policy.capacity * p, key_dim=k, value_dim=v)
    loops = [Loop(policy, p), Loop(policy, p)]
    merges = evictions = 0
    for frame in range(9):
        keys, values = (rng.standard_normal((1, 2, p, d)).astype(np.float32) for d in (k, v))
        objects = np.array([[True, frame >= 2]])  # the second object comes later
        pin = np.array([[frame == 0, frame == 2]])
        counts = rng.integers(0, 5, (1, 2, policy.capacity * p)).astype(np.float32) * np.asarray(bank.occupied)
        bank = bank.used(jnp.asarray(counts))
        full = np.asarray(bank.occupied).sum(axis=-1)[0]
        for number, loop in enumerate(loops):
            for place, entry in enumerate(loop.entries):
                if entry is not None:
                    entry["use"] += np.log1p(counts[0, number, place])
            if objects[0, number]:
                loop.write(keys[0, number], values[0, number], bool(pin[0, number]))
        bank = jax.jit(policy.write)(bank, *(jnp.asarray(x) for x in (keys, values, objects, pin)))
        grown = np.asarray(bank.occupied).sum(axis=-1)[0] - full
        merges += int(grown[0] < p and full[0] + p <= policy.capacity * p)
        evictions += int(full[0] == policy.capacity * p)
        for number, loop in enumerate(loops):
            check(bank, number, loop)
    assert merges
    assert evictions


def check(bank: AdaptiveBank, number: int, loop: Loop) -> None:
    for place, entry in enumerate(loop.entries):
        assert bool(bank.occupied[0, number, place]) == (entry is not None)
        if entry is not None:
            np.testing.assert_allclose(bank.keys[0, number, place], entry["key"], atol=1e-5)
            np.testing.assert_allclose(bank.values[0, number, place], entry["value"], atol=1e-5)
            assert bool(bank.pinned[0, number, place]) == entry["pinned"]
            assert float(bank.use[0, number, place]) == pytest.approx(entry["use"], abs=1e-4)
            assert float(bank.age[0, number, place]) == entry["age"]


def test_the_pinned_frame_never_goes_and_forgotten_objects_leave_room() -> None:
    policy, p = Adaptive(capacity=2, merge_above=1.0), 4
    rng = np.random.default_rng(0)
    bank = init_adaptive(1, 1, 8, key_dim=3, value_dim=3)
    first = jnp.asarray(rng.standard_normal((1, 1, p, 3)), jnp.float32)
    yes, no = jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool)
    bank = policy.write(bank, first, first, yes, yes)
    for _ in range(5):
        other = jnp.asarray(rng.standard_normal((1, 1, p, 3)), jnp.float32)
        bank = policy.write(bank, other, other, yes, no)
    np.testing.assert_array_equal(bank.keys[0, 0, :p], first[0, 0])
    np.testing.assert_array_equal(bank.keys[0, 0, p:], other[0, 0])
    outside = policy.write(bank, first, first, yes, yes, jnp.zeros(p, bool))  # nothing of it shows the picture
    np.testing.assert_array_equal(outside.keys, bank.keys)
    forgotten = keep_objects(more_objects(bank, 2), jnp.asarray([False, True]))
    assert not forgotten.occupied.any()
    with pytest.raises(ValueError, match="capacity is 1"):
        Adaptive(capacity=1)
    with pytest.raises(ValueError, match="merge_above is a cosine"):
        Adaptive(merge_above=2.0)
