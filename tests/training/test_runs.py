"""Whole runs through the command line: resume, kill, evaluation, and how bad input ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.testing import get_config
from munet_jax.checkpoints.runs import trained_variables
from munet_jax.data.masks import read_mask
from munet_jax.training.loop import own_workdir
from tests.quick_compile import QUICK

ROOT = Path(__file__).parents[2]
PROGRAMS = os.environ["MUNET_TEST_PROGRAMS"]  # of conftest.py
CONFIG = ["--config", "configs/testing.py"]
ENVIRONMENT = {**os.environ, "XLA_FLAGS": QUICK, "PYTHONPATH": str(ROOT)}  # one device
# Some twenty runs compile the same programs: the first does it for all.
ENVIRONMENT |= {"JAX_COMPILATION_CACHE_DIR": PROGRAMS, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False)


def losses(workdir: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of configs/testing.py, with its evaluation."""
    workdir = tmp_path_factory.mktemp("run") / "finished"
    result = run("train.py", *CONFIG, "--workdir", str(workdir))
    assert result.returncode == 0, result.stderr
    assert "first mask copied" in result.stdout
    assert str(workdir / "evaluation" / "results.json") in result.stdout
    return workdir


def test_a_run_leaves_log_config_masks_scores_and_pictures(finished: Path) -> None:
    assert sorted(losses(finished)) == [1, 2, 3, 4, 5, 6]
    assert json.loads((finished / "config.json").read_text())["train"]["steps"] == 6
    results = json.loads((finished / "evaluation" / "results.json").read_text())
    assert results["step"] == 6
    assert {"J", "F", "J&F", "sequences", "fps", "device", "first_mask_copy"} <= set(results)
    for name, sequence in results["sequences"].items():
        assert 0.0 <= sequence["J"] <= 1.0
        masks = sorted((finished / "evaluation" / "masks" / name).iterdir())
        assert [mask.name for mask in masks] == [f"{number:05d}.png" for number in range(6)]
        assert read_mask(masks[0]).shape == (64, 64)
    pictures = {path.name.split("_")[-1] for path in (finished / "evaluation" / "pictures").iterdir()}
    assert {"masks.png", "motion.png"} <= pictures
    assert any(name.endswith(".gif") for name in pictures)


def test_a_killed_run_that_is_resumed_equals_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    command = [sys.executable, "train.py", *CONFIG, "--workdir", str(workdir), "--config.train.steps=6"]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (workdir / "checkpoints" / "2").is_dir() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (workdir / "checkpoints" / "2").is_dir()
    before = len((workdir / "metrics.jsonl").read_text().splitlines())
    workdir.rename(moved)
    result = run("train.py", *CONFIG, "--workdir", str(moved), "--config.evaluation.after_training=False")
    assert result.returncode == 0, result.stderr
    assert "steps 1 to" not in result.stderr  # it went on, it did not start again
    assert before >= 2
    assert losses(moved) == losses(finished)


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    result = run("train.py", *CONFIG, "--workdir", str(tmp_path / "new"), "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "steps 1 to 6: 1.5 epochs of 8 clips" in result.stderr
    assert "starts from scratch: all " in result.stderr
    assert re.search(r"a step needs \d+\.\d\d GB of state and batch", result.stderr)
    assert re.search(r"at most \d+\.\d\d GB in this process\n.* s a step .*; 6 steps are left, ", result.stderr)
    assert not (tmp_path / "new").exists()
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    for options in ((), ("--dry-run",)):
        less = run("train.py", *CONFIG, "--workdir", str(finished), *options, "--config.train.steps=4")
        assert less.returncode == 2
        assert "is at step 6 already, and a run of 4 steps is asked for; raise config.train.steps" in error_line(less)
    again = run("train.py", *CONFIG, "--workdir", str(finished), "--dry-run", "--config.train.steps=8")
    assert "2 steps are left" in again.stderr, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_second_run_in_a_workdir_is_refused(finished: Path) -> None:
    before = (finished / "runs.jsonl").read_text()
    with own_workdir(finished):
        result = run("train.py", *CONFIG, "--workdir", str(finished), "--config.train.steps=7")
    assert result.returncode == 2
    assert f"{finished}: another run is working here" in error_line(result)
    assert (finished / "runs.jsonl").read_text() == before


def test_a_trace_of_some_steps_is_written(tmp_path: Path) -> None:
    few = [*CONFIG, "--config.evaluation.after_training=False", "--profile", "--workdir", str(tmp_path)]
    assert "--profile records steps 10 to 13 of a start, and 6 steps are left" in error_line(run("train.py", *few))
    result = run("train.py", *few, "--config.train.steps=14", "--config.train.bootstrap_warmup_steps=0")
    assert result.returncode == 0, result.stderr
    assert f"steps 10 to 13 are in {tmp_path / 'profile'}" in result.stderr
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert list((tmp_path / "profile").rglob("perfetto_trace.json.gz"))


def test_where_batches_are_made_changes_nothing(finished: Path, tmp_path: Path) -> None:
    options = [*CONFIG, "--config.evaluation.after_training=False", "--workdir", str(tmp_path)]
    result = run("train.py", *options, "--config.data.workers=2")
    assert result.returncode == 0, result.stderr
    assert losses(tmp_path) == losses(finished)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0.0 <= row["data_wait"] <= 1.0 for row in rows)


