"""Standard output and error as they come: terminals without Unicode, readers that have gone."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def write_what_it_can() -> None:
    """Let both streams write with escapes what their encoding lacks, such as the name of a file, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def drop(stream: TextIO) -> None:
    """Write to nowhere from now on: whoever read has gone, and what is still buffered would fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # it is no file
        pass
    finally:
        os.close(nowhere)
