"""From a workdir to a trained model's variables, without the training around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from munet_jax.errors import InputError
from munet_jax.models import create_model
from munet_jax.training.checkpoints import FOLDER, Checkpoints
from munet_jax.training.step import abstract_batch, create_variables


def trained_variables(config: ConfigDict, workdir: Path, step: int | None = None) -> tuple[dict[str, Any], int]:
    """Parameters and statistics of a checkpoint (default: the newest) for `model.apply`, and its step.

    Raises:
      InputError: no checkpoint there, or one of another model than `config` describes.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"no checkpoints in {workdir}; train first: python train.py --config ... --workdir {workdir}")
    batch = abstract_batch(config, config.train.batch_size)
    shapes = jax.eval_shape(lambda: create_variables(create_model(config.model), batch, seed=0))
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_variables(shapes["params"], step)
    finally:
        checkpoints.close()
