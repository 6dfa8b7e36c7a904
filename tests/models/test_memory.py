"""Reading in parts equals reading at once; the adaptive memory equals a numpy loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.matcher import Matcher
from munet_jax.models.memory import (
    Adaptive,
    AdaptiveBank,
    EveryK,
    FrameBank,
    MemoryFormat,
    NewFrame,
    forget_objects,
    more_objects,
)
from munet_jax.models.memory.every_k import PREVIOUS_SLOT, more_frames
from munet_jax.models.memory.readout import Memory, chunked_readout, counted_readout, readout, shared_readout


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
    together, counts = counted_readout(memory, query, top_k=top_k)
    if top_k is None:
        np.testing.assert_allclose(together, readout(memory, query), atol=1e-5)
    np.testing.assert_allclose(chunked_readout(memory, query, top_k=top_k, chunk=chunk), together, atol=1e-5)
    parts, counts_of_parts = counted_readout(memory, query, top_k=top_k, chunk=chunk)
    np.testing.assert_allclose(parts, together, atol=1e-5)
    np.testing.assert_array_equal(counts_of_parts, counts)


@pytest.mark.parametrize("chunk", [4, 10, 11])
def test_reading_with_shared_keys_equals_reading_each_object(chunk: int) -> None:
    memory = random_memory(n=4)
    # One object has positions that another lacks, and one has none.
    occupied = memory.occupied.at[0, 2].set(jnp.arange(11) >= 6).at[0, 3].set(False)
    shared = Memory(jnp.broadcast_to(memory.keys[:, :1], memory.keys.shape), memory.values, occupied)
    query = jnp.asarray(np.random.default_rng(1).standard_normal((1, 7, 5)), jnp.float32)
    together = readout(shared, query)
    found = jax.jit(shared_readout, static_argnames="chunk")(shared, query, chunk=chunk)
    np.testing.assert_allclose(found, together, atol=1e-5)
    assert not found[0, 3].any()
    # An object whose best score is far below what another has: as exact, in its own read.
    faint = shared._replace(keys=shared.keys.at[..., :4, :].multiply(60.0))
    together = readout(faint, query)
    assert jnp.any(together[0, 2] != 0, axis=-1).all()
    np.testing.assert_allclose(shared_readout(faint, query, chunk=chunk), together, rtol=1e-4, atol=1e-4)


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
    _, counts = counted_readout(memory, jnp.asarray(query))
    np.testing.assert_array_equal(counts, expected)
    nobody = memory._replace(occupied=jnp.zeros_like(memory.occupied))
    found, counts = counted_readout(nobody, jnp.asarray(query), chunk=4)
    assert not found.any()
    assert not counts.any()


def random_bank(seed: int = 0, *, b: int = 2, n: int = 2, f: int = 3, p: int = 4) -> FrameBank:
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((b, n, f, p, 5)).astype(np.float32)
    values = rng.standard_normal((b, n, f, p, 6)).astype(np.float32)
    occupied = np.repeat(rng.random((b, n, f, 1)) < 0.7, p, axis=-1)
    occupied[0, 0] = True
    occupied[1, 1] = False
    return FrameBank(jnp.asarray(keys), jnp.asarray(values), jnp.asarray(occupied), jnp.int32(0))


def read_by_loop(bank: FrameBank, query: np.ndarray, top_k: int | None) -> np.ndarray:
    keys, values, occupied = (np.asarray(part, np.float64) for part in bank[:3])
    b, n, f, p, k = keys.shape
    out = np.zeros((b, n, query.shape[1], values.shape[-1]))
    for i, j, q in np.ndindex(b, n, query.shape[1]):
        entries = [
            (keys[i, j, s, m] @ query[i, q] / np.sqrt(k), values[i, j, s, m])
            for s in range(f)
            for m in range(p)
            if occupied[i, j, s, m]
        ]
        entries = sorted(entries, key=lambda entry: -entry[0])[:top_k]
        if entries:
            weights = np.exp([score for score, _ in entries])
            out[i, j, q] = sum(w * v for w, (_, v) in zip(weights, entries, strict=True)) / weights.sum()
    return out


@pytest.mark.parametrize("top_k", [None, 3])
def test_memory_read_equals_the_loop(top_k: int | None) -> None:
    bank = random_bank()
    query = np.random.default_rng(1).standard_normal((2, 7, 5)).astype(np.float32)
    got, _ = bank.read(jnp.asarray(query), top_k=top_k)
    np.testing.assert_allclose(got, read_by_loop(bank, query, top_k), atol=1e-5)
    assert float(jnp.abs(got[1, 1]).max()) == 0.0  # an object nobody remembers


@pytest.mark.parametrize("policy", [EveryK(), EveryK(chunk=6), EveryK(chunk=3)])
@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("shared_keys", [True, False])
def test_the_squared_distance_is_read_in_every_form(policy: EveryK, top_k: int | None, shared_keys: bool) -> None:
    """One channel more in memory; the loop takes the distances themselves."""
    bank = random_bank()._replace(policy=policy)
    keys = jnp.broadcast_to(bank.keys[:, :1], bank.keys.shape) if shared_keys else bank.keys
    query = np.random.default_rng(1).standard_normal((2, 1, 7, 5)).astype(np.float32)
    matcher = Matcher(top_k, shared_keys, "l2")
    value = jnp.zeros((2, 1, 7, 6))
    found, _ = matcher.apply({}, bank._replace(keys=matcher.remembered(keys)), jnp.asarray(query), value)
    distances = ((np.asarray(keys)[:, :, :, :, None] - query[:, None, None]) ** 2).sum(-1)
    scores = np.where(np.asarray(bank.occupied)[..., None], -distances / np.sqrt(5), -np.inf).reshape(2, 2, 12, 7)
    for i, j, q in np.ndindex(2, 2, 7):
        best = np.argsort(-scores[i, j, :, q])[:top_k]
        weights = np.exp(scores[i, j, best, q] - 0.0)
        expected = weights @ np.asarray(bank.values)[i, j].reshape(12, 6)[best] / max(weights.sum(), 1e-30)
        np.testing.assert_allclose(found[i, j, 0, q, :6], expected, atol=2e-5)


def test_whole_frames_are_read_at_a_time_where_one_fits() -> None:
    read = {positions: EveryK(chunk=2048).positions_at_a_time(positions) for positions in (90, 943, 2048, 8160)}
    assert read == {90: 1980, 943: 1886, 2048: 2048, 8160: 2048}
    assert EveryK(chunk=0).positions_at_a_time(90) == 0


def test_putting_a_frame_touches_one_slot() -> None:
    bank = random_bank()
    key, value = jnp.ones((2, 2, 4, 5)), jnp.ones((2, 2, 4, 6))
    objects = jnp.asarray([[True, False], [True, True]])
    written = bank.put(1, key, value, objects)
    np.testing.assert_array_equal(written.keys[:, :, 1], key)
    np.testing.assert_array_equal(written.occupied[:, :, 1], np.repeat(objects[..., None], 4, axis=-1))
    for slot in (0, 2):
        np.testing.assert_array_equal(written.keys[:, :, slot], bank.keys[:, :, slot])
        np.testing.assert_array_equal(written.occupied[:, :, slot], bank.occupied[:, :, slot])


def test_a_larger_bank_reads_the_same() -> None:
    bank = random_bank()
    query = jnp.asarray(np.random.default_rng(1).standard_normal((2, 7, 5)), jnp.float32)
    larger = more_objects(more_frames(bank, 5), 4)
    assert larger.keys.shape == (2, 4, 8, 4, 5)
    np.testing.assert_allclose(larger.read(query)[0][:, :2], bank.read(query)[0], atol=1e-6)


def test_every_k_keeps_the_first_frame_and_evicts_the_oldest() -> None:
    """Each frame's key is its index: what the slots hold says which frames are remembered."""
    policy = EveryK(interval=5, capacity=5)
    assert [policy.stays(index, False) for index in range(7)] == [True, False, False, False, False, True, False]
    bank = policy.init(1, 1, 1, MemoryFormat(1, 1))
    yes = jnp.ones((1, 1), bool)

    @jax.jit
    def write(bank: FrameBank, frame: jax.Array, given: jax.Array) -> FrameBank:
        feature = jnp.full((1, 1, 1, 1), frame, jnp.float32)
        return bank.write(NewFrame(feature, feature, yes, yes, frame, given))

    held = []
    for frame in range(33):
        bank = write(bank, jnp.int32(frame), jnp.bool_(frame == 12))
        occupied = np.asarray(bank.occupied[0, 0, :, 0])
        held.append([int(key) if there else -1 for key, there in zip(bank.keys[0, 0, :, 0, 0], occupied, strict=True)])
    # Slot 0 is the previous frame's, slot 1 the first frame's, which no later frame takes.
    assert [slots[PREVIOUS_SLOT] for slots in held[:13]] == [-1, 1, 2, 3, 4, -1, 6, 7, 8, 9, -1, 11, -1]
    assert held[4][1:] == [0, -1, -1, -1]
    assert held[12][1:] == [0, 5, 10, 12]  # a frame with a given mask stays
    assert held[32][1:] == [0, 30, 20, 25]
    assert int(bank.kept) == 8


