"""J and F against the official figures, against a slow and literal version, and by hand."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.evaluation.metrics import boundary_accuracy, objects_in, region_similarity, statistics
from munet_jax.runtime.errors import InputError
from tests.shared_data import shared


def rectangle(top: int, left: int, height: int, width: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def blobs(seed: int, shape: tuple[int, int] = (45, 60), share: float = 0.4) -> np.ndarray:
    """Ragged regions of random size, some of them at the image border."""
    coarse = np.random.default_rng(seed).random((shape[0] // 7 + 1, shape[1] // 7 + 1)) < share
    fine = np.random.default_rng(seed + 1).random(shape) < 0.03
    return np.kron(coarse, np.ones((7, 7), bool))[: shape[0], : shape[1]] ^ fine


def slow_boundary(mask: np.ndarray) -> list[tuple[int, int]]:
    h, w = mask.shape
    points = []
    for y in range(h):
        for x in range(w):
            inside = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (1, 1)) if y + dy < h and x + dx < w]
            if any(mask[p] != mask[y, x] for p in inside):
                points.append((y, x))
    return points


def slow_boundary_accuracy(annotation: np.ndarray, segmentation: np.ndarray, radius: float) -> float:
    a, s = slow_boundary(annotation), slow_boundary(segmentation)
    if not a or not s:
        return float(not a and not s)
    distance = np.square(np.array(a)[:, None] - np.array(s)[None]).sum(-1)
    recall, precision = ((distance.min(axis) <= radius**2).mean() for axis in (1, 0))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def golden_rows() -> Iterator[tuple[Path, dict[str, str]]]:
    folder = shared("../golden/davis_metrics")
    with (folder / "frames.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield folder, row


def test_every_golden_frame_and_object():
    measured: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for folder, row in golden_rows():
        masks = []
        for kind in ("annotations", "results"):
            with PILImage.open(folder / kind / row["sequence"] / f"{row['frame']}.png") as image:
                masks.append(np.array(image) == int(row["object"]))
        found = region_similarity(*masks), boundary_accuracy(*masks)
        assert found == pytest.approx((float(row["J"]), float(row["F"])), abs=1e-6), row
        measured[row["sequence"], row["object"]].append(found)
    with (folder / "objects.csv").open(newline="") as file:
        objects = list(csv.DictReader(file))
    assert len(objects) == len(measured) == 17
    for row in objects:
        values = np.array(measured[row["sequence"], row["object"]])
        for k, measure in enumerate("JF"):
            official = [float(row[f"{measure}_{name}"]) for name in ("mean", "recall", "decay")]
            assert statistics(values[:, k]) == pytest.approx(official, abs=1e-6), row


def test_region_similarity_by_hand():
    a, b = rectangle(10, 10, 20, 20), rectangle(10, 20, 20, 20)
    assert region_similarity(a, b) == 200 / 600
    assert region_similarity(a, a) == 1
    assert region_similarity(a, ~a) == 0


def test_boundary_accuracy_by_hand():
    # The boundary of a square of n pixels a side is a ring of 4 n pixels; its upper and left sides lie just outside the
    # square. The diagonal of 48 x 64 is 80, so the radius is 1.
    a = rectangle(10, 10, 20, 20)
    assert len(slow_boundary(a)) == 80
    assert boundary_accuracy(a, rectangle(11, 10, 20, 20)) == 1
    # Moved down by two: of the 21 pixels of each upright side all but the end match, and where the other square's end
    # meets an upright side so does one more pixel beside it.
    assert boundary_accuracy(a, rectangle(12, 10, 20, 20)) == pytest.approx((2 * 20 + 2) / 80)
    assert boundary_accuracy(a, rectangle(12, 10, 20, 20), tolerance=2) == 1
    assert boundary_accuracy(a, rectangle(30, 40, 10, 10)) == 0


def test_boundary_accuracy_of_a_shape_in_another():
    # The squares share the 21 pixels of the inner one's upper and left sides; at both ends one more pixel is near.
    outer, inner = rectangle(10, 10, 20, 20), rectangle(10, 10, 10, 10)
    assert boundary_accuracy(outer, inner) == pytest.approx(slow_boundary_accuracy(outer, inner, 1), abs=1e-12)
    precision, recall = 23 / 40, 23 / 80
    assert boundary_accuracy(outer, inner) == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("tolerance", [0.0, 0.008, 0.03, 1.0, 2.5, 7.0])
def test_boundary_accuracy_equals_the_slow_version(tolerance):
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(45, 60))
    for seed in range(8):
        annotation, segmentation = blobs(3 * seed), blobs(3 * seed + 1, share=0.1 + 0.1 * seed)
        expected = slow_boundary_accuracy(annotation, segmentation, radius)
        assert boundary_accuracy(annotation, segmentation, tolerance=tolerance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("place", [(0, 0), (0, 50), (38, 0), (38, 50), (20, 25)])
def test_boundary_accuracy_at_the_image_border(place):
    annotation, segmentation = rectangle(*place, 10, 14), rectangle(place[0] + 1, place[1] - (place[1] > 0), 9, 14)
    expected = slow_boundary_accuracy(annotation, segmentation, 1)
    assert boundary_accuracy(annotation, segmentation) == pytest.approx(expected, abs=1e-12)


def test_empty_and_full_masks():
    empty, full, some = rectangle(0, 0, 0, 0), rectangle(0, 0, 48, 64), rectangle(5, 5, 9, 9)
    assert region_similarity(empty, empty) == boundary_accuracy(empty, empty) == 1
    for pair in ((empty, some), (some, empty)):
        assert region_similarity(*pair) == boundary_accuracy(*pair) == 0
    # A full mask has no boundary, so F sees no difference from an empty one.
    assert boundary_accuracy(full, empty) == 1
    assert region_similarity(full, empty) == 0
    assert boundary_accuracy(full, some) == 0


def test_several_frames_and_other_dtypes():
    annotations = np.stack([rectangle(5, 5, 9, 9), rectangle(0, 0, 0, 0), blobs(1, (48, 64))])
    segmentations = np.stack([rectangle(6, 5, 9, 9), rectangle(0, 0, 0, 0), blobs(2, (48, 64))])
    for measure in (region_similarity, boundary_accuracy):
        found = measure(annotations, segmentations)
        assert found.shape == (3,)
        assert found.dtype == np.float64
        assert found.tolist() == [measure(a, s) for a, s in zip(annotations, segmentations, strict=True)]
        for dtype in (np.uint8, np.int32, np.float32):
            assert measure(annotations.astype(dtype), segmentations).tolist() == found.tolist()
        # Views with gaps between their elements are as good as copies.
        assert measure(annotations[:, ::2, ::-3], segmentations[:, ::2, ::-3]).shape == (3,)
    assert isinstance(boundary_accuracy(annotations[0], segmentations[0]), float)


def test_inputs_are_left_alone():
    a, b = blobs(1), blobs(2)
    copies = a.copy(), b.copy()
    region_similarity(a, b)
    boundary_accuracy(a, b)
    np.testing.assert_array_equal((a, b), copies)


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
def test_wrong_shapes(measure):
    with pytest.raises(InputError, match=r"annotation is \[48, 64\] but segmentation is \[64, 48\]"):
        measure(np.zeros((48, 64), bool), np.zeros((64, 48), bool))
    with pytest.raises(InputError, match=r"not \[5\]"):
        measure(np.zeros(5, bool), np.zeros(5, bool))
    with pytest.raises(InputError, match=r"\[1, 1, 8, 8\]"):
        measure(np.zeros((1, 1, 8, 8), bool), np.zeros((1, 1, 8, 8), bool))


def test_negative_tolerance():
    with pytest.raises(InputError, match="tolerance"):
        boundary_accuracy(blobs(1), blobs(2), tolerance=-0.1)


def test_statistics_by_hand():
    # 9 frames: the quarters are 0..2, 2..4, 4..6, 6..8.
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    mean, recall, decay = statistics(values)
    assert mean == pytest.approx(0.5)
    assert recall == pytest.approx(4 / 9)
    assert decay == pytest.approx(0.8 - 0.2)
    # 7 frames: edges 0, 1.5, 3, 4.5, 6, of which the halves (plus 1e-10) go up after adding 1: 0, 2, 3, 5, 6.
    assert statistics(np.array([1.0, 0.5, 0.0, 0.0, 0.0, 0.2, 0.4])).decay == pytest.approx(0.5 - 0.3)
    assert statistics(np.array([0.7])) == pytest.approx((0.7, 1.0, 0.0))


def test_statistics_of_more_frames_than_a_byte_counts():
    values = np.linspace(1, 0, 401)
    assert statistics(values).decay == pytest.approx(0.75)


def test_statistics_leave_unscored_frames_out():
    values = np.array([math.nan, 0.8, 0.6, 0.4, math.nan])
    mean, recall, decay = statistics(values)
    assert (mean, recall, decay) == pytest.approx((0.6, 2 / 3, 0.8 - 0.4))
    assert all(math.isnan(v) for v in statistics(np.full(4, math.nan)))
    with pytest.raises(InputError, match="no frame"):
        statistics(np.zeros(0))


def test_objects_in():
    assert objects_in(np.array([[0, 7, 255], [2, 2, 0]], np.uint8)) == (2, 7)
    assert objects_in(np.zeros((4, 4), np.uint8)) == ()
