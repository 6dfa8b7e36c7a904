"""The browser tool in headless Chromium on the embedded clip, from the first outline to the export."""

from __future__ import annotations

import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munet_jax.commands.demonstration import CLIP
from munet_jax.data.masks import read_mask
from munet_jax.data.synthetic.videos import SyntheticSource
from munet_jax.evaluation.metrics import region_similarity
from munet_jax.web.desk import Desk
from munet_jax.web.store import NotStoredError
from tests.chromium import started_chromium
from tests.web.serving import frames_folder, served, wait_for
from tests.web.tool_page import Served, ToolPage, corners_of

pytestmark = pytest.mark.xdist_group("web page")
ENTER, ESCAPE = "\ue007", "\ue00c"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("uvicorn")
    with started_chromium(tmp_path_factory.mktemp("u")) as driver:
        yield driver


@pytest.fixture(scope="module")
def clip() -> SyntheticSource:
    return SyntheticSource(CLIP)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("demo")
    with Served(["demo", "--web", "--out", place / "out"], place / "log") as served:
        yield served


@pytest.fixture(scope="module")
def page(driver: Any, server: Served) -> ToolPage:
    """Of one session, in which the tests go on where the one before left it, as a user does."""
    found = ToolPage(driver)
    found.resize(1280, 800)
    found.open(server.address)
    return found


def masks(server: Served) -> list[np.ndarray]:
    """What lies in the results folder, by frame."""
    found = []
    for number in range(CLIP.frames):
        path = Path(server.process.args[6]) / f"web/masks/{number:05d}.png"  # type: ignore[index]
        found.append(read_mask(path) if path.exists() else np.zeros((CLIP.height, CLIP.width), np.uint8))
    return found


def similarity(found: list[np.ndarray], clip: SyntheticSource, identity: int, first: int = 0) -> float:
    numbers = range(first, CLIP.frames)
    scores = [region_similarity(clip.labels(0, t) == identity, found[t] == identity) for t in numbers]
    return float(np.mean(scores))


def test_an_outline_is_followed_through_the_clip(page: ToolPage, server: Served, clip: SyntheticSource) -> None:
    page.press("a")
    page.until(lambda: page.all("#objects li.chosen"))
    page.outline(corners_of(clip.labels(0, 0) == 1))
    page.follow()
    assert similarity(masks(server), clip, 1) >= 0.85
    page.go(13)
    np.testing.assert_array_equal(page.labels(), masks(server)[13])
    shown = page.shown()
    np.testing.assert_array_equal(shown[..., 3] > 0, page.labels() > 0)  # what is drawn is what is stored
    assert page.find("#frame-state").text != "no mask"


def test_a_correction_is_followed_and_undone(page: ToolPage, server: Served) -> None:
    before = masks(server)
    page.go(12)
    labels = page.labels()
    rows, columns = np.nonzero(labels == 1)
    page.run("const s = document.querySelector('#size'); s.value = 40; s.dispatchEvent(new Event('input'))")
    page.press("e")
    middle = columns.mean() + 20
    page.mouse([(middle, y) for y in range(rows.min() - 10, rows.max() + 10, 8)], drag=True)
    page.saved()
    erased = page.labels()
    assert 0.2 < (erased == 1).sum() / (labels == 1).sum() < 0.9
    page.follow()
    after = masks(server)
    for number in range(12):
        np.testing.assert_array_equal(after[number], before[number])
    np.testing.assert_array_equal(after[12], erased)
    assert any((after[number] != before[number]).any() for number in range(13, CLIP.frames))
    for _ in range(2):  # the following, then the eraser
        number = page.state("state.rows.get(12).version")
        page.run("document.activeElement.blur()")
        page.click("#undo")
        page.until(lambda: page.find("#toasts").text.startswith("Undo"))
        page.run("document.querySelector('#toasts').replaceChildren()")
    assert number is not None
    wait_for(lambda: all((a == b).all() for a, b in zip(masks(server), before, strict=True)))
    page.go(12)
    np.testing.assert_array_equal(page.labels(), labels)


def test_a_second_object_in_a_later_frame(page: ToolPage, server: Served, clip: SyntheticSource) -> None:
    page.go(6)
    page.click("#add")
    page.until(lambda: len(page.all("#objects li")) == 2)
    page.outline(corners_of(clip.labels(0, 6) == 2))
    first = masks(server)[:6]
    page.follow()
    found = masks(server)
    assert similarity(found, clip, 2, 6) >= 0.8
    assert similarity(found, clip, 1) >= 0.85
    for number in range(6):
        np.testing.assert_array_equal(found[number], first[number])


