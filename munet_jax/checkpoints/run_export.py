"""A run's network in one file (`munet export-weights`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import NEWEST
from munet_jax.checkpoints.restore import INIT_FROM, began_with
from munet_jax.checkpoints.runs import config_of_run, trained_variables, without_places
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.models.matcher import with_scores_multiplied
from munet_jax.runtime.errors import InputError


def export_weights(
    workdir: Path, target: Path, step: int | str = NEWEST, *, start_share: float = 0.0, score_factor: float = 1.0
) -> int:
    """Write the parameters, statistics and config of a run to one file.

    Args:
      workdir: the training run.
      target: the .safetensors file.
      step: of the checkpoint, or 'newest' or 'best'.
      start_share: of the parameters that the run began with in a weighted mean with those that it has, in [0, 1).
      score_factor: what the memory's scores are then multiplied by, through the keys; above 0.

    Returns:
      The step.

    Raises:
      InputError: a number is out of range; there is no such run or checkpoint, what it began with is not there or was random, or
        the target cannot be written.
    """
    check_numbers(start_share, score_factor)
    config = config_of_run(workdir)
    variables, found = trained_variables(config, workdir, step)
    if start_share:
        variables = with_share_of_start(config, variables, workdir, start_share)
    if score_factor != 1:
        variables = variables | {"params": with_scores_multiplied(variables["params"], score_factor)}
    write_weights(target, variables, without_places(config), found)
    return found


def check_numbers(start_share: float, score_factor: float) -> None:
    """Refuse shares and factors that mean nothing."""
    if not 0 <= start_share < 1:
        raise InputError(f"--start-share is {start_share}; give a share of the mean, from 0 to less than 1")
    if not 0 < score_factor < math.inf:
        raise InputError(f"--score-factor is {score_factor}; give a number above 0")


def with_share_of_start(config: ConfigDict, variables: dict[str, Any], workdir: Path, share: float) -> dict[str, Any]:
    """A mean of trained variables and those that their run began with; its score factor and opened attention included."""
    if config.train.start != INIT_FROM:
        raise InputError(
            f"--start-share: {workdir} has train.start {config.train.start!r}; only a run that began with another's "
            f"parameters ({INIT_FROM!r}) has a mean with them"
        )
    start, _ = began_with(config, variables)
    share_of_start, share_of_run = np.float32(share), np.float32(1 - share)
    return jax.tree.map(lambda x, y: share_of_run * np.asarray(x) + share_of_start * np.asarray(y), variables, start)
