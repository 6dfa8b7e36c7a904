"""What the operating system refuses, in words: no space, no permission, a read-only place, a name that is too long."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from munet_jax.runtime.errors import InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_ANOTHER = "name another place"
# By error number: what is the matter, and what to do.
_WORDS = {
    errno.ENOSPC: ("no space left", "free some"),
    errno.EDQUOT: ("no space left of your quota", "free some"),
    errno.EFBIG: ("the file is larger than the file system or a limit allows", _ANOTHER),
    errno.EROFS: ("the file system is read-only", _ANOTHER),
    errno.EACCES: ("no permission", f"{_ANOTHER}, or change who may use it"),
    errno.EPERM: ("no permission", f"{_ANOTHER}, or change who may use it"),
    errno.ENOENT: ("there is no such place, and none can be made", _ANOTHER),
    errno.ENOTDIR: ("a file is where a folder would have to be", _ANOTHER),
    errno.EEXIST: ("a file is where a folder would have to be", _ANOTHER),
    errno.EISDIR: ("a folder is where a file would have to be", _ANOTHER),
    errno.ENOTEMPTY: ("a folder is not empty", _ANOTHER),
    errno.ENAMETOOLONG: ("a name is longer than the file system takes", "shorten it"),
    errno.EINVAL: ("the file system does not take such a name or such a file", f"rename it, or {_ANOTHER}"),
    errno.EILSEQ: ("the file system does not take such a name", f"rename it, or {_ANOTHER}"),
    errno.ELOOP: ("links lead in a circle", _ANOTHER),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n"),
    errno.ENFILE: ("too many files are open", "close other programs"),
    errno.EIO: ("the disk does not answer", "check it, then try again"),
    errno.ESTALE: ("the network share is gone", "mount it again"),
    errno.ETIMEDOUT: ("the network share does not answer", "check it, then try again"),
}


def in_words(error: OSError | UnicodeError) -> tuple[str, str]:
    """What is the matter, with the file where the error names one, and what to do."""
    if isinstance(error, UnicodeError):
        return f"the file system cannot write a name: {error}", "rename it"
    reason, remedy = _WORDS.get(error.errno or 0, (error.strerror or str(error) or type(error).__name__, _ANOTHER))
    return (f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason), remedy


def cannot_read(error: OSError) -> str:
    """Why the system does not let a file be read, and what to do: 'cannot be read (REASON); REMEDY'."""
    kinds = {
        errno.EACCES: ("no permission", "change who may read it"),
        errno.EPERM: ("no permission", "change who may read it"),
        errno.EISDIR: ("it is a folder", "name a file"),
        errno.ENOTDIR: ("a part of its path is a file", "check the name"),
        errno.ENOENT: ("there is no such file", "check the folder and the name"),
        errno.ENAMETOOLONG: ("its name is longer than the file system takes", "check the name"),
    }
    reason, remedy = kinds.get(error.errno or 0) or _WORDS.get(
        error.errno or 0, (error.strerror or str(error), "check it")
    )
    return f"cannot be read ({reason}); {remedy}"


def tell_system_error(error: OSError) -> str:
    """A line about an error that nobody expected."""
    reason, remedy = in_words(error)
    return f"{reason}; {remedy}"


@contextlib.contextmanager
def told_of(place: Path, remedy: str = "", *, no_space: str = "") -> Iterator[None]:
    """What the system refuses inside the block, as one line about the folder or file that is written there.

    Args:
      place: the folder or file.
      remedy: what to do; default: by the error.
      no_space: what to do about a full disk; default: likewise.

    Raises:
      InputError: in place of an OSError, or of a name that cannot be written.
    """
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason, usual = in_words(error)
        full = isinstance(error, OSError) and error.errno in _NO_SPACE
        advice = (no_space if full else remedy) or usual
        raise InputError(f"{place}: cannot be written to ({reason.removeprefix(f'{place}: ')}); {advice}") from error
