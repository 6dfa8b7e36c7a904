"""`train.py --profile`: what the devices and the host do in a few steps, for TensorBoard or Perfetto."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from munet_jax.runtime.errors import InputError

FOLDER = "profile"
FIRST, LAST = 10, 13  # of the steps of this start: those before compile and fill the queues


class StepTrace:
    """Records steps 10 to 13 after the start of a run."""

    def __init__(self, workdir: Path, first: int, total: int) -> None:
        """Of a run that goes on after step `first`, to step `total`; the trace is written below `workdir`.

        Raises:
          InputError: there are no so many steps left.
        """
        if total - first < LAST:
            raise InputError(
                f"--profile records steps {FIRST} to {LAST} of a start, and {total - first} steps are left"
            )
        self._folder, self._first = workdir / FOLDER, first
        self._running = False

    def __enter__(self) -> StepTrace:
        """Not recording yet."""
        return self

    def before(self, number: int) -> None:
        """Start to record, if this step is the first one."""
        if number == self._first + FIRST:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running = True

    def after(self, number: int, result: Any) -> None:
        """Wait for the last step's result, and write."""
        if self._running and number == self._first + LAST:
            jax.block_until_ready(result)
            self.__exit__()
            text = f"steps {self._first + FIRST} to {number} are in {self._folder}: tensorboard --logdir, or ui.perfetto.dev"
            tqdm.write(text, file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        """Write what there is, if a run ends early."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
