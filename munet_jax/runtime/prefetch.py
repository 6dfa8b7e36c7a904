"""Reading the next item of a series while the present one is worked on."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, each made in a thread while its predecessor is used; one is made too many where the user stops early.

    What making an item raises is raised where the item would have come.
    """
    source = iter(items)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, source, _END)
            yield item  # type: ignore[misc] # the end is not among them
