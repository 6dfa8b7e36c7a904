"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from munet_jax.runtime.errors import InputError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.\w+")


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


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes a folder; what goes wrong with it or with the files written to it inside the block is one line.

    Raises:
      InputError: it cannot be made or written to, or a name in it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write to {folder}")
        yield
    except (OSError, UnicodeError) as error:
        raise InputError(f"{folder}: cannot be written to ({error}); name another folder, or free it") from error


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same out of a folder, which must exist; a process that dies lets go of it.

    Raises:
      InputError: another one has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another run is working here; wait for it, or name another folder") from error
        yield


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left in `folder` and below."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
