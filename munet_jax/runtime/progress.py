"""How long work tells of its progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


class Progress(tqdm):
    """A bar on stderr, redrawn twice a second on a terminal and every 15 seconds in a log file.

    It takes what `tqdm` takes. The thread that tqdm starts beside its bars is off: a program with threads cannot fork.
    """

    monitor_interval = 0

    def __init__(self, items: Iterable[Any] | None = None, **options: Any) -> None:
        super().__init__(items, mininterval=0.5 if sys.stderr.isatty() else 15.0, **options)
