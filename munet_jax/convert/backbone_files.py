"""Weight files: PyTorch's `.pth` and `.safetensors`, and converted backbones, which are safetensors in our names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from munet_jax.convert.efficientnet import efficientnet_lite0_from_pytorch, is_efficientnet
from munet_jax.convert.resnet import resnet50_to_pytorch, resnet_from_pytorch
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

RESNET, EFFICIENTNET = FORMATS = ("munet_jax resnet", "munet_jax efficientnet_lite0")
PYTORCH_SUFFIXES = (".pth", ".pt")
SUFFIXES = (*PYTORCH_SUFFIXES, ".safetensors")


def convert(source: Path, target: Path, *, depth: int = 50, epsilon: float | None = None) -> None:
    """A PyTorch ResNet's or EfficientNet-Lite0's file -> a converted backbone (`munet convert`), by its names.

    Errors are those of reading and of the conversion; `depth` and `epsilon` are of a ResNet.
    """
    if target.suffix != ".safetensors" or not target.parent.is_dir():
        raise InputError(f"{target}: a converted backbone is a .safetensors file in a folder that exists")
    state = read_state_dict(source)
    if is_efficientnet(state):
        variables, described = efficientnet_lite0_from_pytorch(state), {"format": EFFICIENTNET}
    else:
        variables = resnet_from_pytorch(state, depth=depth, epsilon=epsilon)
        described = {"format": RESNET, "depth": str(depth)}
    flat = {"/".join(path): array for path, array in flatten_dict(variables).items()}
    with atomic_path(target) as temporary:
        save_file(flat, temporary, metadata={"munet": json.dumps(described)})


def convert_back(source: Path, target: Path) -> None:
    """A converted backbone -> a PyTorch state dict cut after layer3 (`munet convert --to-pytorch`)."""
    if target.suffix not in SUFFIXES or not target.parent.is_dir():
        raise InputError(f"{target}: give a file that ends in {' or '.join(SUFFIXES)}, in a folder that exists")
    variables, kind = read_backbone(source)
    if not kind.startswith("ResNet-"):
        raise InputError(f"{source}: is an {kind}; only a ResNet goes back to PyTorch")
    depth = int(kind.removeprefix("ResNet-"))
    state = resnet50_to_pytorch(variables, depth=depth)
    with atomic_path(target) as temporary:
        if target.suffix == ".safetensors":
            save_file(state, temporary)
        else:
            torch = import_torch(target)
            torch.save({name: torch.from_numpy(value) for name, value in state.items()}, temporary)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict as numpy arrays; `.pth` needs the extra 'convert' and is never unpickled without limits."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a PyTorch ResNet's weights ({', '.join(SUFFIXES)})")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from error
    if path.suffix not in PYTORCH_SUFFIXES:
        raise InputError(f"{path}: weights end in {', '.join(SUFFIXES)}")
    torch = import_torch(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the zip or pickle reader does
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a state dict of plain tensors ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict (names and tensors); save model.state_dict() instead")
    return {name: value.numpy() for name, value in state.items()}


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
    return unflatten_dict(flat, sep="/"), kind


def import_torch(path: Path) -> Any:
    """PyTorch, or the error that names its extra."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path}: {path.suffix} files need PyTorch: pip install 'munet_jax[convert]'") from error
    return torch
