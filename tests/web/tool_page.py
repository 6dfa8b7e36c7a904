"""A served session, and the browser tool's page in Chromium, driven as a user would."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from tests.chromium import Chromium

Point = tuple[float, float]


class Served:
    """`munet web` or `munet demo --web` in a process of its own."""

    def __init__(self, arguments: Sequence[str | Path], log: Path) -> None:
        self.log = log.open("w")
        command = [sys.executable, "-m", "munet_jax.cli", *map(str, arguments), "--no-browser"]
        # The tests' own programs are compiled in haste; these run longer than that takes.
        settings = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=settings)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line} {log.read_text()}"
        self.address = found[0]
        self.port = int(re.search(r":(\d+)/", self.address)[1])  # type: ignore[index]

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.close()

    def close(self) -> None:
        """Of a process that has ended."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


class ToolPage(Chromium):
    """The page, with the mouse in picture pixels."""

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.until(lambda: self.run("return !document.querySelector('#work').hidden"), 60)
        self.until(lambda: self.run("return document.querySelector('#loading').hidden"), 60)
        self.until(lambda: self.state("work.labels !== null"))

    def state(self, expression: str) -> Any:
        """A value of the page's modules: `state` and `work` by name."""
        modules = ", ".join(f"import('/page/{name}.js')" for name in ("state", "painting"))
        given = "([{state}, {work}])"
        script = f"const done = arguments[arguments.length - 1]; Promise.all([{modules}]).then({given} => done({expression}))"
        return self.driver.execute_async_script(script)

    def click(self, selector: str) -> None:
        self.until(lambda: self.find(selector).is_enabled())
        self.find(selector).click()

    def press(self, keys: str) -> None:
        self.find("body").send_keys(keys)

    def screen(self, point: Point) -> tuple[int, int]:
        """Where a picture pixel is in the window."""
        box = self.run(
            "const b = document.querySelector('#view').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
        )
        width, height = self.state("[state.session.width, state.session.height]")
        return round(box[0] + point[0] * box[2] / width), round(box[1] + point[1] * box[3] / height)

    def mouse(self, points: Sequence[Point], *, drag: bool, wait: Callable[[], None] = lambda: None) -> None:
        """Click at each point, or press at the first and let go at the last."""
        for number, point in enumerate(points):
            x, y = self.screen(point)
            common = {"x": x, "y": y, "button": "left", "clickCount": 1, "pointerType": "mouse"}
            pressed = drag and number > 0
            self.event(
                **common | {"type": "mouseMoved", "button": "left" if pressed else "none", "buttons": int(pressed)}
            )
            if not drag or number == 0:
                self.event(**common | {"type": "mousePressed", "buttons": 1})
            if not drag or number == len(points) - 1:
                self.event(**common | {"type": "mouseReleased", "buttons": 0})
            wait()

    def event(self, **event: Any) -> None:
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def outline(self, corners: Sequence[Point]) -> None:
        """Draw a polygon with the mouse and close it."""
        self.press("p")
        self.mouse(corners, drag=False)
        self.press("\ue007")
        self.saved()

    def saved(self) -> None:
        self.until(lambda: self.find("#saved").get_attribute("textContent") == "saved")

    def go(self, frame: int) -> None:
        self.run(
            "const n = document.querySelector('#number'); n.value = arguments[0]; n.dispatchEvent(new Event('change'))",
            frame,
        )
        self.until(lambda: self.state("work.frame") == frame)

    def labels(self) -> np.ndarray:
        """The mask that the page holds of the frame at hand."""
        self.until(lambda: self.state("work.frame === state.frame && !work.stale"))
        width, height = self.state("[state.session.width, state.session.height]")
        return np.array(self.state("Array.from(work.labels)"), np.uint8).reshape(height, width)

    def shown(self) -> np.ndarray:
        """Which pixels of the mask's canvas have a colour: [h, w, 4]."""
        script = "const c = document.querySelector('#mask'); return c.toDataURL().split(',')[1]"
        return np.array(PILImage.open(io.BytesIO(base64.b64decode(self.run(script)))).convert("RGBA"))

    def idle(self, seconds: float = 120) -> None:
        """Wait until nothing is followed and the network is ready."""
        self.until(lambda: self.state("state.status.state") == "idle", seconds)

    def follow(self, seconds: float = 120) -> None:
        self.idle(seconds)
        self.click("#follow")
        self.until(lambda: self.state("state.status.state") == "following", 10)
        self.idle(seconds)

    def picture(self, path: Path) -> None:
        path.write_bytes(self.driver.get_screenshot_as_png())


def corners_of(mask: np.ndarray, count: int = 40) -> list[Point]:
    """An outline that a careful hand would click: along the edge of the mask's largest part, seen from its middle."""
    rows, columns = np.nonzero(mask)
    y, x = rows.mean(), columns.mean()
    found = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        steps = np.arange(0, max(mask.shape), 0.5)
        at = np.round(np.stack([y + steps * np.sin(angle), x + steps * np.cos(angle)])).astype(int)
        inside = (at >= 0).all(0) & (at[0] < mask.shape[0]) & (at[1] < mask.shape[1])
        hit = np.flatnonzero(mask[at[0][inside], at[1][inside]])
        if len(hit):
            found.append((x + steps[hit[-1]] * np.cos(angle) + 0.5, y + steps[hit[-1]] * np.sin(angle) + 0.5))
    return found
