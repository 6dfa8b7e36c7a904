"""Clips made of still images: exact labels, smooth motion, objects over other backgrounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from munet_jax.data.clips import ClipOptions
from munet_jax.data.layers import Layer, compose, fill_holes
from munet_jax.data.loader import Part, make_loader
from munet_jax.data.sampling import ClipIndex, sample_clip
from munet_jax.data.still_motion import Course, StillMotionConfig, draw_course
from munet_jax.data.stills import FramesAsStills
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.errors import InputError
from tests.data.trees import COLOURS, MemorySource, coloured, label_map, memory_source

SIZE = (48, 64)
STILL = StillMotionConfig(shift=0.0, rotation=0.0, scale=0.0, shear=0.0)
APART = StillMotionConfig(separate=1.0)


def _sample(source, motion, seed=0, **options):  # noqa: ANN001, ANN003, ANN202
    defaults = {"length": 4, "size": SIZE, "max_objects": 2, "augmentation": AugmentationConfig.none()}
    clip_options = ClipOptions(still_motion=motion, **(defaults | options))
    return sample_clip(FramesAsStills(source), 0, 0, np.random.default_rng(seed), clip_options)


def _agreement(sample) -> float:  # noqa: ANN001
    """Share of pixels whose colour is that of their label; MemorySource colours by id."""
    expected = COLOURS[sample["labels"]].astype(int)
    near = (np.abs(sample["frames"].astype(int) - expected) <= 40).all(axis=-1)
    return float(near[sample["valid"]].mean())


def test_every_annotated_frame_is_a_still() -> None:
    source = MemorySource([[label_map(shift=shift) for shift in range(count)] for count in (2, 3)])
    stills = FramesAsStills(source)
    assert [stills.video(index).name for index in range(len(stills))] == [
        "video0/00000", "video0/00001", "video1/00000", "video1/00001", "video1/00002",
    ]  # fmt: skip
    assert all(stills.video(index).still for index in range(len(stills)))
    np.testing.assert_array_equal(stills.labels(4, 0), label_map(shift=2))
    np.testing.assert_array_equal(stills.frame(1, 0), coloured(label_map(shift=1)))
    assert len(ClipIndex(stills, 6)) == 5  # one clip per image, whatever the length
    assert len(FramesAsStills(MemorySource([]))) == 0


def test_a_still_that_does_not_move_is_the_image_in_every_frame() -> None:
    sample = _sample(memory_source(), STILL)
    for position in range(4):
        np.testing.assert_array_equal(sample["labels"][position], label_map())
        np.testing.assert_array_equal(sample["frames"][position], coloured(label_map()))
    assert sample["valid"].all()


def test_the_whole_moves_smoothly_and_labels_move_with_it() -> None:
    sample = _sample(memory_source(), StillMotionConfig(), seed=3)
    np.testing.assert_array_equal(sample["labels"][0], label_map())
    middles = np.array([np.argwhere(labels == 1).mean(axis=0) for labels in sample["labels"]])
    steps = np.diff(middles, axis=0)
    assert np.abs(steps).max() > 0.5
    assert np.abs(np.diff(steps, axis=0)).max() < 4.0  # pixels: no jumps
    assert _agreement(sample) > 0.95


def test_ignored_pixels_stay_ignored_in_the_whole_and_are_filled_apart() -> None:
    labels = label_map()
    labels[:6] = 255
    source = MemorySource([[labels]])
    assert not _sample(source, STILL)["valid"][:, :6].any()
    apart = _sample(source, dataclasses.replace(STILL, separate=1.0))
    assert apart["valid"].all()
    assert set(np.unique(apart["labels"])) == {0, 1, 2}


def test_objects_apart_leave_the_background_where_they_were() -> None:
    motion = StillMotionConfig(shift=0.15, rotation=0.0, scale=0.0, shear=0.0, separate=1.0)
    sample = _sample(memory_source(), motion, seed=1)
    np.testing.assert_array_equal(sample["labels"][0], label_map())
    ways = [
        np.argwhere(sample["labels"][-1] == s).mean(0) - np.argwhere(sample["labels"][0] == s).mean(0) for s in (1, 2)
    ]
    assert np.abs(ways[0] - ways[1]).max() > 1.0  # each has its own way
    assert _agreement(sample) > 0.95  # where an object was, there is background now


def test_pasted_objects_lie_over_another_image() -> None:
    plain = np.full(SIZE, 3, np.uint8)  # blue all over, one object without background
    source = MemorySource([[label_map((1,))], [plain]])
    sample = _sample(source, dataclasses.replace(APART, paste=1.0), seed=2)
    outside = sample["frames"][0][(sample["labels"][0] == 0) & sample["valid"][0]]
    assert (np.abs(outside.astype(int) - COLOURS[3]) <= 60).all(axis=-1).mean() > 0.9
    inside = sample["frames"][0][sample["labels"][0] == 1]
    assert (np.abs(inside.astype(int) - COLOURS[1]) <= 60).all(axis=-1).mean() > 0.7
    assert sample["objects"].tolist() == [True, False]


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_pasted_objects_have_the_size_that_is_asked_for(factor: float) -> None:
    source = MemorySource([[label_map((1,))], [np.full(SIZE, 3, np.uint8)]])
    motion = dataclasses.replace(STILL, separate=1.0, paste=1.0, placed_min=factor, placed_max=factor)
    areas = [(_sample(source, motion, seed=seed)["labels"][0] == 1).sum() for seed in range(6)]
    assert max(areas) == pytest.approx((label_map((1,)) == 1).sum() * factor**2, rel=0.15)  # others lie half outside
    with pytest.raises(InputError, match="0 < placed_min <= placed_max <= 4, not 0.6 and 0.5"):
        StillMotionConfig(placed_max=0.5)


def test_an_object_that_crosses_is_labelled_only_where_a_slot_is_free() -> None:
    source = MemorySource([[label_map((1,))], [label_map((3,))]])
    motion = dataclasses.replace(APART, crossing=1.0)
    seen, met = set(), 0
    for seed in range(12):
        sample = _sample(source, motion, seed=seed)
        blue = (np.abs(sample["frames"].astype(int) - COLOURS[3]) <= 40).all(axis=-1)
        met += int(blue.any())  # it may pass wholly behind the other, or outside
        seen.add(tuple(sample["objects"].tolist()))
        assert bool((blue & (sample["labels"] == 2)).any()) == bool(sample["objects"][1])
        alone = _sample(source, motion, seed=seed, max_objects=1)
        assert set(np.unique(alone["labels"])) == {0, 1}
    assert seen == {(True, False), (True, True)}
    assert met >= 9


def test_what_crosses_may_be_the_object_once_more() -> None:
    source = MemorySource([[label_map((1,))], [label_map((3,))]])
    motion = dataclasses.replace(APART, crossing=1.0)
    twice = 0
    for seed in range(12):
        sample = _sample(source, motion, seed=seed, look_alike=1.0)
        assert not (np.abs(sample["frames"].astype(int) - COLOURS[3]) <= 40).all(axis=-1).any()
        red = (np.abs(sample["frames"].astype(int) - COLOURS[1]) <= 20).all(axis=-1)
        assert (sample["labels"][red] > 0).all() or not sample["objects"][1]
        twice += bool((sample["labels"][red] == 2).any())
    assert twice >= 3


def test_an_image_of_regions_everywhere_keeps_those_that_stand_still() -> None:
    labels = np.full(SIZE, 2, np.uint8)
    labels[20:30, 20:36], labels[:, 50:] = 1, 4
    sample = _sample(MemorySource([[labels]]), dataclasses.replace(APART, own_factor=3.0), max_objects=1, seed=4)
    (moved,) = np.unique(labels[sample["labels"][0] == 1])
    left = [_near(sample["frames"][-1], identity).sum() for identity in (1, 2, 4)]
    for identity, pixels in zip((1, 2, 4), left, strict=True):
        share = pixels / (labels == identity).sum()
        assert identity == moved or share > 0.7


def _near(frame: np.ndarray, identity: int) -> np.ndarray:
    return (np.abs(frame.astype(int) - COLOURS[identity]) <= 40).all(axis=-1)


def test_what_crosses_does_not_stand_in_the_background_too() -> None:
    source = MemorySource([[label_map((1,))], [label_map((3,))]])
    motion = dataclasses.replace(APART, crossing=1.0, paste=1.0)
    labelled = 0
    for seed in range(20):
        sample = _sample(source, motion, seed=seed)
        if not sample["objects"][1]:
            continue
        labelled += 1
        blue = (np.abs(sample["frames"].astype(int) - COLOURS[3]) <= 20).all(axis=-1)
        assert (sample["labels"][blue] == 2).all()
    assert labelled >= 3


def test_other_frames_of_the_same_video_are_no_other_image() -> None:
    alone = MemorySource([[label_map((1,), shift=shift) for shift in range(5)]])
    motion = dataclasses.replace(APART, crossing=1.0, paste=1.0)
    for seed in range(5):
        sample = _sample(alone, motion, seed=seed)
        red = (np.abs(sample["frames"].astype(int) - COLOURS[1]) <= 20).all(axis=-1)
        assert (sample["labels"][red] == 1).all()


def test_every_object_to_follow_shows_in_the_first_frame() -> None:
    source = MemorySource([[label_map((1, 2), shift=shift)] for shift in range(6)])
    motion = StillMotionConfig(separate=1.0, paste=0.5, crossing=1.0)
    for seed in range(20):
        sample = _sample(source, motion, seed=seed, augmentation=AugmentationConfig(), min_pixels=12)
        pixels = np.bincount(sample["labels"][0].ravel(), minlength=3)[1:]
        assert ((pixels >= 12) == sample["objects"]).all()


def test_holes_are_filled_with_what_surrounds_them() -> None:
    image = np.zeros((37, 50, 3), np.uint8)
    image[:, :25], image[:, 25:] = (200, 100, 50), (20, 40, 60)
    hole = np.zeros((37, 50), bool)
    hole[10:30, 5:15] = hole[12:20, 35:47] = True
    broken = np.where(hole[..., None], np.uint8(255), image)
    filled = fill_holes(broken, hole)
    np.testing.assert_array_equal(filled[~hole], image[~hole])
    assert np.abs(filled.astype(int) - image).max() <= 60  # bilinear: a little of the other side
    assert np.median(np.abs(filled.astype(int) - image)[hole]) <= 1
    np.testing.assert_array_equal(fill_holes(image, np.ones_like(hole)), image)  # nothing is known: nothing is made up


def test_layers_move_along_with_their_courses() -> None:
    def shift(x: float) -> Course:
        return Course(np.zeros(2), np.array([x, 0.0, 0.0, 0.0, 0.0]), np.zeros(5))

    behind = Layer(coloured(np.zeros(SIZE, np.uint8)), None, np.eye(3), (), 0)
    square = label_map((1,)) == 1
    # Sampling positions move right: what is seen moves left, by both courses together.
    front = Layer(coloured(square.astype(np.uint8)), square, np.eye(3), (shift(4.0), shift(2.0)), 7)
    _, labels, valid = compose([behind, front], 1.0, SIZE)
    np.testing.assert_array_equal(labels == 7, np.roll(square, -6, axis=1))
    assert valid.all()


def test_a_course_begins_at_rest() -> None:
    course = draw_course(np.random.default_rng(0), StillMotionConfig(), SIZE)
    np.testing.assert_allclose(course.at(0.0), np.eye(3))
    assert np.abs(course.at(1.0) - np.eye(3)).max() > 0.01


def test_strengths_out_of_range() -> None:
    for field, value in {"shift": -0.1, "separate": 1.5, "shear": 16.0, "own_factor": 4.0}.items():
        with pytest.raises(InputError, match=f"still_motion.{field} lies between 0 and"):
            StillMotionConfig(**{field: value})


def test_stills_come_out_of_the_loader_again_after_a_resume() -> None:
    parts = [Part(memory_source(), 0.5), Part(FramesAsStills(memory_source()), 0.5)]
    options = ClipOptions(3, (32, 32), 2, still_motion=StillMotionConfig(separate=0.5, paste=0.5, crossing=0.5))

    def loader(**fields):  # noqa: ANN003, ANN202
        return make_loader(parts, options, batch_size=4, seed=5, **fields)

    batches = loader(threads=2)
    for _ in range(3):
        next(batches)
    for name, array in next(loader(threads=0, start_step=3)).items():
        np.testing.assert_array_equal(array, next(loader(threads=1, start_step=3))[name])
    expected = next(batches)
    np.testing.assert_array_equal(expected["frames"], next(loader(threads=0, start_step=3))["frames"])
