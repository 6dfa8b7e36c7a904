"""Objects that come and go, views, saved states, compilations, and what the segmenter must not depend on."""

import concurrent.futures
import dataclasses
import logging
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from configs import testing
from munet_jax.data.masks import read_mask
from munet_jax.data.sources import create_source
from munet_jax.evaluation.protocols import GENERIC
from munet_jax.evaluation.split import segment_video
from munet_jax.inference import budget
from munet_jax.inference.options import fill_options
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.inference.slots import slot_bucket
from munet_jax.inference.views import create_geometry, predict_step, remember_step
from munet_jax.runtime.devices import device_in_use
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES

Create = Callable[..., VideoSegmenter]
ALL = ("labels", "probabilities", "uncertainty", "displacement", "attention")


def run(stream: VideoSegmenter, frames: list[np.ndarray], mask: np.ndarray, **options: Any) -> list[np.ndarray]:
    return [stream.step(frame, None if number else mask, **options).labels for number, frame in enumerate(frames)]


@pytest.mark.parametrize("policy", ["every_k", "adaptive"])
def test_removed_objects_are_gone_and_their_ids_may_come_back(segmenter: Create, video: Any, policy: str) -> None:
    frames, labels = video
    stream, alone = segmenter(memory_policy=policy), segmenter(memory_policy=policy)
    stream.step(frames[0], labels[0])
    stream.remove([2])
    assert stream.object_ids == (1,)
    # What is left is as if the object had never been there.
    alone.step(frames[0], np.where(labels[0] == 1, 1, 0).astype(np.uint8))
    for frame in frames[1:4]:
        together, expected = (s.step(frame, outputs=ALL).probabilities for s in (stream, alone))
        np.testing.assert_allclose(together, expected, atol=1e-5)
    again = stream.step(frames[4], np.where(labels[4] == 2, 2, 0).astype(np.uint8), outputs=ALL)
    assert stream.object_ids == (1, 2)
    assert (again.labels[labels[4] == 2] == 2).all()
    with pytest.raises(InputError, match=r"object 9 is not tracked; tracked ids: \[1, 2\]"):
        stream.remove([9])
    stream.remove([1, 2])
    with pytest.raises(InputError, match="frame 5 needs a mask"):
        stream.step(frames[5])
    assert stream.step(frames[5], labels[5]).frame_index == 5


@pytest.mark.parametrize("policy", ["every_k", "adaptive"])
def test_results_do_not_depend_on_the_order_of_ids(segmenter: Create, video: Any, policy: str) -> None:
    frames, labels = video
    plain = run(segmenter(memory_policy=policy), frames, labels[0])
    renamed = np.array([0, 9, 4], np.uint8)
    other = run(segmenter(memory_policy=policy), frames, renamed[labels[0]])
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_array_equal(renamed[one], two)
    ordered = segmenter(memory_policy=policy)
    ordered.step(frames[0], labels[0], object_ids=[2, 1])
    np.testing.assert_array_equal(ordered.step(frames[1]).labels, plain[1])


def test_two_interleaved_videos_do_not_touch_each_other(segmenter: Create, video: Any) -> None:
    frames, labels = video
    turned, turned_mask = [frame[::-1, ::-1].copy() for frame in frames], labels[0][::-1, ::-1].copy()
    expected = run(segmenter(), frames, labels[0]), run(segmenter(), turned, turned_mask)
    one, two = segmenter(), segmenter()
    for number in range(len(frames)):
        for stream, given, mask, wanted in (
            (one, frames, labels[0], expected[0]),
            (two, turned, turned_mask, expected[1]),
        ):
            got = stream.step(given[number], None if number else mask).labels
            np.testing.assert_array_equal(got, wanted[number])


def test_the_evaluator_gives_the_same_masks_bit_for_bit(segmenter: Create, tmp_path: Path) -> None:
    source = create_source(testing.get_config().evaluation)
    segment_video(segmenter(), source, 0, tmp_path, GENERIC)
    names = source.video(0).frame_names
    expected = run(segmenter(), [source.frame(0, t) for t in range(len(names))], source.labels(0, 0))
    for name, labels in zip(names, expected, strict=True):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), labels)


