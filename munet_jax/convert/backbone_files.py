"""Converted backbones: safetensors in our names, which a run's encoders start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from munet_jax.convert.resnet import resnet_from_pytorch
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten, nest

RESNET, EFFICIENTNET = FORMATS = ("munet_jax resnet", "munet_jax efficientnet_lite0")


def convert_backbone(
    state: dict[str, np.ndarray], target: Path, *, depth: int = 50, epsilon: float | None = None
) -> None:
    """A PyTorch ResNet's or EfficientNet-Lite0's state dict -> a converted backbone, by its names.

    Errors are those of the conversion; `depth` and `epsilon` are of a ResNet.
    """
    from munet_jax.convert.efficientnet import efficientnet_lite0_from_pytorch, is_efficientnet  # loads JAX

    if is_efficientnet(state):
        variables, described = efficientnet_lite0_from_pytorch(state), {"format": EFFICIENTNET}
    else:
        variables = resnet_from_pytorch(state, depth=depth, epsilon=epsilon)
        described = {"format": RESNET, "depth": str(depth)}
    with atomic_path(target) as temporary:
        save_file(flatten(variables), temporary, metadata={"munet": json.dumps(described)})


def read_backbone(path: Path) -> tuple[dict[str, Any], str]:
    """Variables of a converted backbone, and what it is: 'ResNet-50', 'ResNet-18' or 'EfficientNet-Lite0'.

    Raises:
      InputError: no such file, or one that `munet convert` did not write.
    """
    remedy = "make it by: munet convert WEIGHTS.pth BACKBONE.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such backbone; {remedy}")
    try:
        with safe_open(path, "numpy") as file:
            described = json.loads((file.metadata() or {}).get("munet", "{}"))
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a converted backbone ({error}); {remedy}") from error
    if described.get("format") not in FORMATS:
        raise InputError(f"{path}: not a converted backbone; {remedy}")
    kind = f"ResNet-{described['depth']}" if described["format"] == RESNET else "EfficientNet-Lite0"
    return nest(flat), kind
