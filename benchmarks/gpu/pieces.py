"""A training state in files of limited size, for machines that take and give no larger ones."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

MOST_BYTES = 15_000_000  # of a file
INDEX = "state.json"


def save_pieces(state: Any, folder: Path, most: int = MOST_BYTES) -> list[Path]:
    """Write a tree of arrays; the index comes last, and says what belongs together."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))
    paths = []
    for number, start in enumerate(range(0, len(content), most)):
        paths.append(folder / f"state.{number:03d}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(content[start : start + most])
    with atomic_path(folder / INDEX) as temporary:
        facts = {"files": [path.name for path in paths], "bytes": len(content), "crc32": zlib.crc32(content)}
        temporary.write_text(json.dumps(facts))
    return [*paths, folder / INDEX]


def load_pieces(template: Any, folder: Path) -> Any:
    """The tree of what `save_pieces` wrote.

    Args:
      template: arrays or shapes of the same tree.
      folder: of the files.

    Raises:
      InputError: a file is missing, damaged, or of another tree.
    """
    try:
        facts = json.loads((folder / INDEX).read_text())
        content = b"".join((folder / name).read_bytes() for name in facts["files"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: holds no whole state ({error}); fetch all of its files") from error
    leaves, structure = jax.tree.flatten(template)
    if zlib.crc32(content) != facts["crc32"] or len(content) != sum(x.size * x.dtype.itemsize for x in leaves):
        raise InputError(f"{folder}: its state is damaged or of another network; fetch its files again")
    found, start = [], 0
    for leaf in leaves:
        end = start + leaf.size * leaf.dtype.itemsize
        found.append(np.frombuffer(content[start:end], leaf.dtype).reshape(leaf.shape))
        start = end
    return jax.tree.unflatten(structure, found)
