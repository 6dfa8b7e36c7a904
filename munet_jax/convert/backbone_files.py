"""Converted backbones: safetensors in our names, which a run's encoders start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.convert.resnet import resnet_from_pytorch
from munet_jax.convert.tensor_files import read_safetensors, write_safetensors
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
    write_safetensors(target, described, flatten(variables))


def read_backbone(path: Path) -> tuple[dict[str, Any], str]:
    """Variables of a converted backbone, and what it is: 'ResNet-50', 'ResNet-18' or 'EfficientNet-Lite0'.

    Raises:
      InputError: no such file, or one that `munet convert` did not write.
    """
    remedy = "make it by: munet convert WEIGHTS.pth BACKBONE.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such backbone; {remedy}")
    described, flat = read_safetensors(path, "a converted backbone", remedy)
    if described.get("format") not in FORMATS or (described["format"] == RESNET and "depth" not in described):
        raise InputError(f"{path}: not a converted backbone; {remedy}")
    kind = f"ResNet-{described['depth']}" if described["format"] == RESNET else "EfficientNet-Lite0"
    try:
        return nest(flat), kind
    except (TypeError, AttributeError) as error:  # a name that is another one's folder
        raise InputError(f"{path}: not a converted backbone ({error}); {remedy}") from error
