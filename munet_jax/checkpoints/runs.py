"""What a training run left: its config, the variables of a checkpoint, and one file of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import FOLDER, NEWEST, Checkpoints
from munet_jax.checkpoints.weight_file import config_of_json
from munet_jax.models.create import create_model, variable_shapes
from munet_jax.runtime.content import read_json, read_text
from munet_jax.runtime.errors import InputError

CONFIG_FILE = "config.json"
# Fields that say where things lie on the machine of the run: nobody else has them, and nobody else should read them.
PLACES = ("root", "data_dir", "init_from", "backbone", "teacher")


def config_of_run(workdir: Path) -> ConfigDict:
    """The config that a run left in its workdir."""
    path = workdir / CONFIG_FILE
    try:
        config = config_of_json(json.loads(read_text(path)))
        config.model, config.inference  # noqa: B018 - a file without them is another program's
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: no config of a training run ({reason}); name the folder of one, the --workdir of train.py"
        ) from error
    return config


def changed_fields(workdir: Path, config: ConfigDict) -> list[str]:
    """Fields of a config that the run in a workdir had otherwise: 'config.train.steps was 6 and is 8'; [] without a run."""
    path = workdir / CONFIG_FILE
    if not path.is_file():
        return []
    before, now = (_fields(tree) for tree in (read_json(path, "remove it"), json.loads(config.to_json_best_effort())))
    names = [name for name in now if name in before and before[name] != now[name]]
    return [f"{name} was {json.dumps(before[name])} and is {json.dumps(now[name])}" for name in names]


def _fields(tree: Any, name: str = "config") -> dict[str, Any]:
    """{'config.train.steps': 6, ...} of a config as JSON."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {path: value for key, inner in tree.items() for path, value in _fields(inner, f"{name}.{key}").items()}


def trained_variables(config: ConfigDict, workdir: Path, step: int | str = NEWEST) -> tuple[dict[str, Any], int]:
    """Parameters and statistics of a checkpoint (a step, 'newest' or 'best') for `model.apply`, and its step.

    Raises:
      InputError: no checkpoint there, or one of another model than `config` describes.
    """
    variables, found, _ = stored_variables(workdir, step, variable_shapes(create_model(config.model))["params"])
    return variables, found


def stored_variables(
    workdir: Path, step: int | str = NEWEST, params: Any = None
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    """The variables of a checkpoint, its step, and what is written beside it: names, shapes and checksums of all leaves.

    Args:
      workdir: of the run.
      step: which, or 'newest' or 'best'.
      params: arrays or shapes that its parameters must have; None takes them as they are.

    Raises:
      InputError: no checkpoint there, one of another model, or a damaged one.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"no checkpoints in {workdir}; train first: python train.py --config ... --workdir {workdir}")
    checkpoints = Checkpoints(workdir)
    try:
        variables, found = checkpoints.restore_variables(params, step)
        return variables, found, checkpoints.described(found)
    finally:
        checkpoints.close()


def without_places(config: ConfigDict) -> ConfigDict:
    """`config` without the names of folders and files of the run's machine."""
    config = config.copy_and_resolve_references()
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            config[name] = without_places(value)
        elif name in PLACES and isinstance(value, str):
            config[name] = ""
    return config
