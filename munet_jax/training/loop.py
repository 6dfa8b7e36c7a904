"""A training run: from a config and a workdir to checkpoints and a log."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import Checkpoints
from munet_jax.checkpoints.restore import Start, check_start, start_variables
from munet_jax.data.clips import ClipOptions
from munet_jax.data.loader import Part, count_clips, fake_loader, make_loader
from munet_jax.data.sources import create_parts, held_out_videos
from munet_jax.data.still_motion import StillMotionConfig
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.models import MUNet, create_model
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.training.distributed import StopRequest, from_writer, is_writer
from munet_jax.training.length import Length, run_length
from munet_jax.training.logs import MetricsLog, write_start
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.parallel import AXIS, check_batch_size, compile_step, replicate, to_devices, unreplicate
from munet_jax.training.step import TrainState, TrainStep, abstract_batch, create_state, make_train_step
from munet_jax.training.validation import SCORE, Validation
from munet_jax.training.watch import Done, LossWatch


def train(config: ConfigDict, workdir: Path) -> TrainState:
    """Train for `config.train.epochs` (or `steps`): from the newest checkpoint in `workdir`, else as `start_variables` says.

    Every process of a run calls it; one of them reads and writes the workdir.

    Args:
      config: a config of configs/.
      workdir: gets config.json, runs.jsonl, metrics.jsonl and checkpoints/.

    Returns:
      The final state, on the host.

    Raises:
      InputError: something in the config, the data or the workdir is wrong, or the loss is not finite.
      Stopped: SIGTERM came; the state is saved.
    """
    if is_writer():
        check_start(config, workdir)
    batch_size, freeze = config.train.batch_size, tuple(config.train.freeze)
    check_batch_size(batch_size, jax.device_count(), config.train.accumulate)
    parts, options = create_parts(config.data), clip_options(config.data)
    model = create_model(config.model)
    validation = open_validation(config, model, workdir)
    clips = config.data.epoch_clips or count_clips(parts, options, stride=config.data.clip_stride)
    length = run_length(config.train, clips)
    schedule = create_schedule(config.optimizer, length)
    optimizer = create_optimizer(config.optimizer, schedule, freeze=freeze)
    step = make_train_step(model, optimizer, config.train, axis_name=AXIS)
    batch = abstract_batch(config, batch_size // jax.device_count())
    state = create_state(model, optimizer, batch, config.train.seed, ema=config.train.ema_decay > 0)
    start = None
    if is_writer():
        variables, start = start_variables(config, state.variables, workdir)
        state = state.with_variables(variables)
        del variables
        workdir.mkdir(parents=True, exist_ok=True)
    keep, scored = config.train.keep_checkpoints, validation is not None
    checkpoints = Checkpoints(workdir, keep=keep, scored=scored) if is_writer() else None
    try:
        if checkpoints is not None and checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        replicas, first = replicate(from_writer(state), jax.local_device_count()), int(state.step)
        del state  # nobody keeps the first one: on the devices it would lie beside every later one
        run = Run(config, workdir, parts, length, schedule, start, checkpoints, validation)
        return run.go(step, replicas, first, open_batches(config, parts, options, first))
    finally:
        if checkpoints is not None:
            checkpoints.close()


def open_batches(
    config: ConfigDict, parts: list[Part], options: ClipOptions, first: int
) -> Iterator[dict[str, np.ndarray]]:
    """This process's batches, after those of the steps that are done."""
    batches = make_loader(
        parts,
        options,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        stride=config.data.clip_stride,
        start_step=first,
        threads=config.data.threads,
        workers=config.data.workers,
        on_error=config.data.on_error,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return fake_loader(batches) if config.data.fake else batches


def open_validation(config: ConfigDict, model: MUNet, workdir: Path) -> Validation | None:
    """The held-out videos, where the config asks for a look at them."""
    if not config.train.validate_every:
        return None
    source = held_out_videos(config.data)
    if source is None:
        raise InputError(
            "config.train.validate_every needs videos: name some of the training data in config.data.held_out"
        )
    return Validation(config, model, source, workdir)


@dataclasses.dataclass(frozen=True)
class Run:
    """The loop itself, and what it does between steps.

    Attributes:
      config: all of it.
      workdir: takes what the run leaves.
      parts: where its clips come from.
      length: its steps.
      schedule: learning rate by step.
      start: where its parameters come from; None in a process that does not write.
      checkpoints: likewise.
      validation: the look at held-out videos; None without.
    """

    config: ConfigDict
    workdir: Path
    parts: list[Part]
    length: Length
    schedule: Any
    start: Start | None
    checkpoints: Checkpoints | None
    validation: Validation | None

    def go(
        self, step: TrainStep, replicas: TrainState, first: int, batches: Iterator[dict[str, np.ndarray]]
    ) -> TrainState:
        """Train from a replicated state after step `first`, which is given up, to the last step.

        The devices wait for the host only where it saves, and there no longer than a copy of the state takes.
        """
        total = self.length.steps
        if self.start is not None:
            write_start(self.config, self.workdir, first, self.length, self.start)
        folder = self.workdir if is_writer() else None
        watch = LossWatch(self.parts, self.workdir)
        devices, compiled = jax.local_device_count(), None
        with (
            MetricsLog(folder, first, self.length, tensorboard=self.config.train.tensorboard) as log,
            StopRequest() as stop,
            contextlib.closing(to_devices(batches, devices, total - first)) as waiting,
        ):
            log.announce(self.config, self.parts, replicas, self.start)
            for number, (clips, batch) in enumerate(log.watch(waiting), start=first + 1):
                compiled = compiled or compile_step(step, replicas, batch)
                replicas, metrics = compiled(replicas, batch)
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
        every = (self.config.train.checkpoint_every, self.config.train.validate_every)
        return any(interval and number % interval == 0 for interval in every)

    def _log(self, log: MetricsLog, done: list[Done]) -> None:
        for number, metrics, moment in done:
            if number % self.config.train.log_every == 0 or number == self.length.steps:
                log.record(number, metrics | {"learning_rate": float(self.schedule(number - 1))}, moment)

    def _save(self, state: TrainState, log: MetricsLog, *, validate: bool) -> None:
        """Score the held-out videos if it is time, and save; in the process that writes."""
        if self.checkpoints is None:
            return
        number, score = int(state.step), None
        if validate and self.validation is not None and number % self.config.train.validate_every == 0:
            scores, pictures = self.validation.score(state)
            log.record_validation(number, scores, pictures)
            score = scores[SCORE]
        self.checkpoints.save(state, score)


def clip_options(config: ConfigDict) -> ClipOptions:
    """What `config.data` says about clips."""
    return ClipOptions(
        length=config.clip_length,
        size=tuple(config.size),
        max_objects=config.max_objects,
        augmentation=AugmentationConfig(**config.augmentation),
        still_motion=StillMotionConfig(**config.still_motion),
        max_skip=config.max_skip,
        min_pixels=config.min_pixels,
        composite=config.composite,
    )
