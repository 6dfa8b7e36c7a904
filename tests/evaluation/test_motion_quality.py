"""Measures of displacement and certainty: by hand, against slow and literal versions, and the script that reports them."""

from __future__ import annotations

import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.data.synthetic.videos import SyntheticConfig
from munet_jax.evaluation.motion_quality import (
    correlation,
    endpoint_errors,
    reliability,
    risk_coverage,
    round_trip_errors,
)
from munet_jax.runtime.errors import InputError
from tests.data.trees import make_davis

SCRIPT = Path(__file__).parents[2] / "docs" / "tools" / "measure_motion.py"


def constant(dx: float, dy: float, size: tuple[int, int] = (10, 12)) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy], np.float32), (*size, 2)).copy()


def random_motion(seed: int, scale: float = 3.0, size: tuple[int, int] = (7, 9)) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((*size, 2))).astype(np.float32)


def everywhere(motion: np.ndarray) -> np.ndarray:
    return np.ones(motion.shape[:2], bool)


def slow_round_trip(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    height, width = forward.shape[:2]
    forward, backward = forward.astype(float), backward.astype(float)
    errors = np.full((height, width), math.nan)
    for row in range(height):
        for column in range(width):
            x, y = column + forward[row, column, 0], row + forward[row, column, 1]
            if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
                continue
            x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            end = forward[row, column].copy()
            for j in range(height):
                for i in range(width):
                    end += max(0, 1 - abs(x - i)) * max(0, 1 - abs(y - j)) * backward[j, i]
            errors[row, column] = math.sqrt(end[0] ** 2 + end[1] ** 2)
    return errors


def slow_risks(certainty: np.ndarray, errors: np.ndarray) -> list[float]:
    """Without equal certainties."""
    order = sorted(range(len(errors)), key=lambda place: certainty[place], reverse=True)
    return [float(np.mean([errors[place] for place in order[: kept + 1]])) for kept in range(len(order))]


def test_endpoint_errors_of_a_moved_plane() -> None:
    truth, found = constant(5, -2), constant(5, -2)
    assert (endpoint_errors(found, truth) == 0).all()
    found[:, :6] += (3, -4)
    errors = endpoint_errors(found, truth)
    assert errors.shape == (10, 12)
    assert (errors[:, :6] == 5).all()
    assert (errors[:, 6:] == 0).all()
    # No motion is wrong by the motion's length.
    np.testing.assert_allclose(endpoint_errors(np.zeros_like(truth), truth), math.hypot(5, 2))


def test_correlation_sees_the_pattern_and_not_the_size() -> None:
    truth = random_motion(0)
    where = everywhere(truth)
    assert correlation(truth, truth, where) == pytest.approx(1)
    assert correlation(-truth, truth, where) == pytest.approx(-1)
    assert correlation(0.25 * truth + constant(40, -7, (7, 9)), truth, where) == pytest.approx(1)
    big = random_motion(1, size=(200, 300))
    assert correlation(random_motion(2, size=(200, 300)), big, everywhere(big)) == pytest.approx(0, abs=0.02)


def test_correlation_pools_both_components() -> None:
    truth, found = random_motion(0), random_motion(0) + random_motion(1)
    pooled = [np.concatenate([m[..., k].ravel() - m[..., k].mean() for k in (0, 1)]) for m in (found, truth)]
    assert correlation(found, truth, everywhere(truth)) == pytest.approx(np.corrcoef(*pooled)[0, 1], abs=1e-6)
    # x is right, y is reversed and twice as long: (2 - 4 * 2) / sqrt((2 + 4 * 2) * (2 + 4 * 2)), from two places.
    truth, found = np.array([[[1, 2], [-1, -2]]], np.float32), np.array([[[1, -2], [-1, 2]]], np.float32)
    assert correlation(found, truth, everywhere(truth)) == pytest.approx(-0.6)


def test_correlation_counts_the_places_that_it_is_told() -> None:
    truth = random_motion(0)
    found, where = truth.copy(), everywhere(truth)
    found[2:4], where[2:4] = math.nan, False
    assert correlation(found, truth, where) == pytest.approx(1)
    where[2, 0] = True
    with pytest.raises(InputError, match="not finite"):
        correlation(found, truth, where)


def test_correlation_is_not_defined_without_differences() -> None:
    truth = random_motion(0)
    where = everywhere(truth)
    still = constant(0.1, 0.3, (7, 9))  # neither number is exact, so that means of them are not either
    assert correlation(still, truth, where) is correlation(truth, still, where) is None
    assert correlation(truth, truth, np.zeros_like(where)) is None
    one = np.zeros_like(where)
    one[3, 3] = True
    assert correlation(truth, truth, one) is None
    # One component that differs is enough.
    still[..., 0] = truth[..., 0]
    assert correlation(still, still, where) == pytest.approx(1)


def test_a_translation_comes_back_where_it_stays_in_the_frame() -> None:
    errors = round_trip_errors(constant(3, -2), constant(-3, 2))
    stays = np.zeros((10, 12), bool)
    stays[2:, :9] = True
    assert (errors[stays] == 0).all()
    assert np.isnan(errors[~stays]).all()
    # A way back that is off by (3, 4) ends 5 pixels from the start.
    np.testing.assert_allclose(round_trip_errors(constant(3, -2), constant(0, 6))[stays], 5)


def test_motion_back_is_read_between_pixels() -> None:
    backward = np.zeros((10, 12, 2), np.float32)
    backward[..., 0] = np.arange(12)
    errors = round_trip_errors(constant(0.25, 0), backward)
    np.testing.assert_allclose(errors[:, :11], np.broadcast_to(0.5 + np.arange(11), (10, 11)), atol=1e-6)
    # The frame ends half a pixel beyond the last centre; up to there it goes on as at that centre.
    np.testing.assert_allclose(errors[:, 11], 11.25)
    assert np.isnan(round_trip_errors(constant(0.5, 0), backward)[:, 11]).all()
    assert not np.isnan(round_trip_errors(constant(-0.5, 0), backward)).any()


@pytest.mark.parametrize("scale", [0.4, 3.0, 20.0])
def test_round_trips_equal_the_slow_version(scale: float) -> None:
    for seed in range(4):
        forward, backward = random_motion(seed, scale), random_motion(seed + 10, scale)
        expected = slow_round_trip(forward, backward)
        np.testing.assert_allclose(round_trip_errors(forward, backward), expected, atol=1e-9)
        assert np.isnan(expected).any() or scale < 1


def test_round_trips_without_a_number() -> None:
    forward = constant(0, 0)
    forward[4, 5], forward[6, 7] = math.nan, math.inf
    missing = np.isnan(round_trip_errors(forward, constant(0, 0)))
    assert np.argwhere(missing).tolist() == [[4, 5], [6, 7]]
    backward = constant(0, 0)
    backward[4, 5] = math.nan
    assert np.isnan(round_trip_errors(constant(0, 0), backward)[4, 5])


def test_risk_by_hand() -> None:
    errors = np.array([0.0, 1.0, 2.0, 3.0])
    good = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), errors)
    np.testing.assert_allclose(good.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(good.risk, [0, 0.5, 1, 1.5])
    assert (good.area, good.oracle, good.random) == (0.75, 0.75, 1.5)
    reversed_ = risk_coverage(np.array([0.6, 0.7, 0.8, 0.9]), errors)
    np.testing.assert_allclose(reversed_.risk, [3, 2.5, 2, 1.5])
    assert (reversed_.area, reversed_.oracle, reversed_.random) == (2.25, 0.75, 1.5)
    # The surest place is the worst one, and the others come in their order.
    np.testing.assert_allclose(risk_coverage(np.array([0.3, 0.2, 0.1, 0.9]), errors).risk, [3, 1.5, 4 / 3, 1.5])


def test_equal_certainty_is_no_order() -> None:
    errors = np.array([4.0, 0.0, 2.0, 6.0])
    same = risk_coverage(np.full(4, 0.5), errors)
    assert same.area == same.random == 3
    assert (same.risk == 3).all()
    # Two sure places with a mean of 2, then two with a mean of 4.
    np.testing.assert_allclose(risk_coverage(np.array([0.9, 0.9, 0.1, 0.1]), errors).risk, [2, 2, 8 / 3, 3])


def test_certainty_that_knows_nothing_has_the_area_of_a_random_order() -> None:
    rng = np.random.default_rng(0)
    found = risk_coverage(rng.random(100_000), rng.exponential(5.0, 100_000))
    assert found.random == pytest.approx(5, rel=0.02)
    assert found.area == pytest.approx(found.random, rel=0.05)
    # The integral of (1 / c) * (integral of -5 log(1 - u) for u up to c) for c up to 1.
    assert found.oracle == pytest.approx(5 * (2 - math.pi**2 / 6), rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_risks_equal_the_slow_version_and_no_order_beats_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    certainty, errors = rng.random(57), rng.exponential(2.0, 57)
    found, expected = risk_coverage(certainty, errors), slow_risks(certainty, errors)
    np.testing.assert_allclose(found.risk, expected)
    assert found.area == pytest.approx(np.mean(expected))
    assert found.oracle == pytest.approx(np.mean(slow_risks(-errors, errors)))
    assert found.oracle < found.area < risk_coverage(errors, errors).area
    assert found.risk[-1] == pytest.approx(found.random)
    # The order alone matters.
    again = risk_coverage(np.exp(3 * certainty) - 7, errors)
    np.testing.assert_allclose(again.risk, found.risk)


def test_points_of_a_curve() -> None:
    rng = np.random.default_rng(0)
    certainty, errors = rng.random(10).astype(np.float32), rng.random(10).astype(np.float32)
    whole, few = risk_coverage(certainty, errors), risk_coverage(certainty, errors, points=4)
    assert len(whole.risk) == 10
    np.testing.assert_allclose(few.coverage, [0.3, 0.5, 0.8, 1])
    np.testing.assert_allclose(few.risk, whole.risk[[2, 4, 7, 9]])
    assert few[2:] == whole[2:]


def test_risk_that_is_not_defined() -> None:
    some = np.ones(3)
    with pytest.raises(InputError, match="0 places"):
        risk_coverage(np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match="0 points"):
        risk_coverage(some, some, points=0)
    for wrong in (math.nan, math.inf):
        other = np.array([1.0, wrong, 1.0])
        for pair in ((some, other), (other, some)):
            with pytest.raises(InputError, match="not finite"):
                risk_coverage(*pair)


def test_jax_is_not_loaded() -> None:
    code = "import sys, munet_jax.evaluation.motion_quality; print([m for m in ('jax', 'flax') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture(scope="module")
def measure_motion() -> ModuleType:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("measure_motion", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_script(
    measure_motion: ModuleType, variables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that was never trained: its figures are bad, but they belong together."""
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    write_weights(weights, variables, testing.get_config(), 0)
    videos = SyntheticConfig(
        videos=2, frames=3, height=48, width=64, max_objects=2, distractors=1, leaving=0.0, min_occlusion=0.0
    )
    monkeypatch.setattr(measure_motion, "SETTINGS", {"moderate": videos})
    davis = make_davis(tmp_path / "davis", frames=12)
    (tmp_path / "some.txt").write_text("dog\n")
    given = [
        str(weights),
        "--davis",
        str(davis),
        "--list",
        str(tmp_path / "some.txt"),
        "--out",
        str(out),
        "--rows",
        "0",
    ]
    assert measure_motion.main(given) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "measured_motion_real.csv",
        "measured_motion_synthetic.csv",
        "reliability.jpg",
        "risk_coverage.jpg",
    ]
    rows = read(out / "measured_motion_synthetic.csv")
    assert [(row["motion"], row["pixels"]) for row in rows] == [("moderate", "all"), ("moderate", "objects")]
    for row in rows:
        assert float(row["area best order (px)"]) <= float(row["area by certainty (px)"])
        assert row["area random order (px)"] == row["mean error (px)"]
        assert float(row["mean error of no motion (px)"]) > 0
        assert -1 <= float(row["correlation"]) <= 1
        assert 0 <= float(row["calibration error"]) <= 1
        assert 0 <= float(row["largest gap of a bin"]) <= 1
    rows = read(out / "measured_motion_real.csv")
    assert [(row["pixels"], row["pairs of frames"]) for row in rows] == [("all", "2"), ("objects", "2")]
    for row in rows:
        assert float(row["area best order (px)"]) <= float(row["area by certainty (px)"])
        assert 0 < float(row["path stays in the frame"]) <= 1
        low, high = map(float, row["attention, 5 to 95 % of the pixels"].split(" to "))
        assert 0 <= low <= high <= 1


def test_chances_are_compared_with_what_happened() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 1, 40_000)
    happened = rng.uniform(0, 1, 40_000) < chance**2
    found = reliability(chance, happened, bins=5)
    for number in range(5):
        inside = (chance >= number / 5) & (chance < (number + 1) / 5)
        assert found.stated[number] == pytest.approx(chance[inside].mean())
        assert found.observed[number] == pytest.approx(happened[inside].mean())
        assert found.share[number] == pytest.approx(inside.mean())
    assert found.gap() == pytest.approx(0.25, abs=0.03)
    assert found.error == pytest.approx(1 / 6, abs=0.02)
    few = reliability(np.array([1.0] * 99 + [0.0]), np.array([True] * 100))
    assert (few.gap(), few.gap(least=0.001), few.error) == (0.0, 1.0, pytest.approx(0.01))
    for wrong in (np.zeros(0), np.array([1.1])):
        with pytest.raises(InputError, match="chance"):
            reliability(wrong, wrong > 2)


def test_figures_of_known_motion(measure_motion: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the network stands the truth for the upper half and a miss by 10 pixels, known as unsure, for the rest."""
    videos = SyntheticConfig(videos=1, frames=3, height=48, width=64, leaving=0.0, min_occlusion=0.0)

    def look(_: Any, source: Any, video: int, frame: int) -> Any:
        found, certainty = source.motion(video, frame)[0], np.ones((48, 64))
        found[24:] += (6, 8)  # less than a cell
        certainty[24:] = 0
        trip = np.full((48, 64), math.nan)
        trip[16:32] = 3
        return measure_motion.Seen(found, certainty, trip, source.labels(video, frame) > 0, *np.ones((2, 48, 64)))

    monkeypatch.setattr(measure_motion, "look", look)
    config = testing.get_config()
    (row, _), drawn = measure_motion.measure_synthetic(((), (), config), {"slow": videos})
    model, oracle, chances = drawn["slow"]
    assert (chances.stated.tolist(), chances.observed.tolist()) == ([1.0], [1.0])
    assert model.area == pytest.approx(model.oracle, abs=1e-6)
    assert model.area == pytest.approx(oracle.area, abs=1e-6)
    share = model.random / 10  # of what the frame before shows, the lower half's
    assert 0.3 < share < 0.7
    # Nothing up to 1 - share, then (c - (1 - share)) * 10 / c.
    assert model.area == pytest.approx(10 * (share + (1 - share) * math.log(1 - share)), rel=0.01)
    assert row["mean error (px)"] == f"{10 * share:.2f}"
    assert row["median round-trip error (px)"] == "3.00"
    config.inference.min_size = 96  # cells are half as large: a miss by 10 pixels is more than one
    chances = measure_motion.measure_synthetic(((), (), config), {"slow": videos})[1]["slow"].reliability
    assert chances.observed.tolist() == pytest.approx([1 - share])


def test_what_the_script_is_told_wrongly(measure_motion: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--davis"):
        measure_motion.main(["lite", "--list", "some.txt"])
    with pytest.raises(InputError, match="no such folder"):
        measure_motion.main(["lite", "--davis", str(tmp_path / "nothing")])
    with pytest.raises(InputError, match="no such file of weights"):
        measure_motion.main([str(tmp_path / "nothing.safetensors"), "--out", str(tmp_path)])