@pytest.mark.parametrize("changes", [{}, {"memory_policy": "adaptive"}, {"flip": True, "scales": (1.0, 0.75)}])
def test_a_saved_state_goes_on_bit_for_bit(
    segmenter: Create, video: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    frames, labels = video
    stream = segmenter(**changes)
    run(stream, frames[:4], labels[0])
    np.savez(tmp_path / "state.npz", **stream.save_state())
    expected = [stream.step(frame, outputs=ALL) for frame in frames[4:]]
    other = segmenter(**changes)
    with np.load(tmp_path / "state.npz") as state:
        other.load_state(state)
    for frame, wanted in zip(frames[4:], expected, strict=True):
        got = other.step(frame, outputs=ALL)
        assert got.frame_index == wanted.frame_index
        for name in ALL:
            np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
    empty = segmenter(**changes)
    empty.load_state(segmenter(**changes).save_state())
    assert empty.frame_index == -1
    with pytest.raises(InputError, match="state is of another config"):
        segmenter(memory_interval=2, **changes).load_state(stream.save_state())


def test_a_bank_that_is_large_enough_equals_one_without_a_bound(segmenter: Create, video: Any) -> None:
    frames, labels = video
    bounded = run(segmenter(memory_interval=1, memory_capacity=9), frames, labels[0])
    unbounded = run(segmenter(memory_interval=1, memory_capacity=200), frames, labels[0])
    np.testing.assert_array_equal(bounded, unbounded)


def test_chunks_change_nothing(segmenter: Create, video: Any) -> None:
    frames, labels = video
    whole, parts = segmenter(read_chunk=0, object_chunk=0), segmenter(read_chunk=7, object_chunk=1)
    for number in range(4):
        mask = None if number else labels[0]
        one, two = (s.step(frames[number], mask, outputs=ALL).probabilities for s in (whole, parts))
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_mirrored_and_scaled_views_are_averaged(segmenter: Create, video: Any) -> None:
    """A mirrored video gives the mirrored result when both views are looked at; each alone does not."""
    frames, labels = video
    mirrored = [frame[:, ::-1].copy() for frame in frames[:3]], labels[0][:, ::-1].copy()
    for flip, equal in ((True, True), (False, False)):
        plain, other = segmenter(flip=flip), segmenter(flip=flip)
        for number in range(3):
            one = plain.step(frames[number], None if number else labels[0], outputs=ALL)
            two = other.step(mirrored[0][number], None if number else mirrored[1], outputs=ALL)
        assert np.allclose(one.probabilities, two.probabilities[:, ::-1], atol=1e-4) == equal
    scaled = segmenter(scales=(1.0, 0.5, 1.5))
    scaled.step(frames[0], labels[0])
    prediction = scaled.step(frames[1], outputs=ALL)
    assert prediction.labels.shape == prediction.uncertainty.shape == (56, 72)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=-1), 1.0, atol=1e-5)


def test_a_hundred_frames_compile_once_per_bucket(segmenter: Create, video: Any, caplog: Any) -> None:
    """Objects that appear, are corrected and removed: one program of each half for each bucket of slots and frames."""
    frames, labels = video
    rng = np.random.default_rng(0)
    stream = segmenter(memory_capacity=20)
    before = predict_step.jitted._cache_size(), remember_step.jitted._cache_size()
    buckets = set()
    with caplog.at_level(logging.INFO, "munet_jax"):
        for number in range(100):
            mask = labels[0] if number == 0 else None
            if number in (10, 20, 30):
                mask = np.zeros_like(labels[0])
                mask[number : number + 6, 10:30] = number  # new ones
            if number in (15, 40, 60):
                mask = labels[number % 8]  # corrections
            stream.step(frames[number % 8], mask)
            buckets.add((len(stream._slots), stream.shapes["memory"]))
            if number in (35, 70):
                stream.remove([int(rng.choice(stream.object_ids))])
    # Memory may grow before a frame is remembered whose prediction still had the smaller one, and the other way round.
    added = predict_step.jitted._cache_size() - before[0], remember_step.jitted._cache_size() - before[1]
    assert max(added) <= len(buckets) + 1
    assert len(buckets) <= 5
    told = [record.getMessage() for record in caplog.records if "compiled" in record.getMessage()]
    assert any("memory 8 -> 20" in line for line in told)
    assert any("object slots 2 -> 3" in line for line in told)
    quiet = COMPILES.count
    for number in range(10):
        stream.step(frames[number % 8])
    assert COMPILES.count == quiet


