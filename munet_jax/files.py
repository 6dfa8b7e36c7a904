"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; the file written there becomes `path` when the block ends without an error.

    A reader, or a run that is killed and started again, so never meets half a file. The temporary name is hidden (it
    starts with a dot) and keeps the suffix, from which libraries such as Pillow tell the format. It is removed on an
    error. The folder must exist.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its own name
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
