"""Headless Chromium, for the tests of pages; they are skipped where it is missing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def started_chromium(profile: Path, **capabilities: Any) -> Iterator[Any]:
    """A driver; `profile` is an empty folder for what the browser keeps."""
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver_binary = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver_binary):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    flags += f" disable-component-update disable-sync window-size=1280,900 user-data-dir={profile}"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    for name, value in {"goog:loggingPrefs": {"browser": "ALL"}, **capabilities}.items():
        options.set_capability(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_AVOID_STATS", "true")
        patch.setenv("SE_OFFLINE", "true")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_binary))
        try:
            yield driver
        finally:
            driver.quit()


class Chromium:
    """A browser with one page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any], seconds: float = 15) -> Any:
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: condition())

    def resize(self, width: int, height: int) -> None:
        """The page's size in pixels, whatever the window can be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
