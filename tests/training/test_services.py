"""What a run has around its steps: validation, logs, stops, several processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import testing
from munet_jax.checkpoints.runs import trained_variables
from munet_jax.commands.scripts import EXIT_STOPPED
from munet_jax.data.loader import Part
from munet_jax.data.sources import create_parts, held_out_videos
from munet_jax.runtime.errors import InputError
from munet_jax.training import distributed
from munet_jax.training.watch import LAG, LossWatch
from tests.data.trees import memory_source
from tests.training.test_runs import CONFIG, ENVIRONMENT, ROOT, error_line, losses, run

QUIET = [*CONFIG, "--config.evaluation.after_training=False"]


def rows(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_held_out_videos_are_scored_and_not_trained_on() -> None:
    config = testing.get_config().data
    names = [create_parts(config)[0].source.video(index).name for index in range(4)]
    config.held_out = (names[1],)
    (part,) = create_parts(config)
    assert [part.source.video(index).name for index in range(len(part.source))] == [names[0], names[2], names[3]]
    held = held_out_videos(config)
    assert held is not None
    assert [held.video(index).name for index in range(len(held))] == [names[1]]
    config.held_out = ("nobody",)
    with pytest.raises(InputError, match="held_out: no training video is called 'nobody'"):
        create_parts(config)


def test_a_run_validates_logs_to_tensorboard_and_keeps_the_best(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    names = [create_parts(testing.get_config().data)[0].source.video(index).name for index in (1, 2)]
    options = ["--config.train.validate_every=2", f"--config.data.held_out=({names[0]!r}, {names[1]!r})"]
    result = run("train.py", *QUIET, *options, "--config.train.tensorboard=True", "--workdir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert ", made by 2 threads on " in result.stderr
    scores = {row["step"]: row["validation_J&F"] for row in rows(tmp_path) if "validation_J&F" in row}
    assert sorted(scores) == [2, 4, 6]
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept >= {4, 6}
    best = trained_variables(testing.get_config(), tmp_path, "best")[1]
    assert scores[best] == max(scores.values())
    assert {path.name for path in (tmp_path / "validation" / "masks").iterdir()} == set(names)
    assert list((tmp_path / "tensorboard").glob("events*"))
    (start,) = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert start["after_step"] == 0
    assert start["packages"]["jax"] == jax.__version__
    assert start["config"]["train"]["validate_every"] == 2
    assert start["devices"]
    training = [row for row in rows(tmp_path) if "loss" in row]
    assert {"learning_rate", "grad_norm", "steps_per_second", "data_wait", "memory_gb"} <= training[-1].keys()
    again = run("evaluate.py", *CONFIG, "--workdir", str(tmp_path), "--step=best", "--config.evaluation.pictures=0")
    assert again.returncode == 0, again.stderr
    assert f"step {best}" in again.stdout


def test_validation_without_held_out_videos_is_refused(tmp_path: Path) -> None:
    line = error_line(run("train.py", *QUIET, "--config.train.validate_every=2", "--workdir", str(tmp_path / "new")))
    assert "config.data.held_out" in line
    assert not (tmp_path / "new").exists()


def test_losses_are_looked_at_later_in_order_and_one_that_is_not_finite_names_its_clips(tmp_path: Path) -> None:
    source = memory_source()
    watch = LossWatch([Part(source)], tmp_path)
    batch = {"part": np.zeros(2, int), "video": np.array([0, 2]), "start": np.array([1, 3]), "frames": np.zeros((2, 3))}
    done = []
    for number, loss in enumerate([1.0, 2.0, 3.0, np.nan][: 2 + LAG], start=1):
        done += watch.add(number, {"loss": jnp.array([loss])}, batch)
    assert [(step.number, step.metrics["loss"]) for step in done] == [(1, 1.0), (2, 2.0)]
    with pytest.raises(InputError) as caught:
        watch.drain()
    message = str(caught.value)
    assert "the loss is nan at step 4" in message
    assert "memory/video0 from frame 00001, memory/video2 from frame 00003" in message
    with np.load(tmp_path / "not_finite_step4.npz") as saved:
        np.testing.assert_array_equal(saved["video"], [0, 2])


def test_a_run_whose_loss_is_not_finite_ends_and_keeps_its_good_checkpoint(tmp_path: Path) -> None:
    wild = [
        "--config.optimizer.learning_rate=1e30",
        "--config.optimizer.schedule=constant",
        "--config.optimizer.warmup_steps=0",
    ]
    line = error_line(run("train.py", *QUIET, *wild, "--config.train.checkpoint_every=1", "--workdir", str(tmp_path)))
    assert "the loss is nan at step " in line
    assert "synthetic" in line
    step = int(line.split("at step ")[1].split(",")[0])
    assert (tmp_path / f"not_finite_step{step}.npz").exists()
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) < step


def test_sigterm_ends_a_run_with_a_checkpoint_that_goes_on(tmp_path: Path) -> None:
    long = ["--config.train.steps=4000", "--config.train.checkpoint_every=4000", "--workdir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "train.py", *QUIET, *long, "--config.data.workers=1"],
        cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_lines(tmp_path, 3)
    os.killpg(process.pid, signal.SIGTERM)  # a scheduler's reaches the worker too
    _, errors = process.communicate(timeout=120)
    assert process.returncode == EXIT_STOPPED
    assert "stopped at step" in errors
    assert "Traceback" not in errors
    (saved,) = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert saved >= 3
    result = run("train.py", *QUIET, *long[1:], f"--config.train.steps={saved + 1}")
    assert result.returncode == 0, result.stderr
    assert f"steps {saved + 1} to {saved + 1}" in result.stderr


def wait_for_lines(workdir: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        path = workdir / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {count} lines in {workdir}")


def start_processes(
    workdir: Path,
    devices: Sequence[int],
    *options: str,
    own: Mapping[int, str] = MappingProxyType({}),
    script: str = "train.py",
) -> list[subprocess.Popen[str]]:
    """A run of one process per entry, each with that many CPU devices; `own` has an option of one process alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for number, count in enumerate(devices):
        flags = f"{ENVIRONMENT['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
        together = [f"--coordinator=127.0.0.1:{port}", f"--process-id={number}", f"--process-count={len(devices)}"]
        command = [sys.executable, script, *QUIET, *options, "--workdir", str(workdir)]
        command += [own[number]] if number in own else []
        command += together if len(devices) > 1 else []
        environment = {**os.environ, **ENVIRONMENT, "XLA_FLAGS": flags}
        processes.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    return processes


