"""Keeping a long-running process's memory flat where the C library's own habits would let it creep."""

from __future__ import annotations

import ctypes
import sys

# glibc's M_MMAP_THRESHOLD and the size that is given to it.
_MMAP_THRESHOLD, _BYTES = -3, 1 << 20


def steady_heap() -> bool:
    """Give blocks of a megabyte and more back to the system as soon as they are free; whether that can be had here.

    glibc raises that size to 32 MB by itself, and the heap of a program that allocates maps of a few megabytes for every
    frame then fragments: its peak grew by 3 to 7 % over some hundred frames, with every array accounted for.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, _BYTES) == 1
    except (OSError, AttributeError):  # another C library
        return False
