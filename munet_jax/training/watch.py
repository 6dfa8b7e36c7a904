"""Losses as they arrive, without making the devices wait; a run stops at the first that is not finite."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from munet_jax.data.clips import Part
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

# Steps whose losses the host leaves on the devices: it looks at step k when step k + LAG has been handed over.
LAG = 2


class Pending(NamedTuple):
    """A step that was handed to the devices."""

    number: int
    metrics: dict[str, jax.Array]  # of the first local device; all have the same
    batch: dict[str, np.ndarray]
    time: float  # when, by time.monotonic()


class Done(NamedTuple):
    """A step whose metrics are on the host, and when it was handed over."""

    number: int
    metrics: dict[str, float]
    time: float


class LossWatch:
    """A queue of steps under way; `add` and `drain` give the metrics of those that are done, in order."""

    def __init__(self, parts: Sequence[Part], workdir: Path) -> None:
        """`parts` name the clips; `workdir` takes the batch of a loss that is not finite."""
        self._parts, self._workdir = parts, workdir
        self._pending: collections.deque[Pending] = collections.deque()

    def add(self, number: int, metrics: dict[str, Any], batch: dict[str, np.ndarray]) -> list[Done]:
        """Take the metrics of the step that was just started, and its clips; give the metrics that are old enough.

        That waits for step `number - LAG`, with `LAG` newer ones under way: the host is never further ahead, and the
        devices never without work.
        """
        own = {name: value.addressable_shards[0].data for name, value in metrics.items()}
        for value in own.values():
            value.copy_to_host_async()
        self._pending.append(Pending(number, own, batch, time.monotonic()))
        return self._take(LAG)

    def drain(self) -> list[Done]:
        """The metrics of all steps; waits for the devices."""
        return self._take(0)

    def _take(self, left: int) -> list[Done]:
        done = []
        while len(self._pending) > left:
            step = self._pending.popleft()
            # The array first, then its only value: taking that on the device would wait for all steps under way.
            values = {name: float(np.asarray(value)[0]) for name, value in step.metrics.items()}
            if not math.isfinite(values["loss"]):
                raise InputError(self._report(step, values["loss"]))
            done.append(Done(step.number, values, step.time))
        return done

    def _report(self, step: Pending, loss: float) -> str:
        suffix = f"_process{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self._workdir / f"not_finite_step{step.number}{suffix}.npz"
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **step.batch)  # type: ignore[arg-type]
        return (
            f"the loss is {loss} at step {step.number}, of the clips {', '.join(self._clips(step.batch))}; the batch is in "
            f"{path}; the checkpoints are of steps before; lower config.optimizer.learning_rate, or set clip_norm"
        )

    def _clips(self, batch: dict[str, np.ndarray]) -> list[str]:
        names = []
        for part, video, start in zip(batch["part"], batch["video"], batch["start"], strict=True):
            source = self._parts[int(part)].source
            shown = source.video(int(video))
            frame = "" if shown.still else f" from frame {shown.frame_names[shown.annotated[int(start)]]}"
            names.append(f"{source.name}/{shown.name}{frame}")
        return names
