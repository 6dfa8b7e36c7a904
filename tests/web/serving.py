"""A served session with the tiny network, and a client that says exactly what it wants to say."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munet_jax.web.desk import Desk

JSON = "application/json"


class Client:
    """Asks a server; each time with a connection of its own."""

    def __init__(self, port: int, cookie: str | None) -> None:
        self.port, self.cookie = port, cookie

    def ask(
        self, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, content and headers of the answer; a header that is given as '' is not sent."""
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}"}
        own |= {"Cookie": self.cookie} if self.cookie else {}
        body = json.dumps(content).encode() if isinstance(content, dict) else content
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in (own | (headers or {})).items():
                if value:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if found.get("content-type") == "text/event-stream":
                return answer.status, b"", found
            told = answer.read()
            return answer.status, json.loads(told) if found.get("content-type") == JSON else told, found

    def get(self, path: str) -> Any:
        return self._whole("GET", path)

    def post(self, path: str, content: Any = None) -> Any:
        return self._whole("POST", path, {} if content is None else content)

    def _whole(self, method: str, path: str, content: Any = None) -> Any:
        status, told, _ = self.ask(method, path, content)
        assert status == 200, told
        return told

    def refused(self, method: str, path: str, content: Any = None, status: int = 400) -> str:
        """What the page says of a request that is refused."""
        found, told, _ = self.ask(method, path, content)
        assert found == status, told
        error: str = told["error"]
        return error

    def paint(self, frame: int, box: tuple[int, int, int, int], identity: int, width: int) -> Any:
        """Paint a box (left, top, right, bottom)."""
        left, top, right, bottom = box
        runs = [(y * width + left, right - left, identity) for y in range(top, bottom)]
        return self.post(f"/api/strokes/{frame}", np.array(runs, "<u4").tobytes())

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/state")
        return found

    def idle(self, seconds: float = 60) -> dict[str, Any]:
        """The status once nothing is followed any more."""
        end = time.monotonic() + seconds
        while (status := self.state()["status"])["state"] not in ("idle", "failed"):
            assert time.monotonic() < end, status
            time.sleep(0.02)
        found: dict[str, Any] = status
        return found

    def follow(self, direction: str = "forward", origin: str = "here", frame: int = 0) -> dict[str, Any]:
        self.idle()
        self.post("/api/follow", {"direction": direction, "origin": origin, "frame": frame})
        return self.idle()


@contextlib.contextmanager
def served(desk: Desk) -> Iterator[Client]:
    """Serve a desk in a thread; the client has the cookie."""
    uvicorn = pytest.importorskip("uvicorn")
    from munet_jax.web.application import create_application
    from munet_jax.web.guard import Guard
    from munet_jax.web.server import listen_at

    with listen_at("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        guard = Guard(create_application(desk), port)
        config = uvicorn.Config(guard, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            client = Client(port, None)
            status, _, headers = client.ask("GET", f"/?token={guard.token}")
            assert status == 200
            client.cookie = headers["set-cookie"].split(";")[0]
            yield client
        finally:
            desk.hub.close()
            server.should_exit = True
            thread.join()
            desk.close()


def frames_folder(folder: Path, count: int = 8, size: tuple[int, int] = (56, 72)) -> Path:
    """Frames with a bright square that moves."""
    from PIL import Image as PILImage

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 120, (*size, 3), np.uint8)
    for number in range(count):
        frame = ground.copy()
        frame[20:40, 10 + 2 * number : 30 + 2 * number] = (240, 200, 40)
        PILImage.fromarray(frame).save(folder / f"{number:05d}.png")
    return folder


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
