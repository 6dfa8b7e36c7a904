"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import told_of

LOG = logging.getLogger("munet_jax")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.\w+")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; the file written there becomes `path` when the block ends without an error.

    A reader, or a run that is killed and started again, so never meets half a file. The temporary name is hidden (it
    starts with a dot), short whatever the file's own is, and keeps the suffix, from which libraries such as Pillow tell the
    format. It is removed on an error. The folder must exist.
    """
    temporary = path.with_name(f".half.{secrets.token_hex(6)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its own name
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong is the error that matters
            temporary.unlink()
        raise


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes a folder; what goes wrong with it or with the files written to it inside the block is one line.

    Raises:
      InputError: it cannot be made or written to, or a name in it cannot be.
    """
    with told_of(folder, "name another folder, or free it"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # asking for the permission does not find a read-only file system
            pass
        yield


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same out of a folder, which must exist; a process that dies lets go of it.

    Nothing is left in the folder.

    Raises:
      InputError: another one has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path, taken = folder / ".lock", f"{folder}: another run is working here; wait for it, or name another folder"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before may have taken its lock away after this one opened it.
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                raise InputError(taken)
        except BlockingIOError as error:
            raise InputError(taken) from error
        except OSError as error:  # some network shares know no locks
            LOG.warning("%s: cannot be locked (%s); see that no other run works here", folder, error.strerror)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left in `folder` and below."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