def test_the_export_holds_what_the_page_shows(page: ToolPage, server: Served) -> None:
    page.click("#export")
    for box in page.all("#kinds input"):
        if not box.is_selected():
            box.click()
    page.click("#make")
    page.until(lambda: len(page.all("#files a")) == 5, 60)
    cookie = page.driver.get_cookie(f"munet_{server.port}")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    content = {}
    for link in page.all("#files a"):
        request = urllib.request.Request(
            link.get_attribute("href"), headers={"Cookie": f"{cookie['name']}={cookie['value']}"}
        )
        content[link.text] = urllib.request.urlopen(request).read()
    assert set(content) == {"objects.json", "overlay.mp4", "overlay.gif", "coco.json", "export.zip"}
    page.press(ESCAPE)
    archive = zipfile.ZipFile(io.BytesIO(content["export.zip"]))
    for number in range(0, CLIP.frames, 5):
        page.go(number)
        name = f"masks/{number:05d}.png"
        np.testing.assert_array_equal(read_mask(name, content=archive.read(name)), page.labels())
    assert {"objects.json", "overlay.mp4", "overlay.gif", "coco.json"} < set(archive.namelist())
    assert len(json.loads(content["objects.json"])["frames"]) == CLIP.frames


def test_the_tools_paint_what_they_say(page: ToolPage, clip: SyntheticSource) -> None:
    page.go(0)
    page.until(lambda: page.find("#objects li"))
    page.click("#add")
    page.until(lambda: len(page.all("#objects li")) == 3)
    identity = page.state("state.object")

    def painted(action: Any) -> np.ndarray:
        before = page.labels()
        action()
        page.saved()
        return (page.labels() == identity) & (before != identity)

    def press(key: str, *points: tuple[float, float], drag: bool = False) -> np.ndarray:
        page.press(key)
        return painted(lambda: page.mouse(points, drag=drag))

    page.run("const s = document.querySelector('#size'); s.value = 11; s.dispatchEvent(new Event('input'))")
    dot = press("b", (400.5, 220.5))
    y, x = np.mgrid[: CLIP.height, : CLIP.width]
    np.testing.assert_array_equal(dot, np.hypot(x - 400, y - 220) <= 5.5)
    corners = [(330.0, 40.0), (420.0, 40.0), (420.0, 120.0), (330.0, 120.0), (330.0, 40.0)]
    ring = press("b", *corners, drag=True)
    filled = press("f", (375, 80))
    assert (ring | filled)[40:120, 330:420].all()
    assert not filled[:34].any()
    other = clip.labels(0, 0) == 2  # of even colour
    row, column = (int(places.mean()) for places in np.nonzero(other))
    wand = press("w", (column + 0.5, row + 0.5))
    assert wand[row, column]
    assert (wand & other).sum() > max(0.9 * wand.sum(), 0.2 * other.sum())
    page.run("const s = document.querySelector('#hardness'); s.value = 0; s.dispatchEvent(new Event('input'))")
    soft = press("b", (300.5, 200.5))
    passed = press("b", (300.5, 200.5), (306.5, 200.5), (294.5, 200.5), (306.5, 200.5), (294.5, 200.5), drag=True)
    assert soft.sum() < 40 < passed.sum()
    page.go(1)
    copied = painted(lambda: page.press("c"))
    assert copied.sum() == (dot | ring | filled | wand | soft | passed).sum()
    page.press("\ue017")  # Delete
    page.saved()
    assert not (page.labels() == identity).any()
    page.find('#objects li.chosen [aria-label^="Lock"]').click()
    page.until(lambda: page.all('#objects li.chosen [aria-label^="Release"]'))
    assert not press("b", (200.5, 20.5)).any()
    assert "is locked" in page.find("#toasts").text


def test_looking_playing_and_shortcuts(page: ToolPage) -> None:
    page.press("?")
    assert page.find("#help-dialog").is_displayed()
    page.press(ESCAPE)
    page.go(3)
    page.press("m")
    page.until(lambda: page.find("#legend-low").text.endswith("unsure"), 60)
    page.press("m")
    page.until(lambda: "rim" in page.find("#legend-high").text, 60)
    page.press("mm")
    page.until(lambda: not page.find("#legend").is_displayed())
    page.press("v")
    page.until(lambda: page.find("#pair").is_displayed())
    page.press("v")
    before = page.state("state.frame")
    page.press("k")
    page.until(lambda: page.state("state.frame") > before + 2)
    page.press("k")
    page.press("n")
    page.until(lambda: "Object" in page.find("#frame-state").text or "No frame" in page.find("#toasts").text)
    page.click("#zoom-in")
    assert page.find("#zoom").text != "100%"
    page.press("0")


@pytest.mark.parametrize("size", [(1280, 800), (400, 800)])
def test_nothing_is_cut_off_and_all_has_a_name(page: ToolPage, size: tuple[int, int]) -> None:
    page.resize(*size)
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    unnamed = "return [...document.querySelectorAll('button, a.button, select, input')].filter(e => e.offsetParent && "
    unnamed += "!(e.textContent.trim() || e.ariaLabel || e.title || e.labels?.length)).map(e => e.outerHTML)"
    assert page.run(unnamed) == []
    page.resize(1280, 800)


