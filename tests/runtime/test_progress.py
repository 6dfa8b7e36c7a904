"""Progress is told on stderr, and no thread tells it."""

from __future__ import annotations

import threading

import pytest

from munet_jax.runtime.progress import Progress


def test_a_log_file_gets_few_lines_and_no_thread_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = threading.active_count()
    with Progress(total=3, desc="work", unit="frame") as bar:
        assert threading.active_count() == threads
        assert bar.mininterval == 15.0
        bar.update(3)
    assert list(Progress(range(2), desc="more")) == [0, 1]
    told = capsys.readouterr().err
    assert "work: 100%" in told
    assert "more: 100%" in told
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert Progress(total=1, disable=True).disable
    with Progress(total=1) as bar:
        assert bar.mininterval == 0.5
