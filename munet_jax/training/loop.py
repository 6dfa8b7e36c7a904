"""A training run: from a config and a workdir to checkpoints and a log."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import Checkpoints
from munet_jax.checkpoints.restore import Start
from munet_jax.runtime.atomic_files import exclusive, writing_to
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.training.distributed import StopRequest, from_writer, is_writer
from munet_jax.training.logs import MetricsLog, write_start
from munet_jax.training.parallel import compile_step, replicate, to_devices, unreplicate
from munet_jax.training.profile import StepTrace
from munet_jax.training.setup import Setup, check_not_past, first_state, open_batches, set_up
from munet_jax.training.step import TrainState
from munet_jax.training.validation import SCORE
from munet_jax.training.watch import Done, LossWatch

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def train(config: ConfigDict, workdir: Path, *, profile: bool = False) -> TrainState:
    """Train for `config.train.epochs` (or `steps`): from the newest checkpoint in `workdir`, else as `start_variables` says.

    Every process of a run calls it; one of them reads and writes the workdir.

    Args:
      config: a config of configs/.
      workdir: gets config.json, runs.jsonl, metrics.jsonl and checkpoints/.
      profile: whether to record some steps (munet_jax/training/profile.py), in the process that writes.

    Returns:
      The final state, on the host.

    Raises:
      InputError: something in the config, the data or the workdir is wrong, another run is at work there, or the loss is not
        finite.
      Stopped: SIGTERM came; the state is saved.
    """
    setup = set_up(config, workdir)
    state, start = first_state(setup)
    with own_workdir(workdir) if is_writer() else contextlib.nullcontext():
        checkpoints = open_checkpoints(setup) if is_writer() else None
        try:
            if checkpoints is not None and checkpoints.latest_step() is not None:
                state = checkpoints.restore(state)
            state = from_writer(state)
            check_not_past(setup, int(state.step))
            first, replicas = int(state.step), replicate(state, jax.local_device_count())
            del state  # nobody keeps the first one: on the devices it would lie beside every later one
            return Run(setup, start, checkpoints, profile).go(replicas, first, open_batches(setup, first))
        finally:
            if checkpoints is not None:
                checkpoints.close()


def open_checkpoints(setup: Setup) -> Checkpoints:
    """Those of the workdir."""
    scored = setup.validation is not None
    return Checkpoints(setup.workdir, keep=setup.config.train.keep_checkpoints, scored=scored)


@contextlib.contextmanager
def own_workdir(workdir: Path) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it; a disk that fills up meanwhile is one line.

    Raises:
      InputError: it cannot be made or written to, there is no room any more, or another run is at work there.
    """
    with contextlib.ExitStack() as stack:
        with writing_to(workdir):
            stack.enter_context(exclusive(workdir))
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise InputError(
                f"{workdir}: cannot be written to ({error.strerror}); make room, and give the same command again: it goes on "
                "from the newest checkpoint"
            ) from error


@dataclasses.dataclass(frozen=True)
class Run:
    """The loop itself, and what it does between steps.

    Attributes:
      setup: what the run is made of.
      start: where its parameters come from; None in a process that does not write.
      checkpoints: likewise.
      profile: whether to record some steps.
    """

    setup: Setup
    start: Start | None
    checkpoints: Checkpoints | None
    profile: bool = False

    def go(self, replicas: TrainState, first: int, batches: Iterator[dict[str, np.ndarray]]) -> TrainState:
        """Train from a replicated state after step `first`, which is given up, to the last step.

        The devices wait for the host only where it saves, and there no longer than a copy of the state takes.
        """
        total = self.setup.length.steps
        if self.start is not None:
            write_start(self.setup.config, self.setup.workdir, first, self.setup.length, self.start)
        folder = self.setup.workdir if is_writer() else None
        watch = LossWatch(self.setup.parts, self.setup.workdir)
        devices, compiled = jax.local_device_count(), None
        with (
            MetricsLog(folder, first, self.setup.length, tensorboard=self.setup.config.train.tensorboard) as log,
            StopRequest() as stop,
            contextlib.closing(to_devices(batches, devices, total - first)) as waiting,
            contextlib.ExitStack() as stack,
        ):
            tracing = self.profile and is_writer()
            trace = stack.enter_context(StepTrace(self.setup.workdir, first, total)) if tracing else None
            log.announce(self.setup.config, self.setup.parts, replicas, self.start)
            for number, (clips, batch) in enumerate(log.watch(waiting), start=first + 1):
                compiled = compiled or compile_step(self.setup.step, replicas, batch)
                if trace is not None:
                    trace.before(number)
                replicas, metrics = compiled(replicas, batch)
                if trace is not None:
                    trace.after(number, metrics)
                self._log(log, watch.add(number, metrics, clips))
                if self.checkpoints is not None:
                    self.checkpoints.check()
                stopping = stop.agreed(number)
                if stopping or number == total or self._is_due(number):
                    self._log(log, watch.drain())  # a state whose loss is not finite is not saved
                    state = unreplicate(replicas)
                    self._save(state, log, validate=not stopping)
                if stopping and number < total:
                    raise Stopped(
                        f"stopped at step {number} of {total}, which is saved; the same command goes on from it"
                    )
        return unreplicate(replicas)

    def _is_due(self, number: int) -> bool:
        every = (self.setup.config.train.checkpoint_every, self.setup.config.train.validate_every)
        return any(interval and number % interval == 0 for interval in every)

    def _log(self, log: MetricsLog, done: list[Done]) -> None:
        for number, metrics, moment in done:
            if number % self.setup.config.train.log_every == 0 or number == self.setup.length.steps:
                log.record(number, metrics | {"learning_rate": float(self.setup.schedule(number - 1))}, moment)

    def _save(self, state: TrainState, log: MetricsLog, *, validate: bool) -> None:
        """Score the held-out videos if it is time, and save; in the process that writes."""
        if self.checkpoints is None:
            return
        number, score = int(state.step), None
        if validate and self.setup.validation is not None and number % self.setup.config.train.validate_every == 0:
            scores, pictures = self.setup.validation.score(state)
            log.record_validation(number, scores, pictures)
            score = scores[SCORE]
        self.checkpoints.save(state, score)
