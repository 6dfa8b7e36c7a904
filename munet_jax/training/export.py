"""From a training run to a file of weights, and from either to a network that can be used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.errors import InputError
from munet_jax.inference_options import fill_options
from munet_jax.models import MUNet, create_model
from munet_jax.training.checkpoints import NEWEST
from munet_jax.training.restore import trained_variables
from munet_jax.weights import config_of_json, find_weights, read_weights, write_weights

CONFIG_FILE = "config.json"
# Fields that say where things lie on the machine of the run: nobody else has them, and nobody else should read them.
PLACES = ("root", "data_dir", "init_from", "backbone")


def export_weights(workdir: Path, target: Path, step: int | str = NEWEST) -> int:
    """Write the parameters, statistics and config of a run to one file (`munet export-weights`).

    Args:
      workdir: the training run.
      target: the .safetensors file.
      step: of the checkpoint, or 'newest' or 'best'.

    Returns:
      The step.

    Raises:
      InputError: there is no such run or checkpoint, or the target cannot be written.
    """
    config = config_of_run(workdir)
    variables, found = trained_variables(config, workdir, step)
    write_weights(target, variables, without_places(config), found)
    return found


def without_places(config: ConfigDict) -> ConfigDict:
    """`config` without the names of folders and files of the run's machine."""
    config = config.copy_and_resolve_references()
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            config[name] = without_places(value)
        elif name in PLACES and isinstance(value, str):
            config[name] = ""
    return config


def load_weights(path: str | os.PathLike[str]) -> tuple[MUNet, dict[str, Any], ConfigDict]:
    """Model, variables and config (`munet_jax.load`) of a shipped name, of a file, or of a run's newest checkpoint."""
    path = find_weights(path)
    if path.is_dir():
        config = config_of_run(path)
        variables, _ = trained_variables(config, path)
    else:
        variables, config, _ = read_weights(path)
    fill_options(config)
    return create_model(config.model), variables, config


def config_of_run(workdir: Path) -> ConfigDict:
    """The config that a run left in its workdir."""
    path = workdir / CONFIG_FILE
    try:
        return config_of_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no config of a training run ({error}); name the --workdir of one") from error
