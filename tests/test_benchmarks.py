"""The benchmarks run and say what docs/performance.md takes from them; how long anything takes is no test."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import predicted
from docs.tools import make_performance
from tests.data.trees import make_davis

ROOT = Path(__file__).parents[1]


def run(program: str, *options: str) -> Any:
    result = subprocess.run(
        [sys.executable, f"benchmarks/{program}.py", *options],
        cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(result.stdout)


def test_frames_of_both_policies_and_convolutions() -> None:
    measured = run(
        "inference", "--networks", "lite", "--sizes", "128x96", "--objects", "1", "--memory", "3", "--frames", "2",
        "--policies", "every_k", "adaptive", "--convolutions", "winograd", "direct",
    )  # fmt: skip
    assert measured["ceiling_gflops"]["convolution"] > 0
    assert [(case["policy"], case["convolutions"]) for case in measured["cases"]] == [
        ("every_k", "winograd"), ("every_k", "direct"), ("adaptive", "winograd"), ("adaptive", "direct"),
    ]  # fmt: skip
    for case in measured["cases"]:
        assert case["seconds"] >= case["predict_step"]["seconds"] > 0
        assert case["predict_step"]["gflop"] > 0.1


def test_the_figure_has_a_line_for_each_thing_that_varies(tmp_path: Path) -> None:
    usual = {
        "network": "lite",
        "size": "854x480",
        "objects": 1,
        "memory": 5,
        "policy": "every_k",
        "convolutions": "winograd",
        "max_size": 0,
    }
    changes = [
        {},
        {"objects": 3},
        {"size": "427x240"},
        {"objects": 3, "size": "427x240"},
        {"policy": "adaptive", "memory": 9},
        {"size": "1280x720", "max_size": 320},
    ]
    cases = [{**usual, **change, "seconds": 1.0 + number} for number, change in enumerate(changes)]
    assert make_performance.lines([cases, cases[1:2]], "objects", ("every_k",)) == {"light": [(1, 1.0), (3, 2.0)]}
    (name, points), *others = make_performance.lines([cases[:1], cases], "size", ("every_k", "adaptive")).items()
    assert (name, others) == ("light", [])  # one point is no line
    assert points == [(pytest.approx(0.102, abs=1e-3), 3.0), (pytest.approx(0.41, abs=1e-3), 1.0)]
    make_performance.write_table(tmp_path / "table.csv", cases)
    assert (tmp_path / "table.csv").read_text().splitlines()[2] == "lite,854x480,3,5,every_k,winograd,0,2.0"


def test_waiting_and_not_waiting() -> None:
    measured = run("overlap", "--size", "64x48", "--frames", "6", "--rounds", "1", "--weights", "tiny")
    assert 0 < measured["labels"]["share"] <= 1
    assert min(measured["writing"].values()) > 0


@pytest.mark.slow
def test_parts() -> None:
    measured = run("parts", "--size", "128x96", "--frames", "1", "--networks", "lite", "--repeats", "1")
    assert len(measured["seconds"]) == 7
    assert min(measured["seconds"].values()) > 0
    assert measured["compile_seconds"]["lite"]["no cache"] > measured["compile_seconds"]["lite"]["warm cache"]
    assert measured["start_seconds"]["munet --help"] > 0


def test_predictions_take_the_longer_of_arithmetic_and_memory() -> None:
    device = predicted.Device(f32=10, half=40, memory=1000, link=100)
    arithmetic, traffic = predicted.Cost(gflop=4000, gbyte=1), predicted.Cost(gflop=4, gbyte=1000)
    assert predicted.seconds(arithmetic, device, half=False) == pytest.approx(1.0)
    assert predicted.seconds(arithmetic, device, half=True) == pytest.approx(0.25)
    assert predicted.seconds(traffic, device, half=False) == pytest.approx(1.0)
    assert predicted.seconds(traffic, device, half=True) == pytest.approx(0.5)
    assert predicted.reduction_seconds(1.0, device, 8) == pytest.approx(2 * 7 / 8 / 100)
    assert predicted.reduction_seconds(1.0, device, 64) == pytest.approx(2 * 63 / 64 / predicted.NETWORK)


@pytest.mark.slow
def test_predictions_of_the_papers_network() -> None:
    found = run("predicted", "--size", "128x96", "--objects", "1", "--config", "davis2016_small", "--clips", "2")
    query = found["frames"]["1"]["predict"]
    assert query["gflop"] > 5
    assert set(found["frames"]["1"]["frames_per_second"]) == set(predicted.DEVICES)
    assert (
        0 < found["training"]["H100 SXM, half"]["scaling to 64"] < found["training"]["H100 SXM, half"]["scaling to 8"]
    )


@pytest.mark.slow
def test_training_on_one_and_two_devices() -> None:
    one, two = run("training", "--config", "testing", "--batch", "2", "--steps", "1")
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    assert one["gflop"] == pytest.approx(two["gflop"], rel=0.05)


def test_crews_of_the_loader_take_turns(tmp_path: Path) -> None:
    make_davis(tmp_path, frames=12)
    options = ["--size", "32", "--turns", "1", "--batches", "2", "--crews", "0,2", "1,1"]
    measured = run("loader", "--data-root", str(tmp_path), *options)
    assert [(crew["workers"], crew["threads"]) for crew in measured["crews"]] == [(0, 2), (1, 1)]
    for crew in measured["crews"]:
        assert crew["best_clips_per_second"] == crew["clips_per_second"] > 0
        assert min(crew["core_ms_per_clip"], crew["first_batch_seconds"], measured["decode_core_ms_per_clip"]) > 0


@pytest.mark.parametrize("program", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_finds_what_it_imports(program: str) -> None:
    """Those that take minutes are run by nobody for weeks."""
    assert importlib.import_module(f"benchmarks.{program}").__doc__
