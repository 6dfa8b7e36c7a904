"""Clips from sources: choice of frames and objects, batches, repeatability."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from munet_jax.data.clips import ClipOptions
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part, count_clips, fake_loader, make_loader
from munet_jax.data.objects import pick_objects
from munet_jax.data.sampling import ClipIndex, sample_clip
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.errors import InputError
from tests.data.trees import MemorySource, coloured, label_map, make_davis, memory_source
from tests.shared_data import shared

NONE = AugmentationConfig.none()
FULL = AugmentationConfig()
SIZE = (48, 64)


def _sample(source, video=0, start=0, seed=0, **options) -> dict[str, np.ndarray]:  # noqa: ANN001, ANN003
    defaults = {"length": 3, "size": SIZE, "max_objects": 2, "augmentation": NONE}
    return sample_clip(source, video, start, np.random.default_rng(seed), ClipOptions(**(defaults | options)))


def test_sample_without_augmentation_is_the_data() -> None:
    sample = _sample(memory_source(), video=1, start=2)
    shapes = {name: (array.shape, array.dtype.name) for name, array in sample.items()}
    assert shapes == {
        "frames": ((3, 48, 64, 3), "uint8"),
        "labels": ((3, 48, 64), "uint8"),
        "valid": ((3, 48, 64), "bool"),
        "objects": ((2,), "bool"),
        "video": ((), "int32"),
        "start": ((), "int32"),
    }
    for position in range(3):
        expected = label_map(shift=2 + position)
        np.testing.assert_array_equal(sample["labels"][position], expected)
        np.testing.assert_array_equal(sample["frames"][position], coloured(expected))
    assert sample["valid"].all()
    assert sample["objects"].all()
    assert (int(sample["video"]), int(sample["start"])) == (1, 2)


def test_consecutive_means_consecutive_annotated_frames(tmp_path: Path) -> None:
    tree = make_davis(tmp_path, frames=9)
    for path in tree.glob("Annotations/480p/*/*.png"):
        if int(path.stem) % 4:
            path.unlink()
    source = DavisSource(tree)
    assert len(ClipIndex(source, 3)) == 2
    labels = _sample(source)["labels"]
    for position in range(3):
        np.testing.assert_array_equal(labels[position], label_map(shift=4 * position))


def test_skips_stay_inside_the_video() -> None:
    source = memory_source(frames=7)
    steps = set()
    for seed in range(20):
        labels = _sample(source, start=2, seed=seed, max_skip=5)["labels"]
        lefts = [int(np.nonzero(labels[position] == 1)[1].min()) for position in range(3)]
        steps.add((lefts[1] - lefts[0], lefts[2] - lefts[1]))
    assert steps == {(1, 1), (2, 2)}


def test_objects_are_chosen_at_random_and_renumbered() -> None:
    ids = (2, 5, 9, 200)
    source = memory_source(ids=ids)
    seen = set()
    for seed in range(40):
        sample = _sample(source, seed=seed)
        assert np.unique(sample["labels"]).tolist() == [0, 1, 2]
        original = label_map(ids)
        chosen = tuple(int(np.unique(original[sample["labels"][0] == slot])[0]) for slot in (1, 2))
        assert list(chosen) == sorted(chosen)
        np.testing.assert_array_equal(sample["labels"][0] > 0, np.isin(original, chosen))
        seen.add(chosen)
    assert seen == set(itertools.combinations(ids, 2))


def test_fewer_objects_than_slots() -> None:
    sample = _sample(memory_source(ids=(7,)), max_objects=3)
    assert sample["objects"].tolist() == [True, False, False]
    assert np.unique(sample["labels"]).tolist() == [0, 1]


def test_objects_that_come_later_are_background() -> None:
    source = MemorySource([[label_map((1,)), label_map((1, 2)), label_map((1, 2))]])
    sample = _sample(source)
    assert sample["objects"].tolist() == [True, False]
    assert np.unique(sample["labels"]).tolist() == [0, 1]


def test_small_objects_are_not_picked() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[0, :3], labels[1:4], labels[9] = 1, 2, 255
    rng = np.random.default_rng(0)
    assert pick_objects(labels, rng, max_objects=4) == (2,)
    assert pick_objects(labels, rng, max_objects=4, min_pixels=3) == (1, 2)
    assert pick_objects(np.zeros((4, 4), np.uint8), rng, max_objects=1) == ()


def test_ignored_pixels_are_not_valid() -> None:
    labels = label_map()
    labels[:5] = 255
    sample = _sample(MemorySource([[labels] * 3]))
    np.testing.assert_array_equal(sample["valid"], np.broadcast_to(labels != 255, (3, *SIZE)))
    assert np.unique(sample["labels"]).tolist() == [0, 1, 2]


def test_labels_and_validity_under_full_augmentation() -> None:
    source = memory_source()
    outside = 0
    for seed in range(30):
        sample = _sample(source, seed=seed, augmentation=FULL, size=(40, 40))
        assert set(np.unique(sample["labels"])) <= {0, 1, 2}
        assert sample["valid"][0].all()
        assert not sample["labels"][~sample["valid"]].any()
        outside += (~sample["valid"]).sum()
    assert outside > 0


def test_flip_is_drawn_once_per_clip() -> None:
    half = np.ones((32, 32), np.uint8)
    half[:, 16:] = 2
    source = MemorySource([[half] * 4])
    firsts = []
    for seed in range(30):
        config = dataclasses.replace(FULL, rotation=0.0)
        labels = _sample(source, seed=seed, augmentation=config, length=4, size=(32, 32))["labels"]
        sides = {int(labels[position, 16, 3]) for position in range(4)}
        assert len(sides) == 1
        firsts.append(sides.pop())
    assert set(firsts) == {1, 2}


def test_the_reference_is_only_flipped_and_cropped_and_queries_move_alone() -> None:
    source = MemorySource([[label_map()] * 4])
    sample = _sample(source, augmentation=dataclasses.replace(FULL, flip=0.0, crop_scale_min=1.0), length=4)
    np.testing.assert_array_equal(sample["frames"][0], coloured(label_map()))
    for first, second in itertools.combinations(range(4), 2):
        assert (sample["frames"][first] != sample["frames"][second]).any()
        assert (sample["labels"][first] != sample["labels"][second]).any()


def test_empty_references_are_drawn_again() -> None:
    empty = np.zeros(SIZE, np.uint8)
    late = MemorySource([[empty] * 6 + [label_map(shift=frame) for frame in range(6)]])
    for seed in range(10):
        sample = _sample(late, start=0, seed=seed)
        assert sample["objects"].any()
        assert int(sample["start"]) >= 6
    elsewhere = MemorySource([[empty], [empty], [label_map()]])
    assert int(_sample(elsewhere, length=1)["video"]) == 2
    with pytest.raises(InputError, match="nothing: .*no object of 16 pixels"):
        _sample(MemorySource([[empty] * 4], name="nothing"))


def test_objects_lost_to_the_crop_are_looked_for_again() -> None:
    labels = np.zeros((40, 160), np.uint8)
    labels[10:30, :12] = 1
    source = MemorySource([[labels] * 3])
    for seed in range(10):
        sample = _sample(source, seed=seed, augmentation=FULL, size=(40, 40))
        assert (sample["labels"][0] == 1).sum() >= 16


def test_samples_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match="video0: has 7 annotated frames; a clip of 3 cannot start at number 5"):
        _sample(memory_source(), start=5)
    changing = MemorySource([[label_map(), label_map(size=(24, 32)), label_map()]])
    with pytest.raises(InputError, match="memory/video0, frame 00001: frame 32 x 24.*64 x 48"):
        _sample(changing)


def _loader(*sources, weights=(1.0, 1.0), **options):  # noqa: ANN001, ANN002, ANN003, ANN202
    clips = {"length": 3, "size": (32, 32), "max_objects": 2, "augmentation": FULL}
    clips |= {name: options.pop(name) for name in [*clips, "still_motion"] if name in options}
    parts = [Part(*pair) for pair in zip(sources, weights, strict=False)]
    return make_loader(parts, ClipOptions(**clips), **({"batch_size": 4, "seed": 3} | options))


def _take(loader, count: int) -> list[dict[str, np.ndarray]]:  # noqa: ANN001
    return list(itertools.islice(loader, count))


def _assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_batches_depend_on_seed_and_step_only() -> None:
    source = memory_source(videos=2)
    reference = _take(_loader(source, threads=0), 9)
    assert reference[0]["frames"].shape == (4, 3, 32, 32, 3)
    assert reference[0]["objects"].shape == (4, 2)
    assert reference[0]["video"].shape == (4,)
    for threads in (1, 2):
        for first, second in zip(reference, _take(_loader(source, threads=threads), 9), strict=True):
            _assert_equal(first, second)
        for start in (1, 4, 7):
            _assert_equal(next(_loader(source, threads=threads, start_step=start)), reference[start])
    other = next(_loader(source, seed=4))
    assert (other["frames"] != reference[0]["frames"]).any()


def test_every_epoch_visits_all_clips_in_a_new_order() -> None:
    source = memory_source(videos=2, frames=8)
    clips = len(ClipIndex(source, 3))
    options = ClipOptions(3, SIZE, 2)
    assert clips == count_clips([Part(source)], options) == 12
    assert count_clips([Part(source), Part(source, 0.1)], options, stride=3) == 8
    batches = _take(_loader(source, augmentation=NONE), 9)
    pairs = [(int(v), int(s)) for batch in batches for v, s in zip(batch["video"], batch["start"], strict=True)]
    epochs = [pairs[first : first + clips] for first in range(0, 3 * clips, clips)]
    for epoch in epochs:
        assert set(epoch) == {(video, start) for video in range(2) for start in range(6)}
    assert len(set(map(tuple, epochs))) == 3


def test_a_mix_takes_from_its_parts_by_weight_and_resumes() -> None:
    short, long = memory_source(videos=1, frames=3, ids=(1,)), memory_source(videos=2, frames=20)
    options = {"weights": (0.25, 0.75), "threads": 2, "batch_size": 8, "size": SIZE, "augmentation": NONE}
    batches = _take(_loader(short, long, **options), 10)
    of_long = np.stack([batch["objects"][:, 1] for batch in batches])
    assert of_long.mean() == pytest.approx(0.75)
    assert (of_long.sum(axis=1) == 6).all()
    _assert_equal(next(_loader(short, long, **(options | {"start_step": 7, "threads": 0}))), batches[7])
    starts = {(int(v), int(s)) for batch in batches for v, s, two in
              zip(batch["video"], batch["start"], batch["objects"][:, 1], strict=True) if two}  # fmt: skip
    assert len(starts) == 36  # every clip of the long videos: 60 draws without repetition in a pass


def test_the_same_clip_is_augmented_anew_in_the_next_epoch() -> None:
    source = memory_source(videos=1, frames=3)
    first, second = _take(_loader(source, batch_size=1), 2)
    assert int(first["start"][0]) == int(second["start"][0]) == 0
    assert (first["frames"] != second["frames"]).any()


def test_processes_share_out_what_one_process_would_see() -> None:
    source = memory_source()
    alone = _take(_loader(source), 3)
    parts = [_take(_loader(source, process_index=index, process_count=2), 3) for index in range(2)]
    for step in range(3):
        for index in range(2):
            _assert_equal({name: array[index::2] for name, array in alone[step].items()}, parts[index][step])


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_of_worker_threads_surface(threads: int) -> None:
    loader = _loader(memory_source(videos=3, broken=(1,)), threads=threads)
    with pytest.raises(InputError, match="^video1: cannot be read"):
        _take(loader, 50)


def test_unreadable_clips_are_skipped_and_counted_where_asked_for() -> None:
    source = memory_source(videos=3, broken=(1,))
    batches = _take(_loader(source, on_error="skip", threads=2), 12)
    assert all((batch["video"] != 1).all() for batch in batches)
    assert sum(int(batch["skipped"].sum()) for batch in batches) >= 12  # a third of 48 clips, and some redrawn twice
    for first, second in zip(batches, _take(_loader(source, on_error="skip", threads=0), 12), strict=True):
        _assert_equal(first, second)
    with pytest.raises(InputError, match="20 clips in a row cannot be read; the last: video0: cannot be read"):
        next(_loader(memory_source(videos=1, broken=(0,)), on_error="skip"))
    with pytest.raises(InputError, match="on_error is 'ignore'; choose one of stop, skip"):
        _loader(source, on_error="ignore")


def test_fake_data_is_the_first_batch_again_and_again() -> None:
    loader = _loader(memory_source())
    fake = fake_loader(_loader(memory_source()))
    first = next(loader)
    for _ in range(3):
        _assert_equal(next(fake), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3, "process_count": 2}, "split evenly over 2"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"process_index": 2, "process_count": 2}, "process 2 of 2"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"start_step": -1}, "start_step"),
        ({"threads": -2}, "threads and workers are -2 and 0"),
        ({"workers": -2}, "threads and workers are -1 and -2"),
        ({"length": 20}, "take shorter clips"),
    ],
)
def test_numbers_that_do_not_fit(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _loader(memory_source(), **options)


def test_real_multi_object_clips() -> None:
    folder = shared("davis2017_multi")
    split = next(iter(sorted((folder / "ImageSets/2017").glob("*.txt")))).stem
    batches = _take(_loader(DavisSource(folder, split), size=(96, 128), batch_size=2), 4)
    for batch in batches:
        assert batch["objects"].all()
        assert set(np.unique(batch["labels"])) <= {0, 1, 2}
        assert batch["valid"].mean() > 0.9
        for slot in (1, 2):
            assert ((batch["labels"][:, 0] == slot).sum(axis=(1, 2)) >= 16).all()


def test_real_video_with_empty_masks() -> None:
    source = DavisSource(shared("davis2016"), "val", "2016")
    empty = next(frame for frame in source.video(0).annotated if not source.labels(0, frame).any())
    start = min(empty, len(source.video(0).annotated) - 3)
    sample = _sample(source, start=start, augmentation=FULL)
    assert sample["objects"].tolist() == [True, False]
    assert (sample["labels"][0] == 1).sum() >= 16
