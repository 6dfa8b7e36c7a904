"""The report page in headless Chromium: opened, sorted, played and clicked through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.chromium import Chromium, started_chromium
from tests.report.small_page import (
    FRAMES,
    OTHER,
    OURS,
    WILD,
    image,
    sequence,
    write,
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started_chromium(tmp_path_factory.mktemp("u")) as driver:
        yield driver


class Browser(Chromium):
    """A report in a browser."""

    def open(self, path: Path, link: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + link)
        self.until(self.pixels)

    def pixels(self) -> str:
        """Everything that is drawn; empty before the first frame."""
        return self.run("return [...document.querySelectorAll('canvas')].map(c => c.toDataURL()).join()")

    def changes(self, action: Callable[[], Any]) -> None:
        """Does something after which other pixels are drawn."""
        before = self.pixels()
        action()
        self.until(lambda: self.pixels() != before)

    def choose(self, selector: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.find(selector)).select_by_visible_text(text)

    def column(self, table: str, column: int) -> list[str]:
        rows = self.all(f"#table-{table} tbody tr")
        return [row.find_elements("css selector", "th, td")[column].text for row in rows]

    def sort(self, table: str, column: int) -> list[str]:
        """Clicks on a column's head; the column's cells then."""
        self.all(f"#table-{table} thead button")[column].click()
        return self.column(table, column)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def browser(chromium: Any) -> Iterator[Browser]:
    yield Browser(chromium)
    assert chromium.get_log("browser") == []
    loaded = chromium.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("data:") for name in loaded)


def test_tables_in_a_browser(browser, page):
    browser.open(page)
    assert browser.column("sequences", 0) == [WILD, "bear 10", "bear 9"]
    assert browser.column("sequences", 3) == ["0.300", "0.900", "–"]
    assert browser.sort("sequences", 3) == ["0.900", "0.300", "–"]
    assert browser.sort("sequences", 0) == [WILD, "bear 9", "bear 10"]
    assert browser.find("#table-sequences [aria-sort]").get_attribute("aria-sort") == "ascending"
    assert browser.sort("sequences", 0) == ["bear 10", "bear 9", WILD]
    assert browser.find("#table-sequences [aria-sort]").get_attribute("aria-sort") == "descending"
    assert browser.sort("sequences", 6) == ["0.500", "0.800", "–"]
    assert browser.sort("objects", 1) == ["1", "1", "2", "2", "10", "10"]
    assert browser.sort("objects", 4)[-2:] == ["–", "–"]
    assert browser.sort("methods", 0) == [OTHER, OURS]
    browser.all("#table-methods thead button")[0].send_keys("\ue007")  # Enter
    assert browser.column("methods", 0) == [OURS, OTHER]


def test_frames_in_a_browser(browser, page):
    browser.open(page)
    assert browser.find("#sequence-name").text == WILD
    label, slider = browser.find("#frame-label"), browser.find("#frame")
    assert label.text == f"00000 (1 of {FRAMES})"
    assert [cell.text for cell in browser.all("#frame-scores td")] == ["–"] * 6
    for _ in range(3):
        browser.changes(lambda: slider.send_keys("\ue014"))  # right
    assert label.text == f"00003 (4 of {FRAMES})"
    assert [cell.text for cell in browser.all("#frame-scores td")] == ["0.270"] * 3 + ["0.770"] * 3
    browser.changes(lambda: browser.find("#mask-opacity").send_keys("\ue011"))  # Home: no mask
    bare = browser.pixels()
    browser.changes(lambda: browser.find("#mask-opacity").send_keys("\ue010"))  # End: no frame below the mask
    for layer in ("annotation", OTHER, "none"):
        browser.changes(lambda name=layer: browser.choose("#mask", name))
    assert browser.pixels() == bare
    assert not browser.find("#legend").is_displayed()
    browser.changes(lambda: browser.choose("#map", "uncertainty"))
    assert browser.find("#legend").is_displayed()
    browser.changes(lambda: browser.find("#map-opacity").send_keys("\ue010"))
    browser.changes(lambda: browser.find("#map-opacity").send_keys("\ue011"))
    assert browser.pixels() == bare
    browser.changes(lambda: browser.find("#play").click())
    browser.until(lambda: browser.find("#play").text == "Play")
    assert label.text == f"00011 (12 of {FRAMES})"


def test_worst_frames_and_the_curve(browser, page):
    browser.open(page)
    worst = browser.all("#worst button")
    assert [button.text for button in worst[:3]] == ["00004: 0.100", "00010: 0.200", "00009: 0.210"]
    assert len(worst) == 10
    browser.changes(worst[1].click)
    assert browser.find("#frame-label").text.startswith("00010 ")
    browser.choose("#worst-method", OTHER)
    browser.until(lambda: len(browser.all("#worst button")) == 5)


def test_the_curve_is_drawn_and_leads_to_its_frames(browser, page):
    browser.open(page)
    curve, label, marker = browser.find("#curve"), browser.find("#frame-label"), browser.find("#curve .marker")
    picture = browser.find("#curve img")
    browser.until(lambda: picture.get_property("naturalWidth") > 0)
    assert picture.size == curve.size
    assert picture.get_attribute("src").startswith("data:image/svg+xml;base64,")
    before = marker.rect["x"]
    curve.click()  # in its middle, which is right of the middle of its axes
    assert label.text.startswith(("00005 ", "00006 "))
    middle = marker.rect["x"]
    assert middle == pytest.approx(curve.rect["x"] + curve.rect["width"] / 2, abs=curve.rect["width"] / FRAMES)
    assert middle > before
    # The marker of a frame stands where a click leads to that frame, and a drag follows the pointer.
    from selenium.webdriver import ActionChains

    browser.changes(browser.all("#worst button")[1].click)
    worst = marker.rect["x"] - middle
    actions = ActionChains(browser.driver).move_to_element(curve).click_and_hold()
    actions.perform()
    assert not label.text.startswith("00010 ")
    ActionChains(browser.driver).move_by_offset(round(worst), 0).release().perform()
    assert label.text.startswith("00010 ")


def test_sequences_in_a_browser(browser, page):
    browser.open(page)
    name, previous, following = (browser.find(f"#{i}") for i in ("sequence-name", "previous", "next"))
    assert browser.find("#sequence-place").text == "1 of 3"
    assert not previous.is_enabled()
    following.click()
    browser.until(lambda: name.text == "bear 10")
    following.click()
    browser.until(lambda: name.text == "bear 9")
    assert not following.is_enabled()
    assert browser.find("#unscored").is_displayed()
    assert not browser.find("#curve-box").is_displayed()
    previous.click()
    browser.until(lambda: name.text == "bear 10")
    browser.find("#table-objects tbody td").click()
    browser.until(lambda: name.text == WILD)
    browser.driver.back()
    browser.until(lambda: name.text == "bear 10")
    browser.open(page, "#sequence-" + quote("bear 9"))
    assert browser.find("#sequence-name").text == "bear 9"
    browser.open(page, "#sequence-%E4")
    assert browser.find("#sequence-name").text == WILD


def test_side_by_side_in_a_narrow_window(browser, page):
    browser.open(page)
    browser.changes(browser.find("#side-by-side").click)
    assert len(browser.all("canvas")) == 3
    captions = [caption.text for caption in browser.all("#pictures figcaption")]
    assert captions == ["annotation (no mask of this frame)", OURS, OTHER]
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert browser.run("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.changes(browser.find("#side-by-side").click)
    assert len(browser.all("canvas")) == 1


def test_a_page_with_little_in_it(browser, tmp_path):
    only = sequence(
        "bear 9",
        frame_names=["a"],
        frame=image,
        annotation=lambda _: None,
        masks={OURS: lambda _: None},
        scores={OURS: {}},
    )
    methods = {OURS: {"sequences": {}}}
    browser.open(write(tmp_path / "page.html", methods=methods, sequences=[only], maps=None, legends={}))
    assert browser.find("#sequence-place").text == "1 of 1"
    assert browser.find("#unscored").is_displayed()
    assert not browser.find("#map-controls").is_displayed()
    assert not browser.find("#worst-of").is_displayed()
    browser.find("#play").click()
    browser.until(lambda: browser.find("#play").text == "Play")
