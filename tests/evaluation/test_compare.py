"""Comparing runs: differences worked out by hand, intervals against a plain bootstrap, and every kind of bad input."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munet_jax.evaluation import compare as module
from munet_jax.evaluation.compare import RunComparison, as_json, compare, describe, run_compare, verdict
from munet_jax.evaluation.results_json import read_results, write_results
from munet_jax.evaluation.scoring import SequenceScore, summarise
from munet_jax.runtime.errors import InputError
from tests.evaluation.test_results_json import AFTER, BEFORE, results, write


def only(runs: Mapping[str, Mapping[str, Any]], **options: Any) -> RunComparison:
    (run,) = compare(runs, **options).runs
    return run


def test_differences_by_hand():
    run = only({"A": results(BEFORE), "B": results(AFTER)})
    assert run.name == "B"
    assert list(run.sequences) == ["bear", "cows"]
    bear = run.sequences["bear"]
    assert [pair.difference for pair in bear.objects.values()] == pytest.approx([0.1, -0.1, 0.3])
    assert bear.mean == pytest.approx((0.4, 0.5))
    # Over the four objects, not over the two sequences, which would give 0.15.
    assert run.mean == pytest.approx((1.7 / 4, 2.2 / 4))
    assert run.mean.difference == pytest.approx(0.125)
    # Two draws of two sequences: bear twice 0.1, each once 0.125, cows twice 0.2; the ends have a quarter each.
    assert (run.low, run.high) == pytest.approx((0.1, 0.2))
    assert run.within_noise is False
    assert (run.compared, run.left_out) == ((4, 2), 0)


def test_any_number_of_the_objects_is_a_metric():
    run = only({"A": results(BEFORE), "B": results(AFTER)}, metric="J")
    assert run.mean.difference == pytest.approx(0.0625)
    assert only({"A": results(BEFORE), "B": results(AFTER)}, metric="F").mean.difference == 0


def test_every_other_run_is_compared_with_the_first():
    comparison = compare({"A": results(BEFORE), "B": results(AFTER), "C": results(BEFORE)})
    assert comparison.baseline == "A"
    assert [run.name for run in comparison.runs] == ["B", "C"]
    assert comparison.runs[0] == only({"A": results(BEFORE), "B": results(AFTER)})
    assert comparison.runs[1].mean.difference == 0


def test_a_run_against_itself():
    run = only({"A": results(BEFORE), "B": results(BEFORE)})
    assert (run.mean.difference, run.low, run.high, run.within_noise) == (0, 0, 0, True)
    sentence = verdict(compare({"A": results(BEFORE), "B": results(BEFORE)}), run)
    assert sentence == "within noise: B is level with A, and the 95 % interval 0.000 to 0.000 includes 0."


def test_runs_that_are_level_but_for_floating_point():
    # The differences of each video, 0.1, 0.2 and -0.3, are 0 in sum, but not as floats.
    before, after = (dict.fromkeys("abc", values) for values in ([0.1, 0.1, 0.4], [0.2, 0.3, 0.1]))
    run = only({"A": results(before), "B": results(after)})
    assert (run.mean.difference, run.low, run.high, run.within_noise) == (0, 0, 0, True)


def many(sequences: int, seed: int, effect: float | int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two runs over sequences of 1 to 4 objects, whose differences share a part within a sequence."""
    rng = np.random.default_rng(seed)
    before, after = {}, {}
    for k in range(sequences):
        base = rng.uniform(0.3, 0.9, rng.integers(1, 5))
        after[f"v{k}"] = (base + effect + rng.normal(0, 0.05) + rng.normal(0, 0.01, len(base))).tolist()
        before[f"v{k}"] = base.tolist()
    return results(before), results(after)


