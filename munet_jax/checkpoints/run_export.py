"""A run's network in one file (`munet export-weights`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import NEWEST
from munet_jax.checkpoints.restore import INIT_FROM, began_with
from munet_jax.checkpoints.runs import config_of_run, trained_variables, without_places
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.runtime.errors import InputError


def export_weights(workdir: Path, target: Path, step: int | str = NEWEST, *, mean_with_start: bool = False) -> int:
    """Write the parameters, statistics and config of a run to one file.

    Args:
      workdir: the training run.
      target: the .safetensors file.
      step: of the checkpoint, or 'newest' or 'best'.
      mean_with_start: write the mean of the run's parameters and those that it began with.

    Returns:
      The step.

    Raises:
      InputError: there is no such run or checkpoint, what it began with is not there or was random, or the target cannot be
        written.
    """
    config = config_of_run(workdir)
    variables, found = trained_variables(config, workdir, step)
    if mean_with_start:
        variables = with_mean_of_start(config, variables, workdir)
    write_weights(target, variables, without_places(config), found)
    return found


def with_mean_of_start(config: ConfigDict, variables: dict[str, Any], workdir: Path) -> dict[str, Any]:
    """The mean of trained variables and those that their run began with; its score factor and opened attention included."""
    if config.train.start != INIT_FROM:
        raise InputError(
            f"--mean-with-start: {workdir} has train.start {config.train.start!r}; only a run that began with another's "
            f"parameters ({INIT_FROM!r}) has a mean with them"
        )
    start, _ = began_with(config, variables)
    return jax.tree.map(lambda x, y: (np.asarray(x) + np.asarray(y)) / 2, variables, start)
