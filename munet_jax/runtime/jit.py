"""Compiling for the device at hand, and counting compilations: timings leave them out, tests forbid them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

CPU_OPTIONS = {
    # The default schedule starts whatever can start, and so keeps several times as much (docs/implementation.md).
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # It removes barriers: those that keep a map from being computed anew in each of its uses, and those that keep what
    # `model.remat` computes twice from being merged into one computation.
    "xla_disable_hlo_passes": "cse_barrier_expander",
}
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


class DeviceJit:
    """`jax.jit`, on CPUs with `CPU_OPTIONS`; which device there is shows at the first call, not before."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        """`options` are those of `jax.jit`."""
        self._function, self._options = function, options
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Run it."""
        return self.jitted(*arguments)

    @functools.cached_property
    def jitted(self) -> Any:
        """The jitted function."""
        options = CPU_OPTIONS if jax.default_backend() == "cpu" else None
        return jax.jit(self._function, compiler_options=options, **self._options)


def device_jit(**options: Any) -> Callable[[Callable[..., Any]], DeviceJit]:
    """`DeviceJit` as a decorator."""
    return lambda function: DeviceJit(function, **options)
