"""Flip, crop, affine and colours of training clips."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest

from munet_jax.data.transforms import (
    OUTSIDE_COLOUR,
    AugmentationConfig,
    draw_affine,
    draw_colours,
    draw_crop,
    jitter_colours,
    warp_image,
    warp_labels,
)
from munet_jax.runtime.errors import InputError
from tests.data.trees import COLOURS, coloured, label_map

NONE = AugmentationConfig.none()


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1.5},
        {"crop_scale_min": 0.0},
        {"crop_scale_min": 0.9, "crop_scale_max": 0.8},
        {"crop_scale_max": 1.2},
        {"rotation": -1.0},
        {"hue": 0.7},
        {"shear": float("nan")},
    ],
)
def test_strengths_that_make_no_sense(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"augmentation.*(flip|crop_scale|rotation|hue|shear)"):
        AugmentationConfig(**change)


def test_no_augmentation_is_the_middle_crop() -> None:
    labels = np.arange(4 * 8, dtype=np.uint8).reshape(4, 8)
    crop = draw_crop(np.random.default_rng(0), NONE, (4, 8), (4, 4))
    warped, valid = warp_labels(labels, crop, (4, 4))
    np.testing.assert_array_equal(warped, labels[:, 2:6])
    assert valid.all()
    frame = coloured(labels % 5)
    np.testing.assert_array_equal(warp_image(frame, crop, (4, 4)), frame[:, 2:6])
    assert not NONE.moves_queries
    assert not NONE.changes_colours


@pytest.mark.parametrize("size", [(32, 32), (24, 48), (60, 20), (100, 150)])
def test_crops_lie_inside_and_keep_the_aspect_ratio(size: tuple[int, int]) -> None:
    config = AugmentationConfig()
    largest = min(48 / size[0], 64 / size[1])
    rng = np.random.default_rng(0)
    flips, zooms = [], []
    for _ in range(200):
        crop = draw_crop(rng, config, (48, 64), size)
        _, valid = warp_labels(np.zeros((48, 64), np.uint8), crop, size)
        assert valid.all()
        assert abs(crop[0, 0]) == pytest.approx(crop[1, 1])
        flips.append(crop[0, 0] < 0)
        zooms.append(crop[1, 1] / largest)
    assert 60 < sum(flips) < 140
    assert 0.8 <= min(zooms) < 0.85
    assert 0.95 < max(zooms) <= 1.0


def test_flip_mirrors() -> None:
    labels = label_map((1, 2, 3), (48, 48))
    crop = draw_crop(np.random.default_rng(0), dataclasses.replace(NONE, flip=1.0), (48, 48), (48, 48))
    np.testing.assert_array_equal(warp_labels(labels, crop, (48, 48))[0], labels[:, ::-1])
    np.testing.assert_array_equal(warp_image(coloured(labels), crop, (48, 48)), coloured(labels)[:, ::-1])


@pytest.mark.parametrize("source_size", [(96, 128), (240, 320), (480, 854), (30, 40)])
def test_frames_and_labels_stay_aligned(source_size: tuple[int, int]) -> None:
    """The nearest colour of the warped frame is the colour of the warped label, but at edges; also when it shrinks."""
    labels = label_map((1, 2), source_size)
    size = (64, 64)
    rng = np.random.default_rng(1)
    for _ in range(10):
        crop = draw_crop(rng, AugmentationConfig(), source_size, size)
        matrix = crop @ draw_affine(rng, AugmentationConfig(rotation=20.0, shear=10.0, shift=0.1), size)
        warped, valid = warp_labels(labels, matrix, size)
        frame = warp_image(coloured(labels), matrix, size).astype(int)
        seen = np.argmin(((frame[:, :, None] - COLOURS[:3].astype(int)) ** 2).sum(-1), axis=-1)
        wrong = (seen != warped) & valid
        assert set(np.unique(warped)) <= {0, 1, 2}
        edge = np.zeros(size, bool)
        edge[:, 1:] |= warped[:, 1:] != warped[:, :-1]
        edge[:, :-1] |= warped[:, 1:] != warped[:, :-1]
        edge[1:] |= warped[1:] != warped[:-1]
        edge[:-1] |= warped[1:] != warped[:-1]
        border = edge | ~_shrunk(valid)
        assert not (wrong & ~border).any()
        assert wrong[edge].mean() < 0.4 if edge.any() else True


def _shrunk(valid: np.ndarray) -> np.ndarray:
    inner = valid.copy()
    inner[1:] &= valid[:-1]
    inner[:-1] &= valid[1:]
    inner[:, 1:] &= valid[:, :-1]
    inner[:, :-1] &= valid[:, 1:]
    return inner


def test_large_frames_are_averaged_not_skipped() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = draw_crop(np.random.default_rng(0), NONE, (256, 256), (64, 64))
    assert np.abs(warp_image(stripes, crop, (64, 64)).astype(int) - 100).max() <= 1


def test_what_lies_outside_is_marked() -> None:
    labels = np.full((40, 40), 3, np.uint8)
    matrix = np.array([[1.0, 0.0, -10.0], [0.0, 1.0, 5.0], [0.0, 0.0, 1.0]])
    warped, valid = warp_labels(labels, matrix, (40, 40))
    expected = np.zeros((40, 40), bool)
    expected[:35, 10:] = True
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(warped, np.where(expected, 3, 0))
    frame = warp_image(np.full((40, 40, 3), 50, np.uint8), matrix, (40, 40))
    assert (frame[~expected] == OUTSIDE_COLOUR).all()
    assert (frame[expected] == 50).all()


def test_affine_turns_around_the_middle_within_its_strengths() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        turn = draw_affine(rng, dataclasses.replace(NONE, rotation=3.0), (40, 60))
        np.testing.assert_allclose(turn @ [30, 20, 1], [30, 20, 1], atol=1e-9)
        assert abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= 3.0
        move = draw_affine(rng, dataclasses.replace(NONE, shift=0.02), (40, 60))
        assert (np.abs(move[:2, 2]) <= (1.2, 0.8)).all()
        full = draw_affine(rng, AugmentationConfig(), (40, 60))
        assert 0.98**2 - 1e-9 <= np.linalg.det(full) <= 1.02**2 + 1e-9
    np.testing.assert_array_equal(draw_affine(rng, NONE, (40, 60)), np.eye(3))


class _Fixed(np.random.Generator):
    """Random numbers that are all one value."""

    value = 0.0

    def uniform(self, low=0.0, high=1.0, size=None):  # noqa: ANN001, ANN201
        """The value, whatever the bounds."""
        return self.value if size is None else np.full(size, self.value)


def _draw(value: float, **strengths: float) -> np.ndarray:
    rng = _Fixed(np.random.PCG64(0))
    rng.value = value
    return draw_colours(rng, dataclasses.replace(NONE, **strengths), mean_grey=100.0)


def test_each_colour_change_is_what_it_says() -> None:
    colour = np.array([120.0, 80.0, 40.0])
    grey = float(colour @ [0.299, 0.587, 0.114])

    def apply(matrix: np.ndarray) -> np.ndarray:
        return matrix[:, :3] @ colour + matrix[:, 3]

    np.testing.assert_allclose(apply(_draw(1.0, brightness=0.1)), colour * 1.1)
    np.testing.assert_allclose(apply(_draw(1.0, contrast=0.1)), 100 + (colour - 100) * 1.1)
    np.testing.assert_allclose(apply(_draw(-1.0, saturation=1.0)), [grey] * 3)
    np.testing.assert_allclose(apply(_draw(0.3)), colour, atol=1e-9)
    turned = apply(_draw(1.0, hue=0.02))
    before, after = colorsys.rgb_to_hsv(*(colour / 255)), colorsys.rgb_to_hsv(*(turned / 255))
    assert after[0] - before[0] == pytest.approx(0.02, abs=0.004)
    assert turned.sum() == pytest.approx(colour.sum())


def test_jitter_stays_small_and_in_range() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    changed = jitter_colours(frame, rng, AugmentationConfig())
    assert changed.dtype == np.uint8
    difference = np.abs(changed.astype(int) - frame)
    assert 0 < difference.mean() < 30
    again = jitter_colours(frame, rng, AugmentationConfig())
    assert (again != changed).any()
    white = np.full((4, 4, 3), 255, np.uint8)
    assert jitter_colours(white, rng, AugmentationConfig()).min() > 200
