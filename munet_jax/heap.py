"""Keeping a long-running process's memory flat, and its pages, where the C library's own habits would lose both."""

from __future__ import annotations

import ctypes
import sys

# glibc's names and values: one arena for all threads, no block outside the heap, nothing given back.
_SETTINGS = (("M_ARENA_MAX", -8, 1), ("M_MMAP_MAX", -4, 0), ("M_TRIM_THRESHOLD", -1, -1))


def steady_heap() -> bool:
    """Keep what was allocated once for what comes next; whether that can be had here. Call it before jax makes its threads.

    XLA takes a program's temporaries anew at every call. glibc gives blocks above 32 MB back to the system as soon as they are
    free, so each call begins with the system clearing their pages: 80 MB of a frame of the light network at 480 x 854. And the
    several heaps of a process with threads fragment: its peak grew by 3 to 7 % over some hundred frames, with every array
    accounted for. The process stays as large as it was at its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(name, value) == 1 for _, name, value in _SETTINGS)
