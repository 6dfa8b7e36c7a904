"""A network that can be used, from a file of weights or from a training run (`munet_jax.load`)."""

from __future__ import annotations

import os
from typing import Any

from ml_collections import ConfigDict

from munet_jax.checkpoints.weight_file import find_weights, read_weights
from munet_jax.inference.options import fill_options
from munet_jax.models import MUNet, create_model


def load(name_or_path: str | os.PathLike[str]) -> tuple[MUNet, dict[str, Any], ConfigDict]:
    """Model, variables and config of a shipped name, of a file, or of a run's newest checkpoint.

    Fields of the config can be changed, but none be added: a misspelt one is refused.
    """
    path = find_weights(name_or_path)
    if path.is_dir():
        from munet_jax.checkpoints.runs import config_of_run, trained_variables  # Orbax takes seconds

        config = config_of_run(path)
        variables, _ = trained_variables(config, path)
    else:
        variables, config, _ = read_weights(path)
    fill_options(config)
    return create_model(config.model), variables, config.lock()
