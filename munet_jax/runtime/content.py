"""What is in a file, before a reader of its kind is asked: its text whatever its byte order mark, its checksum, or that it is
something else under that name.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import cannot_read

HEAD = 512  # bytes in which a file shows what it is
_BLOCK, _BLOCKS = 2**20, 64  # of a large file's content that its checksum is of
_MARKS = (("utf-8-sig", b"\xef\xbb\xbf"), ("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff"))
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml", b"<!--", b"<error")


def impostor(head: bytes) -> str | None:
    """What a file is that begins with these bytes, where it is nothing that any reader here takes; as the rest of a sentence.

    Downloads that failed leave such files under the right name: the pointer that Git LFS keeps in place of a large file, the
    page that a server shows for a sign-in, a warning or an error, or nothing.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty; copy or download it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file that it stands for; fetch that with: git lfs pull"
    if text.startswith(_PAGE_STARTS):
        return "is a web page, not the file that was asked for; download it again, from the link to the file itself"
    if not any(head):
        return "begins with nothing but zeros, as a download that broke off leaves; download it again"
    return None


def refuse_impostor(path: Path) -> None:
    """Raises InputError where a file that exists is a pointer, a web page, or empty."""
    try:
        with path.open("rb") as file:
            found = impostor(file.read(HEAD))
    except OSError:  # the reader says what is wrong
        return
    if found:
        raise InputError(f"{path}: {found}")


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 where its byte order mark says so; a mark is not part of it.

    Raises:
      OSError: as the system does.
      UnicodeDecodeError: it is no such text.
    """
    content = path.read_bytes()
    coding = next((coding for coding, mark in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(coding)


def read_lines(path: Path) -> list[str]:
    """The lines of a list, which is a text file.

    Raises:
      InputError: it cannot be read, or is no text.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise InputError(f"{path}: {cannot_read(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error
    if text:  # who needs a line says so of an empty list
        refuse_impostor(path)
    return text.splitlines()


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
      path: the file; editors and shells of Windows put a byte order mark before it.
      remedy: what to do about a file that is missing or none.

    Raises:
      InputError: there is no such file, or it is not JSON.
    """
    try:
        text = read_text(path)
        return json.loads(text)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; {remedy}") from error
    except OSError as error:
        raise InputError(f"{path}: {cannot_read(error)}") from error
    except (ValueError, RecursionError) as error:
        refuse_impostor(path)
        raise InputError(f"{path}: cannot be read as JSON ({error}); {remedy}") from error


def checksum(path: Path) -> int:
    """CRC-32 of a file's length and content; of one above 64 MiB, of 64 blocks that are spread over it."""
    size = path.stat().st_size
    crc = zlib.crc32(str(size).encode())
    with path.open("rb") as file:
        if size <= _BLOCK * _BLOCKS:
            return zlib.crc32(file.read(), crc)
        for number in range(_BLOCKS):
            file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
            crc = zlib.crc32(file.read(_BLOCK), crc)
    return crc
