"""Scores of whole sequences: against the official figures, and on label maps small enough to know the answer."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.evaluation.protocols import DAVIS2016, GENERIC, YOUTUBE_VOS
from munet_jax.evaluation.results_json import write_results
from munet_jax.evaluation.scoring import SequenceScore, frame_means, frame_rows, score_sequence, summarise
from munet_jax.runtime.errors import InputError
from tests.shared_data import shared

NAMES = ("00000", "00001", "00002", "00003", "00004")


def labels(*columns: int, ids: tuple[int, ...] = (1, 2), shape: tuple[int, int] = (32, 40)) -> np.ndarray:
    """Object ids[k] as an 8 x 8 square whose left side is at columns[k], one below the other."""
    picture = np.zeros(shape, np.uint8)
    for k, column in enumerate(columns):
        picture[3 + 12 * k : 11 + 12 * k, column : column + 8] = ids[k]
    return picture


def read(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.glob("*.png")):
        with PILImage.open(path) as image:
            yield np.array(image)


def test_golden_sequences():
    folder = shared("../golden/davis_metrics")
    scores = {}
    for sequence in sorted((folder / "annotations").iterdir()):
        names = sorted(path.stem for path in sequence.glob("*.png"))
        scores[sequence.name] = score_sequence(read(sequence), read(folder / "results" / sequence.name), names)
    with (folder / "frames.csv").open(newline="") as file:
        official = {(r["sequence"], int(r["object"]), r["frame"]): (r["J"], r["F"]) for r in csv.DictReader(file)}
    rows = frame_rows(scores)
    assert len(rows) == len(official) == 942
    for row in rows:
        expected = official[row["sequence"], row["object"], row["frame"]]
        assert (row["J"], row["F"]) == pytest.approx(tuple(map(float, expected)), abs=1e-6), row
    results = summarise(scores)
    with (folder / "objects.csv").open(newline="") as file:
        objects = list(csv.DictReader(file))
    for row in objects:
        found = results["sequences"][row["sequence"]]["objects"][row["object"]]
        for measure in "JF":
            assert found[measure] == pytest.approx(float(row[f"{measure}_mean"]), abs=1e-6)
            for name in (f"{measure}_recall", f"{measure}_decay"):
                assert found[name] == pytest.approx(float(row[name]), abs=1e-6)
    for measure in "JF":
        mean = sum(float(row[f"{measure}_mean"]) for row in objects) / len(objects)
        assert results[measure] == pytest.approx(mean, abs=1e-6)


def test_objects_are_those_of_the_first_annotation_and_255_is_none():
    first = labels(4, 20, ids=(1, 3))
    first[0, :] = 255
    later = labels(4, 20, ids=(1, 9))
    score = score_sequence([first, first, later, first], [later, first, later, first], NAMES[:4])
    # As in the DAVIS code, object 2 counts although no frame shows it.
    assert list(score.region) == list(score.boundary) == [1, 2, 3]
    assert score.frame_names == NAMES[1:3]
    assert score.region[1].tolist() == [1, 1]
    # In frame 2 object 3 is in neither map.
    assert score.region[3].tolist() == [1, 1]
    assert score.region[2].tolist() == [1, 1]


def test_ignored_pixels_count_as_background():
    annotation, segmentation = labels(4), labels(4)
    annotation[3:11, 12:20] = 255
    segmentation[3:11, 12:20] = 1
    score = score_sequence([annotation] * 3, [segmentation] * 3, NAMES[:3])
    assert score.region[1].tolist() == [0.5]


def test_missing_and_unknown_objects():
    annotation = labels(4, 20)
    unknown = labels(4, 20, ids=(1, 5))
    score = score_sequence([annotation] * 3, [unknown] * 3, NAMES[:3])
    assert (score.region[1].item(), score.region[2].item()) == (1, 0)
    assert (score.boundary[1].item(), score.boundary[2].item()) == (1, 0)


def test_which_frames_are_scored():
    annotation, wrong = labels(4), labels(30)
    segmentations = [annotation, wrong, annotation, annotation, wrong]
    assert score_sequence([annotation] * 5, segmentations, NAMES).region[1].tolist() == [0, 1, 1]
    score = score_sequence([annotation] * 5, segmentations, NAMES, GENERIC)
    assert score.region[1].tolist() == [0, 1, 1, 0]
    assert score.frame_names == NAMES[1:]


def test_objects_that_appear_later_are_scored_from_the_frame_after():
    first, both = labels(4), labels(4, 20)
    annotations = [first, first, both, both, first]
    segmentations = [first, both, first, both, both]
    score = score_sequence(annotations, segmentations, NAMES, GENERIC)
    np.testing.assert_array_equal(score.region[1], [1, 1, 1, 1])
    np.testing.assert_array_equal(score.region[2], [math.nan, math.nan, 1, 0])  # predicted where it has left
    rows = [row["frame"] for row in score.rows() if row["object"] == 2]
    assert rows == list(NAMES[3:])
    results = summarise({"a": score})
    assert results["sequences"]["a"]["objects"]["2"]["J"] == 0.5
    # The quarters are those of its own two frames.
    assert results["sequences"]["a"]["objects"]["2"]["J_decay"] == 1.0
    # Where the data says that it is given earlier, it counts earlier.
    given = score_sequence(annotations, segmentations, NAMES, YOUTUBE_VOS, first_frames={1: 0, 2: 1})
    np.testing.assert_array_equal(given.region[2], [math.nan, 0, 1, 0])


def test_an_object_that_is_given_in_the_last_frame_is_never_scored():
    score = score_sequence([labels(4), labels(4), labels(4, 20)], [labels(4)] * 3, NAMES[:3], GENERIC)
    results = summarise({"a": score})
    assert math.isnan(results["sequences"]["a"]["objects"]["2"]["J"])
    assert results["J"] == 1


def test_merged_objects():
    annotation = labels(4, 20)
    swapped = labels(4, 20, ids=(2, 1))
    assert summarise({"a": score_sequence([annotation] * 3, [swapped] * 3, NAMES[:3])})["J"] == 0
    merged = score_sequence([annotation] * 3, [swapped] * 3, NAMES[:3], DAVIS2016)
    assert {i: v.tolist() for i, v in merged.region.items()} == {1: [1]}
    # The files of DAVIS-2016 hold 0 and 255.
    binary = np.where(annotation > 0, 255, 0).astype(np.uint8)
    for pair in ((binary, swapped), (annotation, binary)):
        score = score_sequence([pair[0]] * 3, [pair[1]] * 3, NAMES[:3], DAVIS2016)
        assert (score.region[1].item(), score.boundary[1].item()) == (1, 1)


def test_frames_are_streamed():
    alive = []

    def stream(kind: str) -> Iterator[np.ndarray]:
        for name in NAMES:
            alive.append((kind, name))
            yield labels(4)

    score_sequence(stream("annotation"), stream("segmentation"), NAMES)
    assert alive == [(kind, name) for name in NAMES for kind in ("annotation", "segmentation")]


def test_wrong_sizes_name_the_frame():
    segmentations = [labels(4), labels(4), labels(4, shape=(16, 20)), labels(4), labels(4)]
    with pytest.raises(
        InputError, match="frame 00002: the segmentation is 20 x 16, but its annotation is 40 x 32 .*0.5 times as large"
    ):
        score_sequence([labels(4)] * 5, segmentations, NAMES)


def test_missing_frames():
    given = [None, labels(4), labels(4), labels(4), None]
    assert score_sequence([labels(4)] * 5, given, NAMES).region[1].tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="frame 00004 has no segmentation"):
        score_sequence([labels(4)] * 5, given, NAMES, GENERIC)


@pytest.mark.parametrize(
    ("annotations", "segmentations", "message"),
    [
        (5, 4, "only 4 segmentations for 5 frame names"),
        (4, 5, "only 4 annotations for 5 frame names"),
        (4, 4, "only 4 annotations and segmentations for 5"),
        (6, 6, "more than 5 annotations and segmentations for 5"),
        (0, 0, "only 0"),
    ],
)
def test_different_numbers_of_frames(annotations, segmentations, message):
    with pytest.raises(InputError, match=message):
        score_sequence([labels(4)] * annotations, [labels(4)] * segmentations, NAMES)


def test_nothing_to_score():
    with pytest.raises(InputError, match="2 frames"):
        score_sequence([labels(4)] * 2, [labels(4)] * 2, NAMES[:2])
    with pytest.raises(InputError, match="no object"):
        score_sequence([labels()] * 3, [labels(4)] * 3, NAMES[:3])
    with pytest.raises(InputError, match="no sequence"):
        summarise({})


def score_of(*objects: tuple[float, float]) -> SequenceScore:
    """A sequence of two frames whose object k has the same J and F in both."""
    return SequenceScore(
        frame_names=NAMES[:2],
        region={k: np.full(2, j) for k, (j, _) in enumerate(objects, 1)},
        boundary={k: np.full(2, f) for k, (_, f) in enumerate(objects, 1)},
    )


def test_the_mean_is_over_objects_not_sequences():
    results = summarise({"one": score_of((1.0, 0.8)), "three": score_of((0.2, 0.4), (0.4, 0.4), (0.6, 0.4))})
    assert results["J"] == pytest.approx(2.2 / 4)
    assert results["F"] == pytest.approx(2.0 / 4)
    assert results["J&F"] == pytest.approx(4.2 / 8)
    assert results["J_recall"] == pytest.approx(2 / 4)
    assert results["F_recall"] == pytest.approx(1 / 4)
    assert results["J_decay"] == results["F_decay"] == 0
    assert set(results) == {"J", "F", "J&F", "J_recall", "J_decay", "F_recall", "F_decay", "sequences"}
    three = results["sequences"]["three"]
    assert set(three) == {"J", "F", "J&F", "objects"}
    assert three["J"] == pytest.approx(0.4)
    assert list(three["objects"]) == ["1", "2", "3"]
    assert three["objects"]["3"]["J&F"] == pytest.approx(0.5)


def test_objects_without_a_score_are_left_out():
    results = summarise({"a": score_of((0.5, 0.5), (math.nan, math.nan))})
    assert results["J"] == 0.5
    assert math.isnan(results["sequences"]["a"]["objects"]["2"]["J"])


def test_frame_rows():
    rows = frame_rows({"a": score_of((0.5, 0.25)), "b": score_of((1.0, 1.0))})
    assert rows[1] == {"sequence": "a", "object": 1, "frame": "00001", "J": 0.5, "F": 0.25}
    assert len(rows) == 4


def test_scores_of_a_frame_are_means_over_its_objects():
    rows = [
        {"sequence": "a", "object": 1, "frame": "1", "J": 0.2, "F": 0.4},
        {"sequence": "a", "object": 2, "frame": "1", "J": 0.6, "F": 0.6},
        {"sequence": "a", "object": 2, "frame": "2", "J": 1.0, "F": 1.0},
    ]
    assert frame_means(rows) == {"a": {"1": (pytest.approx(0.4), pytest.approx(0.5)), "2": (1.0, 1.0)}}


def test_results_file(tmp_path):
    path = tmp_path / "results.json"
    scores = {"a": score_of((1 / 3, 0.5), (math.nan, 1.0))}
    write_results(
        path, summarise(scores) | {"frames": frame_rows(scores), "fps": np.float32(2.5), "objects": np.int64(2)}
    )
    found = json.loads(path.read_text())
    assert found["J"] == 0.333333
    assert (found["fps"], found["objects"]) == (2.5, 2)
    assert found["sequences"]["a"]["objects"]["2"]["J"] is None
    assert found["frames"][0] == {"sequence": "a", "object": 1, "frame": "00000", "J": 0.333333, "F": 0.5}
    assert list(found) == sorted(found)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, {"J": 1.0})
    with pytest.raises(TypeError):
        write_results(path, {"J": object()})
    assert json.loads(path.read_text()) == {"J": 1.0}
    assert list(tmp_path.iterdir()) == [path]
