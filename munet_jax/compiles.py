"""Counting XLA compilations, so that timings can leave them out and tests can forbid them."""

from __future__ import annotations

import jax

_BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"


class CompileCounter:
    """Counts every compilation of this process from its creation on; one per process is enough."""

    def __init__(self) -> None:
        """Start counting."""
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        del duration_secs  # named as jax names it
        self.count += event == _BACKEND_COMPILE


COMPILES = CompileCounter()
