"""Objects of one video over a clip of another: what is in front, what is followed, and clips that are left alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from munet_jax.data.clips import ClipOptions
from munet_jax.data.composites import paste_objects
from munet_jax.data.sampling import sample_clip
from munet_jax.data.transforms import AugmentationConfig
from tests.data.trees import COLOURS, MemorySource, label_map

SIZE = (48, 64)


def block(identity: int, top: int, left: int, side: int = 16) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[top : top + side, left : left + side] = identity
    return labels


def sample(source: MemorySource, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    defaults = {
        "length": 3,
        "size": SIZE,
        "max_objects": 2,
        "augmentation": AugmentationConfig.none(),
        "composite": 1.0,
    }
    return sample_clip(source, 0, 0, np.random.default_rng(seed), ClipOptions(**(defaults | options)))


def test_what_is_pasted_hides_what_is_behind() -> None:
    behind = np.stack([block(1, 10, 10)] * 2)
    above = np.stack([block(1, 10, 18), block(1, 30, 40)])
    frames = np.stack([COLOURS[labels] for labels in behind]), np.stack([COLOURS[3 * labels] for labels in above])
    nowhere = np.zeros((2, *SIZE), bool)
    pictures, labels, valid = paste_objects((frames[0], behind, nowhere), (frames[1], above, nowhere), 2)
    shown = above == 1
    for top, left in ((10, 18), (30, 40)):  # less than half of a corner's pixel is the square's
        shown[int(top == 30), [top, top, top + 15, top + 15], [left, left + 15] * 2] = False
    np.testing.assert_array_equal(labels, np.where(shown, 2, behind))
    np.testing.assert_array_equal(valid, shown)
    np.testing.assert_array_equal(pictures[0, 12, 20], COLOURS[3])
    np.testing.assert_array_equal(pictures[0, 12, 12], COLOURS[1])
    edge = pictures[1, 30, 45].astype(int)  # a third of it is the background's
    assert np.abs(edge - (COLOURS[3] / 1.5 + COLOURS[0] / 3.0)).max() < 3
    hiding = paste_objects((frames[0], behind, nowhere), (frames[1], above, nowhere), 0)[1]
    np.testing.assert_array_equal(hiding, np.where(shown, 0, behind))


def test_objects_of_another_video_are_followed_where_a_slot_is_free() -> None:
    source = MemorySource([[block(1, 4, 4)] * 5, [block(3, 26, 40)] * 5])
    followed = set()
    for seed in range(10):
        clip = sample(source, seed)
        blue = (np.abs(clip["frames"].astype(int) - COLOURS[3]) <= 20).all(axis=-1)
        assert blue.sum(axis=(1, 2)).min() > 150
        assert set(np.unique(clip["labels"][blue])) == ({2} if clip["objects"][1] else {0})
        followed.add(bool(clip["objects"][1]))
        alone = sample(source, seed, max_objects=1)
        assert set(np.unique(alone["labels"])) == {0, 1}
    assert followed == {True, False}


def test_an_object_that_would_be_hidden_leaves_the_clip_as_it_is() -> None:
    source = MemorySource([[block(1, 10, 10)] * 5, [block(3, 8, 8, side=24)] * 5])
    clip = sample(source)
    np.testing.assert_array_equal(clip["labels"], [block(1, 10, 10)] * 3)
    assert clip["objects"].tolist() == [True, False]


def test_nothing_is_pasted_of_the_same_video() -> None:
    clip = sample(MemorySource([[label_map((1,))] * 5]))
    np.testing.assert_array_equal(clip["labels"], [label_map((1,))] * 3)


def test_its_own_object_may_pass_once_more_in_other_colours() -> None:
    """At another place and size, as crops are drawn; it is a further object, or one that only hides."""
    source = MemorySource([[block(1, 16, 24)] * 5])
    crops = dataclasses.replace(AugmentationConfig.none(), random_crop=True, crop_scale_min=0.6, flip=0.5, hue=0.4)
    seen, moved = set(), []
    for seed in range(12):
        clip = sample(source, seed, look_alike=1.0, augmentation=crops, max_objects=3, min_pixels=40)
        slots = int(clip["objects"].sum())
        assert set(np.unique(clip["labels"])) == set(range(slots + 1))
        first, second = (
            (clip["frames"][0][clip["labels"][0] == slot].mean(axis=0) for slot in (1, 2)) if slots > 1 else (0, 0)
        )
        moved.append(float(np.abs(first - second).max()))
        seen.add(slots)
    assert seen == {1, 2, 3}
    assert max(moved) > 60


def test_without_composites_clips_are_what_they_were() -> None:
    source = MemorySource([[block(1, 4, 4)] * 5, [block(3, 26, 40)] * 5])
    np.testing.assert_array_equal(sample(source, composite=0.0)["labels"], [block(1, 4, 4)] * 3)
