"""Fusion, memory, aggregation and upsampling against numpy loops; what padding must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.aggregation import crop_padding, object_probabilities, pad_to_stride, soft_aggregation
from munet_jax.models.decoder import upsample
from munet_jax.models.fusion import Fusion
from munet_jax.models.memory import EveryK, MemoryBank, forget, more_frames, more_objects, write
from munet_jax.models.reading import read
from tests.models.tiny import random_clip, random_variables, run_clip, tiny_model


def random_bank(seed: int = 0, *, b: int = 2, n: int = 2, f: int = 3, p: int = 4) -> MemoryBank:
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((b, n, f, p, 5)).astype(np.float32)
    values = rng.standard_normal((b, n, f, p, 6)).astype(np.float32)
    occupied = np.repeat(rng.random((b, n, f, 1)) < 0.7, p, axis=-1)
    occupied[0, 0] = True
    occupied[1, 1] = False
    return MemoryBank(jnp.asarray(keys), jnp.asarray(values), jnp.asarray(occupied))


def read_by_loop(bank: MemoryBank, query: np.ndarray, top_k: int | None) -> np.ndarray:
    keys, values, occupied = (np.asarray(part, np.float64) for part in bank)
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
    got = read(bank.flat(), jnp.asarray(query), top_k=top_k)
    np.testing.assert_allclose(got, read_by_loop(bank, query, top_k), atol=1e-5)
    assert float(jnp.abs(got[1, 1]).max()) == 0.0  # an object nobody remembers


def test_write_and_forget_touch_one_slot() -> None:
    bank = random_bank()
    key, value = jnp.ones((2, 2, 4, 5)), jnp.ones((2, 2, 4, 6))
    objects = jnp.asarray([[True, False], [True, True]])
    written = write(bank, key, value, objects, 1)
    np.testing.assert_array_equal(written.keys[:, :, 1], key)
    np.testing.assert_array_equal(written.occupied[:, :, 1], np.repeat(objects[..., None], 4, axis=-1))
    for slot in (0, 2):
        np.testing.assert_array_equal(written.keys[:, :, slot], bank.keys[:, :, slot])
        np.testing.assert_array_equal(written.occupied[:, :, slot], bank.occupied[:, :, slot])
    assert not bool(forget(written, 1).occupied[:, :, 1].any())


def test_a_larger_bank_reads_the_same() -> None:
    bank = random_bank()
    query = jnp.asarray(np.random.default_rng(1).standard_normal((2, 7, 5)), jnp.float32)
    larger = more_objects(more_frames(bank, 8), 4)
    assert larger.keys.shape == (2, 4, 8, 4, 5)
    np.testing.assert_allclose(read(larger.flat(), query)[:, :2], read(bank.flat(), query), atol=1e-6)


def test_every_k_keeps_the_first_frame_and_drops_the_oldest() -> None:
    policy = EveryK(interval=5, capacity=5)
    assert [policy.stays(index) for index in range(7)] == [True, False, False, False, False, True, False]
    # Slot 0 is the previous frame's, slot 1 the first frame's, which no later frame takes.
    assert [policy.slot(kept, stays=True) for kept in range(8)] == [1, 2, 3, 4, 2, 3, 4, 2]
    assert policy.slot(3, stays=False) == 0


def test_a_bank_grows_in_a_few_steps_up_to_its_capacity() -> None:
    policy = EveryK(capacity=30)
    bank = policy.init(2, 4, key_dim=5, value_dim=6, dtype=jnp.float32)
    rooms = []
    for kept in range(40):
        bank = policy.make_room(bank, kept)
        rooms.append(bank.occupied.shape[2])
    assert rooms == [8] * 8 + [24] * 16 + [30] * 16


def test_a_policy_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        EveryK(capacity=2)


def test_msam_equals_equation_3() -> None:
    rng = np.random.default_rng(0)
    semantic, motion = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    module = Fusion("msam")
    variables = module.init(jax.random.key(0), jnp.asarray(semantic), jnp.asarray(motion))
    fused, attention = module.apply(variables, jnp.asarray(semantic), jnp.asarray(motion))
    weights = np.asarray(variables["params"]["attention"]["kernel"], np.float64)[0, 0, :, 0]
    for place in np.ndindex(2, 3, 4):
        expected = 1 / (1 + np.exp(-(motion[place] @ weights)))
        assert float(attention[place][0]) == pytest.approx(expected, abs=1e-5)
        np.testing.assert_allclose(fused[place], semantic[place] * expected + semantic[place], atol=1e-5)


@pytest.mark.parametrize("kind", ["addition", "none"])
def test_the_alternatives_of_the_ablation(kind: str) -> None:
    semantic, motion = jnp.full((1, 2, 2, 3), 2.0), jnp.full((1, 2, 2, 3), 0.5)
    fused, attention = Fusion(kind).apply({}, semantic, motion)
    np.testing.assert_array_equal(fused, semantic + motion if kind == "addition" else semantic)
    assert float(jnp.abs(attention).max()) == 0.0


def test_soft_aggregation_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    channels = rng.standard_normal((2, 3, 4, 5, 2)).astype(np.float32) * 4
    objects = np.array([[True, True, True], [True, False, True]])
    got = jax.nn.softmax(soft_aggregation(jnp.asarray(channels), jnp.asarray(objects)), axis=-1)
    for i, y, x in np.ndindex(2, 4, 5):
        pixel = channels[i, :, y, x].astype(np.float64)
        p = np.exp(pixel[:, 1]) / np.exp(pixel).sum(axis=1)
        p = np.concatenate([[np.prod(1 - p[objects[i]])], p])
        p = np.clip(p, 1e-7, 1 - 1e-7)
        odds = p / (1 - p)
        odds[1:][~objects[i]] = 0.0
        np.testing.assert_allclose(got[i, y, x], odds / odds.sum(), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_upsample_equals_the_library(factor: int) -> None:
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), jnp.float32)
    expected = jax.image.resize(x, (2, 3 * factor, 5 * factor, 4), "bilinear")
    np.testing.assert_allclose(upsample(x, factor), expected, atol=1e-5)


def test_padding_comes_off_again() -> None:
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 33, 48, 3)), jnp.float32)
    padded = pad_to_stride(x, height_axis=1)
    assert padded.shape == (2, 48, 48, 3)
    np.testing.assert_array_equal(padded[:, 7:40], x)  # 15 missing rows: 7 above, 8 below
    np.testing.assert_array_equal(crop_padding(padded, (33, 48), height_axis=1), x)


@pytest.mark.parametrize("memory", ["reference", "sequential"])
def test_empty_object_slots_change_nothing(memory: str) -> None:
    model = tiny_model()
    variables = random_variables(model)
    frames, masks, objects = random_clip()
    plain = object_probabilities(
        run_clip(model, variables, frames, masks, objects, memory=memory).reshape(-1, *frames.shape[2:4], 3)
    )
    room = jnp.pad(masks, ((0, 0), (0, 2), (0, 0), (0, 0)))
    logits = run_clip(model, variables, frames, room, jnp.pad(objects, ((0, 0), (0, 2))), memory=memory)
    padded = object_probabilities(logits.reshape(-1, *frames.shape[2:4], 5))
    np.testing.assert_allclose(padded[:, :2], plain, atol=1e-5)
    assert float(padded[:, 2:].max()) == 0.0


def test_reference_and_sequential_memory_agree_on_the_first_query() -> None:
    model = tiny_model()
    variables = random_variables(model)
    clip = random_clip()
    first = [run_clip(model, variables, *clip, memory=memory) for memory in ("reference", "sequential")]
    np.testing.assert_allclose(first[0][:, 0], first[1][:, 0], atol=1e-4)
    assert float(jnp.abs(first[0][:, 1] - first[1][:, 1]).max()) > 1e-4


def test_a_memory_of_query_keys_has_one_key_for_all_objects() -> None:
    model = tiny_model(memory_key="query")
    frames, masks, objects = random_clip()
    variables = random_variables(model)
    assert "key" not in variables["params"]["memory_embedding"]
    query_key = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 8)), jnp.float32)
    key, _ = model.apply(variables, frames[:, 0], masks, query_key, method="memorise")
    np.testing.assert_array_equal(key[:, 0], key[:, 1])
    np.testing.assert_array_equal(key[:, 0], query_key.reshape(2, 12, 8))
    assert run_clip(model, variables, frames, masks, objects).shape == (2, 2, 40, 56, 3)
