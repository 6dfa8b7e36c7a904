"""Results are written in a thread while the next ones are computed."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from munet_jax.data.masks import read_mask
from munet_jax.runtime.writer import ROOM, Writer

# Says how many masks are written, again and again, as a progress bar does.
PROGRAM = """
import pathlib, sys
import numpy as np
from munet_jax.data.masks import write_mask
from munet_jax.runtime.writer import Writer
folder = pathlib.Path(sys.argv[1])
labels = np.random.default_rng(0).integers(0, 4, (480, 854)).astype(np.uint8)
with Writer() as writer:
    for number in range(10_000):
        writer.add(lambda number=number: write_mask(folder / f"{number}.png", labels))
        print(writer.done, flush=True)
"""


def test_tasks_are_run_in_order_while_few_wait() -> None:
    written: list[int] = []
    go_on = threading.Event()

    def task(number: int) -> None:
        go_on.wait(10)
        written.append(number)

    with Writer() as writer:
        for number in range(ROOM + 1):  # one under way, the others wait
            writer.add(lambda number=number: task(number))
        assert (written, writer.done) == ([], 0)
        threading.Timer(0.05, go_on.set).start()
        writer.add(lambda: task(ROOM + 1))  # has to wait for the first
        assert written[:1] == [0]
        writer.finish()
        assert writer.done == ROOM + 2
    assert written == list(range(ROOM + 2))


def test_nothing_is_written_after_an_error_and_it_is_raised_once() -> None:
    written: list[int] = []

    def broken() -> None:
        raise OSError("the disk is full")

    def write(writer: Writer) -> None:
        with writer:
            writer.add(lambda: written.append(0))
            writer.add(broken)
            while True:
                writer.add(lambda: written.append(1))

    writer = Writer()
    with pytest.raises(OSError, match="full"):
        write(writer)
    assert (written, writer.done, writer.failed) == ([0], 1, True)
    writer.finish()
    with pytest.raises(OSError, match="full"), Writer() as writer:
        writer.add(broken)  # the last one


def test_another_error_costs_nothing_that_was_handed_over() -> None:
    written: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.02)
        written.append(number)

    def write() -> None:
        with Writer() as writer:
            for number in range(3):
                writer.add(lambda number=number: slow(number))
            raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        write()
    assert written == [0, 1, 2]


def test_a_process_that_is_killed_at_any_moment_has_written_what_it_told(tmp_path: Path) -> None:
    rng = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    for _ in range(4):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        told = [0, *map(int, process.communicate()[0].split())][-1]
        found = {int(path.stem): read_mask(path) for path in tmp_path.glob("[0-9]*.png")}  # all can be read
        assert set(found) >= set(range(told))
        for path in tmp_path.iterdir():
            path.unlink()
