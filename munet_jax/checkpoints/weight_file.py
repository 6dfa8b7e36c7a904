"""Weight files of the package: parameters, statistics and the config that they belong to, as one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from safetensors import SafetensorError, safe_open

from munet_jax.convert.tensor_files import SAFETENSORS, read_safetensors, write_safetensors
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten, nest

FORMAT = "munet_jax weights"
WEIGHTS_SUFFIX = SAFETENSORS
SHIPPED = Path(__file__).parents[1] / "pretrained"  # files that come with the package, known by their names
REMEDY = (
    "make one by: munet export-weights WORKDIR FILE.safetensors, or of STM's weights by munet convert, or name the ones that the "
    "package ships: lite, lite-1"
)


def find_weights(name_or_path: str | os.PathLike[str]) -> Path:
    """A file of the package by its name, such as 'lite'; a path as it is ('./lite' where something is called like that)."""
    name = os.fspath(name_or_path)
    shipped = SHIPPED / f"{name}{WEIGHTS_SUFFIX}"
    return shipped if os.path.basename(name) == name and shipped.is_file() else Path(name)  # noqa: PTH119 - './lite' is a path


def write_weights(
    path: Path, variables: dict[str, Any], config: ConfigDict, step: int, origin: Mapping[str, Any] | None = None
) -> None:
    """Write {'params', 'batch_stats'} with the config and the step that they come from.

    Args:
      path: the file.
      variables: parameters and statistics.
      config: of the network.
      step: 0 for weights that were not trained here.
      origin: of weights that were made elsewhere, for `read_origin`.

    Raises:
      InputError: the name does not end in .safetensors, or its folder does not exist.
    """
    if path.suffix != WEIGHTS_SUFFIX or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: weights are a {WEIGHTS_SUFFIX} file in a folder that exists")
    flat = {name: np.asarray(array, order="C") for name, array in flatten(variables).items()}
    described = {"format": FORMAT, "config": json.loads(config.to_json_best_effort()), "step": step}
    described |= {} if origin is None else {"origin": dict(origin)}
    write_safetensors(path, described, flat)


def read_weights(path: Path) -> tuple[dict[str, Any], ConfigDict, int]:
    """Variables and config of such a file, and the step that they come from.

    Raises:
      InputError: no such file, or one that `write_weights` did not write.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; {REMEDY}")
    described, flat = read_safetensors(path, "weights", REMEDY)
    if described.get("format") != FORMAT:
        found = f"holds a {described['format']}" if "format" in described else "holds no weights of munet_jax"
        raise InputError(f"{path}: {found}; {REMEDY}")
    try:
        config, step = config_of_json(described["config"]), int(described["step"])
        variables = {"params": {}, "batch_stats": {}} | nest(flat)
        config.model, config.inference  # noqa: B018 - a file without them is no network
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: its description is damaged ({error!r}); {REMEDY}") from error
    return variables, config, step


def read_origin(path: Path) -> dict[str, Any]:
    """What `write_weights` was told of weights that were made elsewhere; {} of others. `path` is a file of weights."""
    with safe_open(path, "numpy") as file:
        return _description(file).get("origin", {})


def is_weight_file(path: Path) -> bool:
    """Whether `write_weights` wrote a file; whatever else it may be."""
    try:
        with safe_open(path, "numpy") as file:
            return _description(file).get("format") == FORMAT
    except (SafetensorError, OSError, json.JSONDecodeError):
        return False


def _description(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("munet", "{}"))


def config_of_json(values: dict[str, Any]) -> ConfigDict:
    """A config from its JSON form, in which tuples have become lists."""

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: restored(inner) for name, inner in value.items()}
        return tuple(map(restored, value)) if isinstance(value, list) else value

    return ConfigDict(restored(values))
