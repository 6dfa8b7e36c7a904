"""Makes docs/pictures/web_*.jpg: the browser tool on the clip of `munet demo --web`, light and dark, wide and narrow.

Command:   python docs/tools/draw_web.py
Data:      none; it needs chromium, chromedriver and the extras web and dev
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import PIL.Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from munet_jax.commands.demonstration import CLIP
from munet_jax.data.synthetic.videos import SyntheticSource
from tests.chromium import started_chromium
from tests.web.tool_page import Served, ToolPage, corners_of

PICTURES = Path(__file__).parents[1] / "pictures"


def main() -> int:
    """Draws the pictures; gives the exit code."""
    clip = SyntheticSource(CLIP)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "browser").mkdir()
        with (
            started_chromium(folder / "browser") as driver,
            Served(["demo", "--web", "--out", folder / "demo"], folder / "log") as served,
        ):
            page = ToolPage(driver)
            page.resize(1280, 800)
            page.open(served.address)
            work(page, clip)
            for theme in ("light", "dark"):
                page.run(f"document.documentElement.dataset.theme = '{theme}'")
                for size, called in (((1280, 800), "web"), ((400, 800), "web_narrow")):
                    page.resize(*size)
                    page.run("window.scrollTo(0, 0)")
                    page.until(lambda: page.run("return document.getAnimations().length === 0"))
                    save(page, PICTURES / f"{called}_{theme}.jpg")
    return 0


def work(page: ToolPage, clip: SyntheticSource) -> None:
    """Two objects, one of them followed a second time from a later frame."""
    for identity in (1, 2):
        page.click("#add")
        page.until(lambda identity=identity: len(page.all("#objects li")) == identity)  # type: ignore[misc]
        page.outline(corners_of(clip.labels(0, 0) == identity))
    page.follow()
    page.press("b")
    page.go(9)
    page.run("document.querySelector('#toasts').replaceChildren()")


def save(page: ToolPage, path: Path) -> None:
    """A picture of what the window shows."""
    with PIL.Image.open(io.BytesIO(page.driver.get_screenshot_as_png())) as picture:
        picture.convert("RGB").save(path, quality=82, optimize=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
