"""From a workdir to a trained model's variables, without the training around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from munet_jax.errors import InputError
from munet_jax.models import create_model
from munet_jax.training.checkpoints import FOLDER, Checkpoints
from munet_jax.training.loop import abstract_batch
from munet_jax.training.optimizer import create_optimizer
from munet_jax.training.step import TrainState, create_state


def state_template(config: ConfigDict) -> TrainState:
    """Shapes and dtypes of a run's state; nothing is computed."""
    model = create_model(config.model)
    # The state's structure does not depend on the rate.
    optimizer = create_optimizer(config.optimizer, lambda _: 0.0)
    batch = abstract_batch(config, config.train.batch_size)
    return jax.eval_shape(lambda: create_state(model, optimizer, batch, seed=0))


def trained_variables(config: ConfigDict, workdir: Path, step: int | None = None) -> tuple[dict[str, Any], int]:
    """Parameters and statistics of a checkpoint (default: the newest) for `model.apply`, and its step.

    Raises:
      InputError: no checkpoint there, or one of another model.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"no checkpoints in {workdir}; train first: python train.py --config ... --workdir {workdir}")
    checkpoints = Checkpoints(workdir)
    try:
        state = checkpoints.restore(state_template(config), step)
    finally:
        checkpoints.close()
    return {"params": state.params, "batch_stats": state.batch_stats}, int(state.step)
