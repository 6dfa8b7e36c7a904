"""Several processes: an error, a kill, or a long evaluation in one of them ends all, each with its line."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from munet_jax.training import company
from munet_jax.training.company import Company
from tests.training.test_services import finish, start_processes, wait_for_lines

LONG = ("--config.train.steps=100000", "--config.train.checkpoint_every=100000")


class Store:
    """The part of the coordination service's client that is used."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite
        self.said[key] = value

    def key_value_dir_get(self, prefix: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in self.said.items() if key.startswith(prefix)]


@pytest.fixture
def endings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines by which processes end; their threads go on."""
    lines: list[str] = []
    monkeypatch.setattr(Company, "end", lambda self, line: (lines.append(line), self._left.set()))
    monkeypatch.setattr(company, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(company, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(company.jax.distributed, "shutdown", lambda: None)
    return lines


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_silent_process_is_missed_and_one_that_is_done_is_not(endings: list[str]) -> None:
    store = Store()
    first, second = (Company(store, number, 3) for number in (0, 1))
    first.watch()
    second.watch()
    store.said["munet/done/2"] = "yes"  # it has come to the end and waits there in silence
    time.sleep(0.6)
    assert not endings
    second._left.set()  # as if it were killed
    until(lambda: bool(endings))
    assert endings == ["process 1 of 3 is missing: no sign of life for 0 s"]


def test_an_error_is_told_to_the_others_and_waits_until_they_know(endings: list[str]) -> None:
    store = Store()
    first, second = (Company(store, number, 2) for number in (0, 1))
    first.watch()
    second.fail("no data there", 2)
    assert store.said["munet/heard/0"] == "yes"
    until(lambda: bool(endings))
    assert endings == ["process 1 of 2 ended: no data there"]


def test_process_0_whose_end_takes_the_store_away_ends_last(endings: list[str]) -> None:
    store = Store()
    first, second = (Company(store, number, 3) for number in (0, 1))
    store.said["munet/done/1"] = "yes"  # it may be silent
    first.watch()  # nobody hears of process 2
    until(lambda: "munet/heard/0" in store.said)
    time.sleep(0.2)
    assert not endings
    second.watch()
    until(lambda: len(endings) == 2)
    assert store.said["munet/missing/2"] == "yes"
    assert endings == ["process 2 of 3 is missing: no sign of life for 0 s"] * 2


def test_all_leave_together(endings: list[str]) -> None:
    store = Store()
    first, second = (Company(store, number, 2) for number in (0, 1))
    first.watch()
    store.said["munet/done/1"] = "yes"
    second._left.set()
    first.finish()
    first.service_is_gone()  # told too late to mean anything
    assert not endings


def lines_of(processes: list[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str]]:
    """Exit code and last line of the processes, which end in so many seconds."""
    deadline = time.monotonic() + seconds
    ended = []
    for process in processes:
        _, errors = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        ended.append(
            (process.returncode, [line for line in errors.splitlines() if "error: " in line or "Traceback" in line])
        )
    return [(code, "; ".join(lines)) for code, lines in ended]


@pytest.mark.parametrize("wrong", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_input_error_in_one_process_ends_both(wrong: int, tmp_path: Path) -> None:
    processes = start_processes(tmp_path / "run", [1, 1], own={wrong: "--config.data.kind=davis"})
    try:
        ended = lines_of(processes, 120)
    finally:
        for process in processes:
            process.kill()
    assert ended[wrong][0] == 2
    assert ended[wrong][1].startswith("error: no data root")
    assert ended[1 - wrong][0] == company.MISSING_CODE
    assert ended[1 - wrong][1].startswith(f"error: process {wrong} of 2 ended: no data root")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("killed", "count"),
    [(1, 2), (0, 2), pytest.param(3, 4, marks=pytest.mark.slow), pytest.param(0, 4, marks=pytest.mark.slow)],
)
def test_a_killed_process_is_named_by_the_others_within_a_minute(killed: int, count: int, tmp_path: Path) -> None:
    options = (*LONG, f"--config.train.batch_size={count}")
    processes = start_processes(tmp_path, [1] * count, *options)
    try:
        wait_for_lines(tmp_path, 3)
        processes[killed].send_signal(signal.SIGKILL)
        start = time.monotonic()
        ended = lines_of(processes, 60)
        print(f"\nall ended {time.monotonic() - start:.0f} s after process {killed} of {count} was killed")
    finally:
        for process in processes:
            process.kill()
    assert ended.pop(killed)[0] == -signal.SIGKILL
    for code, line in ended:
        assert code == company.MISSING_CODE
        assert line.startswith(f"error: process {killed} of {count} is missing")


SLOW_EVALUATION = """
import functools, runpy, sys, time
import jax
sys.path.insert(0, "")
import munet_jax.evaluation.run as run
evaluate = run.evaluate
def slow(*arguments, **options):
    time.sleep(40)
    return evaluate(*arguments, **options)
run.evaluate = slow
jax.distributed.initialize = functools.partial(jax.distributed.initialize, shutdown_timeout_seconds=15)
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.slow
def test_an_evaluation_may_take_longer_than_the_barrier(tmp_path: Path) -> None:
    script = tmp_path / "slow_evaluation.py"
    script.write_text(SLOW_EVALUATION)
    evaluated = "--config.evaluation.after_training=True"
    processes = start_processes(tmp_path / "run", [1, 1], evaluated, script=str(script))
    finish(processes)
    results = json.loads((tmp_path / "run" / "evaluation" / "results.json").read_text())
    assert results["step"] == 6


@pytest.mark.slow  # two processes; a dry run of one is among the quick tests
def test_a_dry_run_of_two_processes_is_told_once_and_writes_nothing(tmp_path: Path) -> None:
    workdir = tmp_path / "new"
    both = "\n".join(finish(start_processes(workdir, [1, 1], "--dry-run")))
    assert both.count("on each of 2 cpu devices of 2 processes") == 1
    assert both.count("nothing was written") == 1
    assert not workdir.exists()
