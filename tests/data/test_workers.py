"""Threads and processes that make clips: how many, and that they come and go with the program."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from munet_jax.data import workers
from munet_jax.data.clips import ClipOptions
from munet_jax.data.loader import Part, make_loader
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.data.workers import AUTOMATIC, Crew, choose_crew, clip_bytes
from munet_jax.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
CLIP = clip_bytes(6, (400, 400))
PROGRAM = """
    import sys, time
    from munet_jax.data.clips import ClipOptions
    from munet_jax.data.loader import Part, make_loader
    from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource

    def open_loader(**options):
        source = SyntheticSource(SyntheticConfig(videos=4, frames=6, height=32, width=32))
        return make_loader([Part(source)], ClipOptions(3, (32, 32), 2), batch_size=2, seed=0, **options)
"""


@pytest.mark.parametrize(
    ("cores", "threads", "expected_workers", "expected_threads"),
    [
        (1, AUTOMATIC, 0, 1),
        (2, AUTOMATIC, 0, 2),
        (4, AUTOMATIC, 0, 4),
        (5, AUTOMATIC, 4, 1),
        (16, AUTOMATIC, 15, 1),
        (16, 2, 7, 2),
        (2, 5, 0, 5),
        (200, AUTOMATIC, workers.MOST_WORKERS, 1),
    ],
)
def test_workers_and_threads_follow_the_cores(
    cores: int, threads: int, expected_workers: int, expected_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: cores)
    monkeypatch.setattr(workers, "_room", lambda _: 1000)
    assert choose_crew(threads, AUTOMATIC, CLIP) == Crew(expected_workers, expected_threads, cores)


def test_numbers_that_are_given_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 8)
    assert choose_crew(0, 0, CLIP) == Crew(0, 0, 8)
    assert choose_crew(3, 40, CLIP) == Crew(40, 3, 8)
    assert choose_crew(AUTOMATIC, 0, CLIP) == Crew(0, workers.USEFUL_THREADS, 8)
    assert choose_crew(AUTOMATIC, 2, CLIP) == Crew(2, 1, 8)
    assert str(Crew(0, 2, 8)) == "2 threads on 8 cores"
    assert str(Crew(7, 1, 8)) == "7 workers on 8 cores"
    assert str(Crew(3, 2, 8)) == "3 workers with 2 threads each on 8 cores"
    with pytest.raises(InputError, match="threads and workers are -1 and -3; -1 follows the cores, 0 has none"):
        choose_crew(AUTOMATIC, -3, CLIP)


def test_little_shared_memory_means_few_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 32)
    status = SimpleNamespace(f_blocks=64 * 1024, f_frsize=1024)  # what Docker gives a container
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    assert choose_crew(AUTOMATIC, AUTOMATIC, CLIP) == Crew(2, 1, 32)
    status.f_frsize = 16
    assert choose_crew(AUTOMATIC, AUTOMATIC, CLIP) == Crew(0, workers.USEFUL_THREADS, 32)


def test_a_containers_share_of_the_cores_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(workers, "_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert workers.count_cores() == 12
    for text, cores in (("max 100000", 12), ("350000 100000", 4), ("20000 100000", 1), ("9900000 100000", 12)):
        quota.write_text(text)
        assert workers.count_cores() == cores


def batches(**options: int) -> Iterator[dict[str, np.ndarray]]:
    source = SyntheticSource(SyntheticConfig(videos=4, frames=6, height=32, width=32))
    return make_loader([Part(source)], ClipOptions(3, (32, 32), 2), batch_size=2, seed=0, **options)


def test_workers_give_the_same_batches_and_a_lost_one_is_an_error() -> None:
    made = batches(workers=2, start_step=3)
    for expected, _ in zip(batches(threads=0, start_step=3), range(5), strict=False):
        found = next(made)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(InputError, match="exit code -9.*what it printed is above.*lower config.data.workers"):
        list(itertools.islice(made, 100))
    assert not multiprocessing.active_children()


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM) + textwrap.dedent(text))
    return [sys.executable, str(path)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_plain_program_may_have_workers(tmp_path: Path) -> None:
    result = run(
        program(tmp_path, 'if __name__ == "__main__":\n    print(next(open_loader(workers=1))["video"].tolist())')
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(next(batches(threads=0))["video"].tolist())


def test_a_notebook_may_have_workers() -> None:
    # As there, the main module has no file, and the loader is a variable of it until the end.
    text = textwrap.dedent(PROGRAM) + "loader = open_loader(workers=1)\nprint(next(loader)['video'].tolist())"
    result = run([sys.executable, "-c", text])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(next(batches(threads=0))["video"].tolist())


def test_a_program_without_a_guard_is_told_so(tmp_path: Path) -> None:
    result = run(program(tmp_path, "next(open_loader(workers=1))"))
    assert result.returncode != 0
    assert (
        'A script that starts workers has its work under `if __name__ == "__main__":`' in result.stderr.splitlines()[-1]
    )


ENDLESS = """
    if __name__ == "__main__":
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests that run in the background ignore
        for number, _ in enumerate(open_loader(workers=2)):
            if number == 10:
                print("ready", flush=True)
            time.sleep(0.01)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads processes from /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_program(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        program(tmp_path, ENDLESS), cwd=ROOT, env=environment(), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    made = {child for child in children(process.pid) if b"spawn_main" in command_line(child)}
    assert len(made) == 2
    if number == signal.SIGINT:  # Ctrl-C reaches all processes of a terminal, a scheduler's SIGTERM those of a job
        for child in made:
            os.kill(child, signal.SIGTERM)
        time.sleep(1.0)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, number)
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # nothing of it is left to other tests
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == -number
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1  # the program's own
        # Python's tracker of shared memory, which ends later, may tell of a clip that was on its way and that it frees.
        own = [line for line in errors.splitlines() if "resource_tracker" not in line and line != "  warnings.warn("]
        assert own[-1] == "KeyboardInterrupt"
    deadline = time.monotonic() + 30
    while any(b"spawn_main" in command_line(child) for child in made):
        assert time.monotonic() < deadline, "workers are left over"
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