def test_a_bank_grows_in_a_few_steps_up_to_its_capacity() -> None:
    policy = EveryK(capacity=30)
    bank = policy.init(1, 2, 4, MemoryFormat(5, 6))
    rooms = []
    for kept in range(40):
        bank = bank.grow(kept)
        rooms.append(bank.occupied.shape[2])
    assert rooms == [8] * 8 + [24] * 16 + [30] * 16
    assert policy.growth == (8, 24)


def test_a_policy_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        EveryK(capacity=2)


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
    bank = policy.init(1, 2, p, MemoryFormat(k, v))
    loops = [Loop(policy, p), Loop(policy, p)]
    merges = evictions = 0
    for frame in range(9):
        keys, values = (rng.standard_normal((1, 2, p, d)).astype(np.float32) for d in (k, v))
        objects = np.array([[True, frame >= 2]])  # the second object comes later
        pin = np.array([[frame == 0, frame == 2]])
        counts = rng.integers(0, 5, (1, 2, policy.capacity * p)).astype(np.float32) * np.asarray(bank.occupied)
        bank = bank._replace(use=bank.use + jnp.log1p(jnp.asarray(counts)))
        full = np.asarray(bank.occupied).sum(axis=-1)[0]
        for number, loop in enumerate(loops):
            for place, entry in enumerate(loop.entries):
                if entry is not None:
                    entry["use"] += np.log1p(counts[0, number, place])
            if objects[0, number]:
                loop.write(keys[0, number], values[0, number], bool(pin[0, number]))
        write = jax.jit(lambda bank, key, value, objects, new: bank.write(NewFrame(key, value, objects, new, 0, False)))
        bank = write(bank, *(jnp.asarray(x) for x in (keys, values, objects, pin)))
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
    bank = policy.init(1, 1, p, MemoryFormat(3, 3))
    first = jnp.asarray(rng.standard_normal((1, 1, p, 3)), jnp.float32)
    yes, no = jnp.ones((1, 1), bool), jnp.zeros((1, 1), bool)
    bank = bank.write(NewFrame(first, first, yes, yes, 0, True))
    for _ in range(5):
        other = jnp.asarray(rng.standard_normal((1, 1, p, 3)), jnp.float32)
        bank = bank.write(NewFrame(other, other, yes, no, 1, False))
    np.testing.assert_array_equal(bank.keys[0, 0, :p], first[0, 0])
    np.testing.assert_array_equal(bank.keys[0, 0, p:], other[0, 0])
    nobody = bank.write(NewFrame(first, first, no, no, 2, False))
    np.testing.assert_array_equal(nobody.keys, bank.keys)
    forgotten = forget_objects(more_objects(bank, 2), jnp.asarray([True, False]))
    assert not forgotten.occupied.any()
    with pytest.raises(ValueError, match="capacity is 1"):
        Adaptive(capacity=1)
    with pytest.raises(ValueError, match="merge_above is a cosine"):
        Adaptive(merge_above=2.0)
