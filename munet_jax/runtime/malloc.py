"""Keeping a long-running process's memory flat, and its pages, where the C library's own habits would lose both."""

from __future__ import annotations

import ctypes
import sys

# glibc's names and values: one arena for all threads, no block outside the heap, nothing given back by itself.
_SETTINGS = (("M_ARENA_MAX", -8, 1), ("M_MMAP_MAX", -4, 0), ("M_TRIM_THRESHOLD", -1, -1))


def tune_malloc() -> bool:
    """Keep what was allocated once for what comes next; whether that can be had here. Call it before jax makes its threads.

    XLA takes a program's temporaries anew at every call. glibc gives blocks above 32 MB back to the system as soon as they are
    free, so each call begins with the system clearing their pages: 80 MB of a frame of the light network at 480 x 854, 4 to 10 GB
    of a training step of protocol 1 (a seventh of its time). And the several heaps of a process with threads fragment: its peak
    grew by 3 to 7 % over some hundred frames, with every array accounted for.
    """
    library = _glibc()
    return library is not None and all(library.mallopt(name, value) == 1 for _, name, value in _SETTINGS)


def trim_malloc() -> None:
    """Give free pages back to the system, once: after a compilation, which needs more than what follows."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        return library if library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError):  # another C library
        return None
