"""Who makes training clips: how many threads and processes, and how such processes begin and end."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple, TypeVar

from absl import flags

from munet_jax.runtime.errors import InputError

T = TypeVar("T")

AUTOMATIC = -1
# A fifth of what a clip costs is Python's, which runs one thread of a process at a time: with more they wait for one another.
USEFUL_THREADS = 4
MOST_WORKERS = 48  # that are chosen: what eight of the fastest GPUs want (docs/clips.md)
BUFFERED = 2  # clips that a worker has ready
_STOP_SECONDS = 60.0  # that a worker goes on after SIGTERM, so that its parent can finish a step and save
_SHARED_MEMORY = Path("/dev/shm")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Crew(NamedTuple):
    """Who makes the clips of one process of a run.

    Attributes:
      workers: processes; 0 is the run's own.
      threads: of each of them; 0 makes each clip when it is asked for.
      cores: that this process may use.
    """

    workers: int
    threads: int
    cores: int

    def __str__(self) -> str:
        """As a run tells it at its start, such as '7 workers on 8 cores'."""
        who = _count(self.workers, "worker") if self.workers else _count(self.threads, "thread")
        each = f" with {self.threads} threads each" if self.workers and self.threads > 1 else ""
        return f"{who}{each} on {_count(self.cores, 'core')}"


def choose_crew(threads: int, workers: int, clip_bytes: int) -> Crew:
    """Fills in what is `AUTOMATIC` by the cores that this process may use; numbers that were given stay.

    Up to four cores, the threads of one process keep them busy. From five on there is a worker for every core but one,
    which is left to the run itself: at most `MOST_WORKERS`, and as many as have room for their clips in shared memory
    (a container of Docker's has 64 MB).

    Args:
      threads: of each process that makes clips.
      workers: processes that make clips.
      clip_bytes: size of a clip.

    Raises:
      InputError: a number below `AUTOMATIC`.
    """
    if min(threads, workers) < AUTOMATIC:
        raise InputError(
            f"config.data.threads and workers are {threads} and {workers}; {AUTOMATIC} follows the cores, 0 has none"
        )
    cores = count_cores()
    if workers == AUTOMATIC:
        wanted = (cores - 1) // max(1, threads) if cores > USEFUL_THREADS else 0
        workers = min(wanted, MOST_WORKERS, _room(clip_bytes))
    if threads == AUTOMATIC:
        threads = 1 if workers else min(cores, USEFUL_THREADS)
    return Crew(workers, threads, cores)


def count_cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where its container has a smaller share."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(bound, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or 'max': no limit
        return bound


def clip_bytes(length: int, size: tuple[int, int]) -> int:
    """Size of a clip as the loader makes it: colours, label and validity of each pixel."""
    return 5 * length * size[0] * size[1]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _room(clip: int) -> int:
    """Workers whose finished clips, and one on its way in each, fill half of the shared memory."""
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:  # macOS keeps shared memory elsewhere, without a limit of its own
        return MOST_WORKERS
    return status.f_blocks * status.f_frsize // 2 // (clip * (BUFFERED + 1))


def let_workers_start() -> None:
    """Let grain read its absl flags in a program, or a notebook, that has none of its own and parses none."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def close_at_exit(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same generator, closed when the program ends, where nobody did before: later, Python is half gone."""
    reference = weakref.ref(items)

    def close() -> None:
        left = reference()
        if left is not None:
            left.close()

    atexit.register(close)
    return items


def begin_worker(_index: int, _count: int) -> None:
    """Tie a worker to its parent: it ends when the parent does, whatever ended it, and not before.

    Ctrl-C and a scheduler's SIGTERM reach all processes of a run; the run itself decides what to do about them.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave(seconds: float | None) -> None:
        parent.join(seconds)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=leave, args=(_STOP_SECONDS,), daemon=True).start())
    threading.Thread(target=leave, args=(None,), daemon=True).start()
