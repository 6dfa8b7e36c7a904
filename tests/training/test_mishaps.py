"""What happens to a run that is left alone: a full disk, a stop while it saves, a clock that jumps back, a second run."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from configs import testing
from munet_jax.checkpoints import orbax_manager
from munet_jax.checkpoints.orbax_manager import Checkpoints
from munet_jax.data.sources import create_parts
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.training.length import Length
from munet_jax.training.loop import Run, own_workdir
from munet_jax.training.parallel import replicate
from munet_jax.training.setup import Setup
from munet_jax.training.step import TrainState
from tests.training.test_waiting import CLIPS, DEVICES, busy_step, host_state

Go = Callable[[], TrainState]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Twenty quick steps, of which every fifth is saved."""
    config = testing.get_config()
    config.train.update(log_every=1, checkpoint_every=5)
    monkeypatch.setattr(jax, "local_device_count", lambda: DEVICES)
    length, parts = Length(40, DEVICES, 20), create_parts(config.data)
    setup = Setup(config, tmp_path, parts, length, lambda _: 1e-3, None, busy_step(1), None)

    def run() -> TrainState:
        with own_workdir(tmp_path):
            checkpoints = Checkpoints(tmp_path, keep=9)
            try:
                batches = itertools.repeat(CLIPS)
                return Run(setup, None, checkpoints).go(replicate(host_state(), DEVICES), 0, batches)
            finally:
                checkpoints.close()

    return run


def saved(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def test_a_stop_that_comes_while_a_checkpoint_is_written_loses_nothing(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Checkpoints._write

    def stopped(self: Checkpoints, state: Any, score: float | None) -> None:
        if int(state.step) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        write(self, state, score)

    monkeypatch.setattr(Checkpoints, "_write", stopped)
    with pytest.raises(Stopped, match=r"stopped at step \d+ of 20, which is saved"):
        go()
    assert saved(tmp_path)[:2] == [5, 10]
    assert 10 <= saved(tmp_path)[-1] < 20


def test_a_disk_that_fills_up_is_one_line_and_the_checkpoints_before_stay(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10**9, 10**9, 100])
    usage = orbax_manager.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(orbax_manager.shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(
        InputError, match=r"checkpoints/15 cannot be written \(No space left on device: 0 MB are needed"
    ):
        go()
    assert saved(tmp_path) == [5, 10]


def test_a_clock_that_jumps_back_changes_nothing(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, jump = time.time, [0.0]

    def jumping() -> float:
        jump[0] += 3600.0
        return clock() - jump[0]

    monkeypatch.setattr(time, "time", jumping)
    assert int(go().step) == 20
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all(row["steps_per_second"] > 0 for row in rows)
    assert saved(tmp_path) == [5, 10, 15, 20]


def test_a_workdir_is_one_runs_and_must_be_writable(tmp_path: Path) -> None:
    with own_workdir(tmp_path), pytest.raises(InputError, match="another run is working here"), own_workdir(tmp_path):
        pass
    with own_workdir(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/run: cannot be written to"), own_workdir(tmp_path / "file" / "run"):
        pass
    with (
        pytest.raises(InputError, match=r"cannot be written to \(No space left on device\); make room"),
        own_workdir(tmp_path),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), own_workdir(tmp_path):
        raise FileNotFoundError(2, "of the data, not of the workdir")