def test_fake_data_repeats_one_batch(finished: Path, tmp_path: Path) -> None:
    still = ["--config.optimizer.learning_rate=0.0", "--config.optimizer.schedule=constant", "--config.train.steps=3"]
    options = [*CONFIG, *still, "--config.evaluation.after_training=False", "--config.train.bootstrap_warmup_steps=0"]
    result = run("train.py", *options, "--config.data.fake=True", "--workdir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert len(losses(tmp_path)) == 3
    assert len(set(losses(tmp_path).values())) == 1  # nothing learned, nothing new to see


def test_a_run_that_starts_from_another_one_has_its_parameters(finished: Path, tmp_path: Path) -> None:
    still = ["--config.optimizer.learning_rate=0.0", "--config.optimizer.schedule=constant", "--config.train.steps=1"]
    options = [*CONFIG, *still, "--workdir", str(tmp_path / "new"), "--config.evaluation.after_training=False"]
    options.append("--config.train.start=init_from")
    line = error_line(run("train.py", *options, f"--config.train.init_from={tmp_path / 'nowhere'}"))
    assert f"no checkpoints in {tmp_path / 'nowhere'}" in line
    assert not (tmp_path / "new").exists()

    result = run("train.py", *options, f"--config.train.init_from={finished}")
    assert result.returncode == 0, result.stderr
    assert f"starts from init_from {finished} (sha256 " in result.stderr
    assert "no parameter is new" in result.stderr
    (theirs, _), (ours, step) = (trained_variables(get_config(), folder) for folder in (finished, tmp_path / "new"))
    assert step == 1
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)

    # Resumed: the run's own state goes before the other's, which need not be there any more.
    again = run("train.py", *options, "--config.train.steps=2", f"--config.train.init_from={tmp_path / 'nowhere'}")
    assert again.returncode == 0, again.stderr
    assert "steps 2 to 2" in again.stderr
    starts = [json.loads(line)["start"] for line in (tmp_path / "new" / "runs.jsonl").read_text().splitlines()]
    assert [start["kind"] for start in starts] == ["init_from", "checkpoint"]


def test_evaluate_scores_a_finished_run_again(finished: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "evaluation")
    result = run("evaluate.py", *CONFIG, "--workdir", str(workdir), "--step", "4", "--config.evaluation.pictures=0")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "evaluation" / "results.json").read_text())["step"] == 4
    assert not (workdir / "evaluation" / "pictures").exists()


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_a_checkpoint_of_another_model_is_refused_and_kept(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    for script in ("train.py", "evaluate.py"):
        line = error_line(run(script, *CONFIG, "--workdir", str(finished), "--config.model.key_dim=16"))
        assert "checkpoint" in line
        assert "another model" in line
        assert "--workdir" in line
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_a_config_key_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = run("train.py", *CONFIG, "--workdir", str(tmp_path / "new"), "--config.train.batchsize=4")
    assert "batchsize" in error_line(result)
    line = error_line(run("train.py", "--config", "configs/nope.py", "--workdir", str(tmp_path / "new")))
    assert "configs/nope.py" in line
    assert not (tmp_path / "new").exists()


def test_missing_data_checkpoint_and_folder_end_in_one_line(tmp_path: Path) -> None:
    davis = ["--config", "configs/davis2016_small.py", "--workdir", str(tmp_path / "new")]
    assert "--data-root" in error_line(run("train.py", *davis))
    assert str(tmp_path / "nowhere") in error_line(run("train.py", *davis, f"--data-root={tmp_path / 'nowhere'}"))
    line = error_line(run("evaluate.py", *CONFIG, "--workdir", str(tmp_path / "new")))
    assert "no checkpoints" in line
    assert "train.py" in line
    assert not (tmp_path / "new").exists()


def test_masks_are_written_for_every_frame_with_known_ids(finished: Path) -> None:
    for path in (finished / "evaluation" / "masks").rglob("*.png"):
        assert set(np.unique(read_mask(path))) <= {0, 1, 2}
