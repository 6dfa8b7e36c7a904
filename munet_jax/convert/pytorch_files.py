"""PyTorch's weight files, `.pth` and `.safetensors`, as numpy arrays by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - gives numpy the type bfloat16, which safetensors may hold
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

PYTORCH_SUFFIXES = (".pth", ".pt")
SUFFIXES = (*PYTORCH_SUFFIXES, ".safetensors")
# Where training programs put the state dict beside other things.
NESTED = ("model", "state_dict")


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict; `.pth` needs the extra 'convert' and is never unpickled without limits.

    Raises:
      InputError: no such file, or one that cannot be read as named tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give PyTorch's weights ({', '.join(SUFFIXES)})")
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
        raise InputError(f"{path}: cannot be read as a state dict of plain tensors ({_reason(error)})") from error
    for name in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict (names and tensors); save model.state_dict() instead")
    return {name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in state.items()}


def _reason(error: Exception) -> str:
    """In a sentence: torch's own advice on unpickling is to run what is in the file."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged or no file of PyTorch, or it holds other things than tensors; none of its code was run"
    return str(error).split(". ")[0].splitlines()[0] if str(error) else "it is damaged"


def write_state_dict(state: Mapping[str, np.ndarray], path: Path) -> None:
    """Write what PyTorch loads with strict=True."""
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(dict(state), temporary)
        else:
            torch = import_torch(path)
            torch.save({name: torch.from_numpy(value) for name, value in state.items()}, temporary)


def check_target(path: Path, *suffixes: str) -> None:
    """Raises InputError where a file of these endings cannot be written to `path`."""
    if path.suffix not in suffixes or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give a file that ends in {' or '.join(suffixes)}, in a folder that exists")


def import_torch(path: Path) -> Any:
    """PyTorch, or the error that names its extra."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path}: {path.suffix} files need PyTorch: pip install 'munet_jax[convert]'") from error
    return torch
