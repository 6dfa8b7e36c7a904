"""Writing results in a thread while the next ones are computed: the mirror of `prefetch`."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable
from types import TracebackType
from typing import Any

ROOM = 2  # tasks that wait: each holds a frame's result


class Writer:
    """Runs tasks one after the other in a thread; of a task that fails the error is raised at the next call.

    The tasks after one that failed are not run, so that nothing is written beyond a gap. Who ends by another error still gets
    what was handed over written.

    Attributes:
      done: how many tasks have ended well.
      failed: whether one has not.
    """

    def __init__(self, room: int = ROOM) -> None:
        """Nothing to do yet; `add` waits while `room` tasks do."""
        self.done, self.failed = 0, False
        self._room = room
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._waiting: collections.deque[concurrent.futures.Future[None]] = collections.deque()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for all tasks."""
        with self._pool:
            if error is None:
                self.finish()

    def add(self, task: Callable[[], Any]) -> None:
        """Have a task run after those before it; raises what an earlier one raised."""
        while self._waiting and (len(self._waiting) > self._room or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._run, task))

    def finish(self) -> None:
        """Wait until everything is done; raises what a task raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def _run(self, task: Callable[[], Any]) -> None:
        if self.failed:
            return
        try:
            task()
        except BaseException:
            self.failed = True
            raise
        self.done += 1
