"""PyTorch's weight files, `.pth` and `.safetensors`, as numpy arrays by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from munet_jax.convert.tensor_files import PYTORCH_SUFFIXES, SAFETENSORS, read_safetensors
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.content import refuse_impostor
from munet_jax.runtime.errors import InputError

SUFFIXES = (*PYTORCH_SUFFIXES, SAFETENSORS)
# Where training programs put the state dict beside other things.
NESTED = ("model", "state_dict")


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict; `.pth` needs the extra 'convert' and is never unpickled without limits.

    Raises:
      InputError: no such file, or one that cannot be read as named tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give PyTorch's weights ({', '.join(SUFFIXES)})")
    if path.suffix == SAFETENSORS:
        return read_safetensors(path, "a state dict", "download it again, or give the .pth file")[1]
    if path.suffix not in PYTORCH_SUFFIXES:
        raise InputError(f"{path}: weights end in {', '.join(SUFFIXES)}")
    refuse_impostor(path)
    torch = import_torch(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the zip or pickle reader does
        raise InputError(f"{path}: cannot be read as a state dict of plain tensors ({_reason(error)})") from error
    for name in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not _is_state_dict(state, torch):
        parts = (
            [name for name, value in state.items() if _is_state_dict(value, torch)]
            if isinstance(state, Mapping)
            else []
        )
        inside = f" but has one inside, {parts[0]!r}; save that alone" if parts else "; save model.state_dict() instead"
        raise InputError(f"{path}: holds no state dict (names and tensors){inside}")
    try:
        return {name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in state.items()}
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{path}: has sparse or quantised tensors ({error}); save plain ones") from error


def _is_state_dict(value: Any, torch: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(x, torch.Tensor) for x in value.values())


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
