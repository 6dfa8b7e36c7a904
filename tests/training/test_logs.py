"""What a run says about itself: waiting for data, who makes it, and where the code comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import testing
from munet_jax.checkpoints.restore import Start
from munet_jax.data.workers import Crew
from munet_jax.training import logs
from munet_jax.training.length import Length
from munet_jax.training.logs import WAIT_SECONDS, DataWait, MetricsLog, write_start

METRICS = {"loss": 1.0}


def windows(wait: DataWait, *shares: float) -> list[str | None]:
    """What is said after each window, of which these shares were spent waiting."""
    return [wait.add(share * WAIT_SECONDS, WAIT_SECONDS) for share in shares]


def test_a_stretch_of_waiting_is_one_warning() -> None:
    said = windows(DataWait(Crew(2, 1, 8)), 0.02, 0.09, 0.3, 0.9, 0.3, 0.05, 0.2, 0.2)
    assert [number for number, text in enumerate(said) if text] == [2, 6]
    assert said[2] == "30% of the time is spent waiting for data; raise config.data.workers (2 now, 8 cores)"


def test_the_start_of_the_workers_is_no_warning_but_what_follows_may_be() -> None:
    assert [text is not None for text in windows(DataWait(Crew(2, 1, 8)), 1.0, 0.05)] == [False, False]
    assert [text is not None for text in windows(DataWait(Crew(2, 1, 8)), 1.0, 1.0, 1.0)] == [False, True, False]


def test_short_moments_are_judged_together() -> None:
    wait = DataWait(Crew(2, 1, 8))
    windows(wait, 0.0)
    # One second in ten, all of it waiting: 10 % is not more than 10 %.
    assert [wait.add(1.0 if number % 10 == 0 else 0.0, 1.0) for number in range(60)] == [None] * 60
    said = [wait.add(1.0 if number % 5 == 0 else 0.0, 1.0) for number in range(60)]
    assert sum(text is not None for text in said) == 1


@pytest.mark.parametrize(
    ("crew", "remedy"),
    [
        (Crew(0, 1, 8), "raise config.data.threads (1 now, 8 cores)"),
        (Crew(0, 4, 8), "raise config.data.workers (0 now, 8 cores)"),
        (Crew(6, 1, 8), "raise config.data.workers (6 now, 8 cores)"),
        (Crew(7, 1, 8), "it is made by 7 workers on 8 cores: give the run more cores and raise config.data.workers"),
        (Crew(0, 1, 2), "raise config.data.threads (1 now, 2 cores)"),
        (Crew(0, 1, 1), "it is made by 1 thread on 1 core: give the run more cores"),
    ],
)
def test_the_warning_names_the_field_to_raise(crew: Crew, remedy: str) -> None:
    _, said = windows(DataWait(crew), 0.0, 0.5)
    assert said is not None
    assert said.split("; ")[1].startswith(remedy)


def test_a_log_warns_of_the_wait_that_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])

    def slow() -> Iterator[tuple[dict[str, np.ndarray], None]]:
        while True:
            clock[0] += 3.0  # until a batch is there
            yield {"skipped": np.zeros(1, np.int32)}, None

    with MetricsLog(tmp_path, 0, Length(100, 1, 100)) as log:
        log._wait = DataWait(Crew(2, 1, 8))  # as `announce` leaves it
        given = log.watch(slow())
        for step in range(1, 13):
            next(given)
            clock[0] += 7.0  # a step
            log.record(step, METRICS, clock[0])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["data_wait"] for row in rows] == [0.3] * 12
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        "warning: step 4: 30% of the time is spent waiting for data; raise config.data.workers (2 now, 8 cores)"
    ]


def test_a_checkout_that_is_not_installed_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PACKAGES", ("numpy", "munet_jax_that_nobody_installed"))
    with jax.default_matmul_precision("highest"):
        write_start(testing.get_config(), tmp_path, 0, Length(10, 1, 100), Start("scratch", random=("decoder/kernel",)))
    (start,) = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert start["start"] == {"kind": "scratch", "file": "", "sha256": "", "random": ["decoder/kernel"]}
    assert (start["steps"], start["epochs"], start["epoch_clips"]) == (100, 10.0, 10)
    assert start["packages"] == {"numpy": np.__version__, "munet_jax_that_nobody_installed": None}
    assert start["matmul_precision"] == "highest"