@pytest.mark.parametrize("block", [2**22, 70])  # all samples at once, and ten at a time
def test_interval_against_a_loop_over_the_same_draws(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    runs = dict(zip("AB", many(7, seed=3), strict=True))
    run = only(runs, samples=333, seed=11, confidence=0.9)
    differences = [[p.difference for p in s.objects.values()] for s in run.sequences.values()]
    means = []
    for counts in np.random.default_rng(11).multinomial(7, [1 / 7] * 7, size=333):
        sample = [d for values, count in zip(differences, counts, strict=True) for _ in range(count) for d in values]
        means.append(sum(sample) / len(sample))
    means.sort()

    def percentile(share: float) -> float:
        below = math.floor(share * 332)
        return means[below] + (share * 332 - below) * (means[below + 1] - means[below])

    assert run.low == pytest.approx(percentile(0.05), abs=1e-12)
    assert run.high == pytest.approx(percentile(0.95), abs=1e-12)


def test_interval_against_a_bootstrap_of_another_generator():
    run = only(dict(zip("AB", many(20, seed=5), strict=True)))
    differences = [[p.difference for p in s.objects.values()] for s in run.sequences.values()]
    drawer, means = random.Random(0), []
    for _ in range(4000):
        sample = [d for values in drawer.choices(differences, k=20) for d in values]
        means.append(sum(sample) / len(sample))
    low, high = np.quantile(means, [0.025, 0.975])
    # Percentiles of 4000 samples are sure to a few hundredths of the interval.
    assert (run.low, run.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_intervals_cover_the_truth_as_often_as_they_say():
    trials = 120
    covered = 0
    for seed in range(trials):
        run = only(dict(zip("AB", many(30, seed, effect=0.02), strict=True)), samples=400)
        covered += run.low <= 0.02 <= run.high
    # 95 % are promised; 30 sequences keep a little less, and 120 trials are sure to about 2 %.
    assert 0.87 <= covered / trials <= 0.99


def test_objects_of_one_video_are_no_independent_observations():
    # Ten copies of an object tell nothing new about other videos: the interval stays.
    single = [{f"v{k}": [v] for k, v in enumerate(values)} for values in ([0.5] * 6, [0.4, 0.6, 0.5, 0.7, 0.5, 0.6])]
    tenfold = [{name: values * 10 for name, values in run.items()} for run in single]
    few, lots = (only({"A": results(a), "B": results(b)}) for a, b in (single, tenfold))
    assert (few.low, few.high) == pytest.approx((lots.low, lots.high))


def test_seed_and_confidence():
    runs = dict(zip("AB", many(12, seed=1), strict=True))
    assert only(runs, seed=4) == only(runs, seed=4)
    assert only(runs, seed=4).low != only(runs, seed=5).low
    wide, narrow = only(runs, confidence=0.99), only(runs, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_objects_without_a_number_are_left_out_and_counted():
    before = results({"a": [0.5, None, 0.4], "b": [0.3], "c": [None]})
    after = results({"a": [0.6, 0.9, math.nan], "b": [0.5], "c": [0.8]})
    comparison = compare({"A": before, "B": after})
    (run,) = comparison.runs
    assert run.mean == pytest.approx((0.4, 0.55))
    assert (run.compared, run.left_out) == ((2, 2), 3)
    assert (run.low, run.high) == pytest.approx((0.1, 0.2))
    text = describe(comparison)
    assert "mean over 2 objects of 2 sequences" in text
    assert "note: 3 of 5 objects left out" in text
    assert text.splitlines()[text.splitlines().index("  1              –  0.800           –") - 1].split() == [
        "c",
        *"–––",
    ]


def test_one_sequence_has_no_interval():
    comparison = compare({"A": results({"bear": [0.5, 0.6]}), "B": results({"bear": [0.6, 0.9]})})
    (run,) = comparison.runs
    assert run.within_noise is None
    assert math.isnan(run.low)
    assert math.isnan(run.high)
    text = describe(comparison)
    assert "95 % interval: –" in text
    assert "B is 0.200 above A, without an interval: one sequence says nothing about others." in text
    assert as_json(comparison)["runs"][0]["interval"] is None


def test_text():
    text = describe(compare({"A": results(BEFORE), "the other": results(AFTER)}))
    assert text == "\n".join(
        [
            "the other against A: J&F, mean over 4 objects of 2 sequences (10000 bootstrap samples, seed 0)",
            "",
            "                 A  the other  difference",
            "bear         0.400      0.500      +0.100",
            "  1          0.600      0.700      +0.100",
            "  2          0.400      0.300      -0.100",
            "  3          0.200      0.500      +0.300",
            "cows         0.500      0.700      +0.200",
            "  1          0.500      0.700      +0.200",
            "all objects  0.425      0.550      +0.125  95 % interval: +0.100 to +0.200",
            "",
            "the other is 0.125 above A (95 % interval 0.100 to 0.200).",
            "note: intervals from so few sequences (2) are too narrow",
            "",
            "The intervals are about which videos were scored; another training seed is not in them.",
        ]
    )
    short = describe(compare({"A": results(BEFORE), "the other": results(AFTER)}), objects=False)
    assert short.splitlines()[3:6] == [line for line in text.splitlines()[3:10] if not line.startswith("  ")]


def test_verdicts():
    def said(after: Sequence[float], **options: Any) -> str:
        before = results({f"v{k}": [0.5] for k in range(len(after))})
        comparison = compare({"A": before, "B": results({f"v{k}": [v] for k, v in enumerate(after)})}, **options)
        return verdict(comparison, comparison.runs[0])

    assert said([0.4, 0.4, 0.4]) == "B is 0.100 below A (95 % interval -0.100 to -0.100)."
    assert said([0.4, 0.65], confidence=0.9).startswith("within noise: B is 0.025 above A, and the 90 % interval -0.1")
    # What is not 0 is not shown as 0.
    assert said([0.5002, 0.5002]) == "B is 0.0002 above A (95 % interval 0.0002 to 0.0002)."


def test_notes_on_few_sequences():
    for count, noted in ((9, True), (10, False)):
        text = describe(compare(dict(zip("AB", many(count, seed=0), strict=True))))
        assert ("too narrow" in text) == noted


def test_json():
    content = as_json(compare({"A": results(BEFORE), "B": results({"cows": [None], "bear": [0.7, 0.3, 0.5]})}))
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert {key: content[key] for key in ("baseline", "metric", "confidence", "samples", "seed")} == {
        "baseline": "A", "metric": "J&F", "confidence": 0.95, "samples": 10_000, "seed": 0
    }  # fmt: skip
    (run,) = content["runs"]
    assert (run["name"], run["objects_compared"], run["objects_left_out"]) == ("B", 3, 1)
    assert run["sequences"]["cows"] == {
        "baseline": None,
        "value": None,
        "difference": None,
        "objects": {"1": {"baseline": 0.5, "value": None, "difference": None}},
    }
    assert run["sequences"]["bear"]["objects"]["3"]["difference"] == pytest.approx(0.3)


def test_bad_options():
    runs = {"A": results(BEFORE), "B": results(AFTER)}
    with pytest.raises(InputError, match="not all runs have a metric 'IoU'; there are F, J, J&F"):
        compare(runs, metric="IoU")
    with pytest.raises(InputError, match="not all runs have a metric 'J'; there are F"):
        compare(runs | {"C": results({name: [None] * len(v) for name, v in BEFORE.items()})}, metric="J")
    with pytest.raises(InputError, match="no object has a J&F in both A and B"):
        compare({"A": results({"a": [None, 1]}), "B": results({"a": [1, None]})})
    with pytest.raises(InputError, match="two runs or more, the baseline first, not 1"):
        compare({"A": results(BEFORE)})
    with pytest.raises(InputError, match="samples is 99"):
        compare(runs, samples=99)
    with pytest.raises(InputError, match="seed is -1"):
        compare(runs, seed=-1)
    for confidence in (0, 1, 95, math.nan):
        with pytest.raises(InputError, match="confidence is"):
            compare(runs, confidence=confidence)


def test_what_scoring_writes_can_be_read_and_compared(tmp_path: Path):
    values = np.array([0.5, np.nan, 0.7])
    score = SequenceScore(("0", "1", "2"), {2: values, 10: values * np.nan}, {2: values, 10: values * np.nan})
    write_results(tmp_path / "results.json", summarise({"a": score, "b": score}))
    run = only({"A": read_results(tmp_path), "B": summarise({"a": score, "b": score})}, metric="J_decay")
    assert list(run.sequences["a"].objects) == ["2", "10"]
    assert (run.mean.difference, run.left_out) == (pytest.approx(0), 2)


def test_names_of_runs(tmp_path: Path, monkeypatch, capsys):
    write(tmp_path / "one/evaluation", results(BEFORE))
    write(tmp_path / "two", results(AFTER))
    write(tmp_path / "lr=3", results(AFTER))
    write(tmp_path, results(AFTER), "other.json")
    monkeypatch.chdir(tmp_path)
    paths = ["one", "two/results.json", "lr=3", "other.json", "my=own", "mine=one/evaluation"]
    write(tmp_path / "own", results(AFTER))
    assert run_compare(paths, metric="J&F", samples=100, seed=0, json_path=None) == 0
    told = capsys.readouterr().out
    for name in ("two", "lr=3", "other", "my", "mine"):
        assert f"{name} against one: J&F" in told
    assert "  1 " in told
    monkeypatch.chdir(tmp_path / "one/evaluation")
    run_compare([".", "../../two"], samples=100, objects=False)
    told = capsys.readouterr().out
    assert "two against one" in told
    assert "  1 " not in told


def test_bad_runs(tmp_path: Path):
    write(tmp_path / "one", results(BEFORE))
    one = str(tmp_path / "one")
    with pytest.raises(InputError, match="two runs are called one; give them names of their own, as NAME=PATH"):
        run_compare([one, f"{one}/results.json"])
    for text in (f"={one}", "name="):
        with pytest.raises(InputError, match=f"'{text}' is not a run; give it as PATH or NAME=PATH"):
            run_compare([one, text])
    with pytest.raises(InputError, match="nowhere: there is no such path"):
        run_compare([one, "B=nowhere"])


def test_json_file(tmp_path: Path, capsys):
    write(tmp_path / "one", results(BEFORE))
    write(tmp_path / "two", results(AFTER))
    runs = [str(tmp_path / "one"), str(tmp_path / "two")]
    path = tmp_path / "new.json"
    assert run_compare(runs, json_path=path) == 0
    assert capsys.readouterr().out.endswith(f"written:  {path}\n")
    content = json.loads(path.read_text())
    assert content["runs"][0]["difference"] == 0.125
    assert content["runs"][0]["interval"] == [0.1, 0.2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.json", "one", "two"]
    for wrong in (tmp_path, tmp_path / "no/new.json"):
        with pytest.raises(InputError, match="not a file in a folder that exists"):
            run_compare(runs, json_path=wrong)


def test_jax_is_not_loaded():
    code = "import sys, munet_jax.evaluation.compare; print([m for m in ('jax', 'flax') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
