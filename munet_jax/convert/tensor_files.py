"""Safetensors files from anywhere, and those of this package with what they are and a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - gives numpy the type bfloat16, which safetensors may hold
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.content import refuse_impostor
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import cannot_read

SAFETENSORS = ".safetensors"
PYTORCH_SUFFIXES = (".pth", ".pt")
# Files of this package say in an entry of their metadata what they are, and there in an entry how to know that they are whole.
_DESCRIPTION, _CHECKSUM = "munet", "crc32"


def read_safetensors(path: Path, what: str, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a safetensors file says of itself (nothing where this package did not make it), and its tensors by name.

    Args:
      path: an existing file.
      what: it should be, such as 'weights'.
      remedy: what to do where it is not.

    Raises:
      InputError: it is a pointer, a web page or empty, another kind of file, or damaged.
    """
    refuse_impostor(path)
    if path.suffix in PYTORCH_SUFFIXES:
        raise InputError(f"{path}: is a file of PyTorch, not {what} in a {SAFETENSORS} file; {remedy}")
    try:
        with safe_open(path, "numpy") as file:
            described = json.loads((file.metadata() or {}).get(_DESCRIPTION, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        described = described if isinstance(described, dict) else {}
    except PermissionError as error:
        raise InputError(f"{path}: {cannot_read(error)}") from error
    # By what is damaged; and numpy lacks types that other programs' files have.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as {what} ({reason}); {remedy}") from error
    if _CHECKSUM in described and described.pop(_CHECKSUM) != _checksum(described, tensors):
        raise InputError(f"{path}: is damaged: it does not hold what was written; copy or download it again")
    return described, tensors


def write_safetensors(path: Path, described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors with what they are, as JSON, and a checksum of both; the file appears whole or not at all."""
    plain = json.loads(json.dumps(described))
    checked = plain | {_CHECKSUM: _checksum(plain, tensors)}
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata={_DESCRIPTION: json.dumps(checked)})


def _checksum(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> int:
    """CRC-32 of everything in a file."""
    crc = zlib.crc32(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
    return crc
