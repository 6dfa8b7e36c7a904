"""SIGTERM and Ctrl-C as a question that a loop asks where it can stop without losing anything."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any, TypeVar

Flag = TypeVar("Flag", bound="StopFlag")


class StopFlag:
    """A context in which the named signals only raise a flag; outside the main thread, which alone hears them, nothing does."""

    def __init__(self, *signals: signal.Signals) -> None:
        """Nothing has come yet."""
        self.raised = False
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self: Flag) -> Flag:
        """Listen."""
        heard = self._signals if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.signal(number, self._listen) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the signals as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _listen(self, number: int, _: object) -> None:
        self.raised = True
        # A second one ends the program at once.
        signal.signal(number, self._before[signal.Signals(number)])
