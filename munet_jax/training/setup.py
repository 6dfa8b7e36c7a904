"""What a run is made of, from its config: data, network, schedule, step, first state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.restore import Start, check_start, start_variables
from munet_jax.data.clips import Part, clip_options
from munet_jax.data.loader import count_clips, fake_loader, make_loader
from munet_jax.data.sources import create_parts, held_out_videos
from munet_jax.models import create_model
from munet_jax.models.initialisation import pytorch_initialised
from munet_jax.runtime.errors import InputError
from munet_jax.training.distributed import is_writer
from munet_jax.training.length import Length, run_length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.parallel import AXIS, check_batch_size
from munet_jax.training.step import TrainState, TrainStep, abstract_batch, create_state, make_train_step
from munet_jax.training.teacher import open_teacher
from munet_jax.training.validation import Validation


@dataclasses.dataclass(frozen=True)
class Setup:
    """What does not change during a run.

    Attributes:
      config: all of it.
      workdir: takes what the run leaves.
      parts: where its clips come from.
      length: its steps.
      schedule: learning rate by step.
      optimizer: with that schedule.
      step: the pure step, for devices along `AXIS`.
      validation: the look at held-out videos; None without.
    """

    config: ConfigDict
    workdir: Path
    parts: list[Part]
    length: Length
    schedule: Any
    optimizer: Any
    step: TrainStep
    validation: Validation | None


def set_up(config: ConfigDict, workdir: Path) -> Setup:
    """Open the data and make everything but the parameters; nothing is written.

    Raises:
      InputError: something in the config or the data is wrong.
    """
    if is_writer():
        check_start(config, workdir)
    check_batch_size(config.train.batch_size, jax.device_count(), config.train.accumulate)
    parts, model = create_parts(config.data), create_model(config.model)
    validation = open_validation(config, workdir)
    clips = config.data.epoch_clips or count_clips(parts, clip_options(config.data), stride=config.data.clip_stride)
    length = run_length(config.train, clips)
    schedule = create_schedule(config.optimizer, length)
    optimizer = create_optimizer(config.optimizer, schedule, freeze=tuple(config.train.freeze))
    step = make_train_step(model, optimizer, config.train, teacher=open_teacher(config.train), axis_name=AXIS)
    return Setup(config, workdir, parts, length, schedule, optimizer, step, validation)


def first_state(setup: Setup) -> tuple[TrainState, Start | None]:
    """The state before the first step, and where its parameters come from (None in a process that does not write).

    Raises:
      InputError: what the config starts from is not there, or does not fit the model.
    """
    config = setup.config
    batch = abstract_batch(config, config.train.batch_size // jax.device_count())
    model, average = create_model(config.model), config.train.ema_decay > 0
    state = create_state(model, setup.optimizer, batch, config.train.seed, ema=average)
    if config.model.initialisation == "pytorch":
        drawn = pytorch_initialised(state.params, config.train.seed)
        state = state.with_variables(state.variables | {"params": drawn})
    if not is_writer():
        return state, None
    variables, start = start_variables(config, state.variables, setup.workdir)
    return state.with_variables(variables), start


def check_not_past(setup: Setup, step: int) -> None:
    """Raises InputError where the workdir's newest checkpoint lies beyond the end of the run that is asked for."""
    if step > setup.length.steps:
        raise InputError(
            f"{setup.workdir}: is at step {step} already, and a run of {setup.length.steps} steps is asked for; raise "
            "config.train.steps (or epochs), or name another --workdir"
        )


def open_batches(setup: Setup, first: int) -> Iterator[dict[str, np.ndarray]]:
    """This process's batches, after those of the steps that are done."""
    config = setup.config
    batches = make_loader(
        setup.parts,
        clip_options(config.data),
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


def open_validation(config: ConfigDict, workdir: Path) -> Validation | None:
    """The held-out videos, where the config asks for a look at them."""
    if not config.train.validate_every:
        return None
    source = held_out_videos(config.data)
    if source is None:
        raise InputError(
            "config.train.validate_every needs videos: name some of the training data in config.data.held_out"
        )
    return Validation(config, create_model(config.model), source, workdir)