def test_warmup_leaves_nothing_to_compile(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter(memory_capacity=10, memory_interval=1)
    stream.warmup((56, 72), objects=2)
    assert stream.frame_index == -1
    stream.step(frames[0], labels[0])  # the first frame's own small programs
    count = COMPILES.count
    for number in range(1, 14):
        stream.step(frames[number % 8])
    assert COMPILES.count == count


def test_slots_come_in_buckets() -> None:
    assert [slot_bucket(count) for count in (1, 2, 3, 5, 7, 9, 16, 17, 40, 255)] == [1, 2, 3, 6, 8, 12, 16, 32, 48, 255]


def test_many_objects_with_large_ids(segmenter: Create, video: Any) -> None:
    frames, _ = video
    stream = segmenter(max_objects=40, object_chunk=4)
    mask = (np.arange(56)[:, None] // 14 * 5 + np.arange(72)[None] // 15 + 300).astype(np.int32)
    stream.step(frames[0], mask)
    assert len(stream.object_ids) == 20
    prediction = stream.step(frames[1], outputs=ALL)
    assert prediction.labels.dtype == np.int32
    assert set(np.unique(prediction.labels)) <= {0, *range(300, 320)}
    assert prediction.probabilities.shape == (56, 72, 21)


def test_a_step_that_was_interrupted_is_not_silently_forgotten(
    segmenter: Create, video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, labels = video
    stream = segmenter()
    stream.step(frames[0], labels[0])
    state = stream.save_state()

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("munet_jax.inference.views.remember_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.step(frames[1])
    monkeypatch.undo()
    for call in (lambda: stream.step(frames[1]), lambda: stream.remove([1]), stream.save_state):
        with pytest.raises(InputError, match=r"call reset\(\) or load_state\(\)"):
            call()
    stream.load_state(state)
    assert stream.step(frames[1]).frame_index == 1


def test_options_of_an_older_config_are_filled_in() -> None:
    config = testing.get_config()
    with config.unlocked():
        del config.inference["read_chunk"]
        config.inference["size_multiple"] = 16  # a field that is gone
    config.inference.max_size = 99
    fill_options(config)
    assert config.inference.read_chunk == 2048
    assert config.inference.max_size == 99
    assert "size_multiple" not in config.inference


def test_too_little_memory_says_what_to_lower(
    segmenter: Create, video: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    frames, labels = video
    stream = segmenter()
    needed = budget.estimate(stream.network, [create_geometry((56, 72))], 2).total
    monkeypatch.setattr(budget, "available_memory", lambda: int(needed * 0.8))
    with pytest.raises(InputError, match=r"72 x 56 with 2 object slots need about .* GB are free; lower .*max_size to"):
        stream.step(frames[0], labels[0])
    assert stream.frame_index == -1
    monkeypatch.setattr(budget, "available_memory", lambda: 10)
    with pytest.raises(InputError, match="no single option"):
        stream.step(frames[0], labels[0])
    monkeypatch.setattr(budget, "available_memory", lambda: None)
    with caplog.at_level(logging.INFO, "munet_jax"):
        stream.step(frames[0], labels[0])
    assert "need about" in caplog.text


def test_following_the_advice_is_enough(segmenter: Create) -> None:
    stream = segmenter(memory_capacity=200, read_chunk=256)
    geometries = [create_geometry((480, 640))]
    network, whole = stream.network, budget.estimate(stream.network, geometries, 4).total
    advice = budget.advice(network, geometries, 4, whole * 0.7)
    side = int(advice.split("max_size to ")[1].split()[0])
    capacity = int(advice.split("memory_capacity to ")[1].split()[0])
    smaller = [create_geometry((480, 640), max_size=side)]
    assert budget.estimate(network, smaller, 4).total <= whole * 0.7
    policy = dataclasses.replace(network.policy, capacity=capacity)
    assert budget.estimate(network._replace(policy=policy), geometries, 4).total <= whole * 0.7
    assert (budget.available_memory() or 0) > 1e8


def test_the_device_of_the_thread_is_asked_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = jax.local_devices()[:2]
    with concurrent.futures.ThreadPoolExecutor(1) as pool, jax.default_device(other):
        assert device_in_use() == other
        assert pool.submit(device_in_use).result() == one
    stats = {"bytes_limit": 10, "bytes_in_use": 4}
    gpu = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(budget, "device_in_use", lambda: gpu)
    assert budget.available_memory() == 6


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (np.zeros((8, 8), np.uint8), r"RGB of shape \[h, w, 3\], not \[8, 8\]; repeat a grey one"),
        (np.zeros((8, 8, 4), np.uint8), "drop the alpha channel"),
        (np.zeros((8, 8, 3), np.uint16), "divide 16-bit frames by 65535"),
        (np.zeros((8, 8, 3), np.int64), "use uint8"),
        (np.full((8, 8, 3), 200.0, np.float32), r"floats from 200 to 200, which must lie in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan, np.float32), "must lie in"),
        (np.zeros((0, 8, 3), np.uint8), "RGB of shape"),
    ],
)
def test_frames_that_are_refused(segmenter: Create, frame: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        segmenter().step(frame, np.ones(frame.shape[:2], np.uint8))


def test_masks_and_options_that_are_refused(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    with pytest.raises(InputError, match=r"label map of shape \[h, w\], not \[56, 72, 3\]"):
        stream.step(frames[0], frames[0])
    with pytest.raises(InputError, match="is of float32; a label map holds integers"):
        stream.step(frames[0], labels[0].astype(np.float32))
    for wrong in (0, 255, -1):
        with pytest.raises(InputError, match=f"{wrong} cannot be an object's id"):
            stream.step(frames[0], labels[0], object_ids=[wrong])
    np.testing.assert_array_equal(
        stream.step(frames[0], labels[0] == 1).labels, labels[0] == 1
    )  # a bool mask is object 1
    for changes, reason in (
        ({"memory_policy": "all"}, "memory_policy is 'all'; choose one of every_k, adaptive"),
        ({"read_chunk": -1}, "read_chunk is -1"),
        ({"scales": ()}, "give positive factors"),
        ({"max_objects": 300}, "max_objects is 300; it lies between 1 and 255"),
    ):
        with pytest.raises(InputError, match=reason):
            segmenter(**changes)
