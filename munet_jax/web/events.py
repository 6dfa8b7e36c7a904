"""What the server tells every open page: server-sent events."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

WAITING = 2000  # events that a page may be behind before it begins anew
_BEAT = 5.0  # seconds: by a beat a page learns that the connection is there, and the server that a page is gone


class Hub:
    """Sends events to the pages that listen; may be called from any thread."""

    def __init__(self) -> None:
        """Nobody listens."""
        self._lock = threading.Lock()
        self._pages: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[str | None]]] = {}
        self._number = 0

    def send(self, kind: str, content: dict[str, Any]) -> None:
        """An event to every page."""
        text = f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"
        with self._lock:
            pages = list(self._pages.values())
        for loop, queue in pages:
            loop.call_soon_threadsafe(_put, queue, text)

    async def listen(self) -> AsyncIterator[str]:
        """Events, for one page, until it goes or the server ends."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        with self._lock:
            self._number += 1
            number = self._number
            self._pages[number] = (asyncio.get_running_loop(), queue)
        self._tell_pages()
        try:
            yield "retry: 700\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), _BEAT)
                except TimeoutError:
                    text = "event: beat\ndata: {}\n\n"
                if text is None or queue.qsize() > WAITING:
                    return
                yield text
        finally:
            with self._lock:
                del self._pages[number]
            self._tell_pages()

    def _tell_pages(self) -> None:
        self.send("pages", {"count": len(self._pages)})

    def close(self) -> None:
        """End all pages' connections."""
        with self._lock:
            for loop, queue in self._pages.values():
                loop.call_soon_threadsafe(queue.put_nowait, None)


def _put(queue: asyncio.Queue[str | None], text: str) -> None:
    queue.put_nowait(text)