def finish(processes: list[subprocess.Popen[str]], code: int = 0) -> list[str]:
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), errors
    return errors


SGD_LIKE = ("--config.train.batch_size=4", "--config.train.steps=2", "--config.optimizer.learning_rate=1e-3")


@pytest.mark.slow  # five processes; the next test has two on every run
def test_two_processes_with_two_devices_equal_one_with_four(tmp_path: Path) -> None:
    finish(start_processes(tmp_path / "one", [4], *SGD_LIKE))
    finish(start_processes(tmp_path / "two", [2, 2], *SGD_LIKE))
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)
    (one, _), (two, step) = (trained_variables(testing.get_config(), tmp_path / name) for name in ("one", "two"))
    assert step == 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, two)
    # The state of four devices goes on with one, and that of two processes with one of four.
    more = ("--config.train.steps=3", *SGD_LIKE[:1], SGD_LIKE[2])
    finish(start_processes(tmp_path / "one", [1], *more))
    finish(start_processes(tmp_path / "two", [4], *more))
    assert losses(tmp_path / "one")[3] == pytest.approx(losses(tmp_path / "two")[3], rel=1e-4)


def test_sigterm_to_one_of_two_processes_stops_both_at_the_same_step(tmp_path: Path) -> None:
    options = ("--config.train.steps=4000", "--config.train.checkpoint_every=4000")
    processes = start_processes(tmp_path, [1, 1], *options)
    try:
        wait_for_lines(tmp_path, 3)
        processes[1].send_signal(signal.SIGTERM)
        errors = finish(processes, EXIT_STOPPED)
    finally:
        for process in processes:
            process.kill()
    steps = {
        line.split("at step ")[1].split(" ")[0] for text in errors for line in text.splitlines() if "stopped at" in line
    }
    assert len(steps) == 1
    assert (tmp_path / "checkpoints" / steps.pop()).is_dir()


def test_where_several_processes_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a[1-2]", "SLURM_NTASKS": "2"}
    assert distributed.in_cluster(slurm)
    assert distributed.in_cluster({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not distributed.in_cluster({})
    assert not distributed.in_cluster(slurm | {"SLURM_NTASKS": "1"})
    assert not distributed.in_cluster({"TPU_WORKER_HOSTNAMES": "a"})
    with pytest.raises(InputError, match="give all three or none"):
        distributed.start("a:1")
    with pytest.raises(InputError, match=r"--process-id is 2; it lies between 0 and --process-count \(2\)"):
        distributed.start("a:1", 2, 2)
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: calls.append(arguments))
    distributed.start("a:1", 1, 2)
    monkeypatch.setattr("os.environ", slurm)
    distributed.start()
    assert calls == [("a:1", 2, 1), ()]