def test_no_error_and_nothing_from_elsewhere(page: ToolPage, server: Served) -> None:
    assert page.driver.get_log("browser") == []
    loaded = page.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert len(loaded) > 20
    assert {name for name in loaded if not name.startswith(f"http://127.0.0.1:{server.port}/")} == set()


def test_a_mask_of_another_size_and_a_second_page(page: ToolPage, tmp_path: Path) -> None:
    from munet_jax.data.masks import write_mask

    write_mask(tmp_path / "other.png", np.ones((30, 40), np.uint8))
    page.find("#import-file").send_keys(str(tmp_path / "other.png"))
    page.until(lambda: "the mask is 40 x 30, but its frame is 432 x 240" in page.find("#toasts").text)
    page.driver.get_log("browser")  # Chromium notes an answer of 400
    first = page.driver.current_window_handle
    address = page.driver.current_url
    assert "token" not in address
    page.driver.switch_to.new_window("tab")
    page.driver.get(address)
    page.until(lambda: "open in 2 pages" in page.find("#banner").text)
    page.driver.close()
    page.driver.switch_to.window(first)
    page.until(lambda: not page.find("#banner").is_displayed(), 20)


def test_the_page_opens_videos_from_the_root_and_by_upload(driver: Any, tmp_path: Path) -> None:
    frames_folder(tmp_path / "root/shots/one")
    (tmp_path / "page.mp4").write_text("<!doctype html>")
    page = ToolPage(driver)
    with Served(
        ["web", "--root", tmp_path / "root", "--out", tmp_path / "out", "--object-size", "0"], tmp_path / "log"
    ) as served:
        driver.get(served.address)
        press = (
            "const found = [...document.querySelectorAll('#list button')].find(e => e.textContent === arguments[0]);"
        )
        press += " found?.click(); return Boolean(found)"
        for text in ("shots/", "one/"):
            page.until(lambda text=text: page.run(press, text))
        page.find("#upload").send_keys(str(tmp_path / "page.mp4"))
        page.until(lambda: "page.mp4: is a web page" in page.find("#banner").text)
        page.until(lambda: page.run(press, "▶ open these 8 frames"))
        page.until(lambda: page.find("#work").is_displayed())
        page.until(lambda: page.state("work.labels !== null"))
        assert not page.find("#banner").is_displayed()
        page.click("#other")
        page.until(lambda: page.find("#opening").is_displayed())


DOUBTS = """
const [steps, done] = arguments;
import("/page/doubt.js").then(({ doubts, nextDoubt }) => {
  const rows = new Map(steps.map(([frame, marked, ...stats]) => [frame, { marked, stats: { 1: stats } }]));
  const found = doubts(rows, [{ id: 1, name: "cat" }], 20);
  done([[...found], [0, 5, 18].map((frame) => nextDoubt(found, frame))]);
});
"""


def test_doubtful_frames(page: ToolPage) -> None:
    usual = [[frame, False, 1000, 0.95, 0.8] for frame in range(14)]
    usual[0] = [0, True, 1000, None, None]
    usual[4][3] = 0.91  # less confident than usual
    usual[5][4] = 0.3  # fewer sure matches, right behind it
    usual[8][2:] = [500, 0.95, 0.8]  # it jumps to half its size
    usual[9][2:] = [490, 0.95, 0.8]
    usual[10] = [10, True, 490, None, None]
    usual[12][2:] = [0, None, None]  # it is gone
    usual[13][2:] = [0, None, None]
    usual[11][2:] = [480, 0.95, 0.8]
    found, following = page.driver.execute_async_script(DOUBTS, usual)
    assert dict(found) == {
        4: ["cat: confidence 0.91"],
        5: ["cat: only 30 % sure matches"],
        8: ["cat: area 1000 to 500 pixels"],
        12: ["cat: is gone"],
    }
    assert following == [4, 8, 4]  # frames in a row are one place, and after the last comes the first


def test_a_full_disk_while_painting(driver: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ToolPage(driver)
    assert desk.session is not None
    store = desk.session.store

    def full(*_: Any) -> None:
        raise NotStoredError("out: cannot be written to (database or disk is full); free some space")

    with served(desk) as client:
        address = f"http://127.0.0.1:{client.port}/"
        driver.get(address)  # 403
        name, value = str(client.cookie).split("=", 1)
        driver.add_cookie({"name": name, "value": value, "path": "/"})
        page.open(address)
        page.press("a")
        page.until(lambda: page.all("#objects li.chosen"))
        page.press("b")
        with monkeypatch.context() as patch:
            patch.setattr(store, "write", full)
            page.mouse([(10, 10), (40, 10)], drag=True)
            page.until(lambda: "disk is full" in page.find("#banner").text)
            page.mouse([(10, 40), (40, 40)], drag=True)
            assert page.find("#saved").text == "saving 2"
            assert store.timeline() == []
        page.until(lambda: not page.find("#banner").is_displayed())
        page.saved()
        np.testing.assert_array_equal(page.labels(), store.current(0).labels)
        assert (page.labels() == 1).sum() > 500
