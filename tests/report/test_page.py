"""The report page: what is in the file."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest

from munet_jax.data.masks import davis_palette
from munet_jax.runtime.errors import InputError
from tests.report.small_page import (
    FRAMES,
    NAMES,
    OTHER,
    OURS,
    WILD,
    heat,
    image,
    labels,
    results,
    scores,
    sequence,
    write,
)


class Reader(HTMLParser):
    """Tags with their attributes, and the content of every script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def sequences(self) -> dict[str | None, Any]:
        return {a["data-sequence"]: json.loads(text) for a, text in self.scripts if "data-sequence" in a}


def decoded(uri: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(uri.partition(";base64,")[2])))


def test_nothing_is_loaded_and_no_name_is_markup(tmp_path):
    page = Reader(write(tmp_path / "made" / "page.html"))
    text = (tmp_path / "made" / "page.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert all((a.get("href") or "#").startswith(("#", "data:,")) for _, a in page.tags)
    # Its own: the data of the page, of three sequences, and the program.
    assert len(page.scripts) == 5
    assert "alert(" not in page.scripts[-1][1]
    assert not [tag for tag, _ in page.tags if tag == "i"]
    assert list(page.sequences()) == list(NAMES)
    assert json.loads(page.scripts[0][1])["methods"] == [OURS, OTHER]


def test_tables_start_with_the_worst_and_end_with_blanks(tmp_path):
    page = Reader(write(tmp_path / "page.html", methods={OURS: results(0) | {"G": 0.5}, OTHER: results(1)}))
    rows = [a.get("data-sequence") for tag, a in page.tags if tag == "tr" and "data-sequence" in a]
    assert rows[:3] == [WILD, "bear 10", "bear 9"]
    assert rows[3:] == [WILD, WILD, "bear 10", "bear 10", "bear 10", WILD]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    heads = re.findall(r"<button type=\"button\">(.*?)</button>", text)
    assert heads[:8] == ["Method", "J", "F", "J&amp;F", "G", "J recall", "Frames/s", "Device"]
    assert ">12.3<" in text
    assert "nan" not in re.findall(r'data-value="(.*?)"', text)


def test_pictures_are_those_that_were_given(tmp_path):
    stored = Reader(write(tmp_path / "page.html")).sequences()[WILD]["frames"]
    assert [f["name"] for f in stored] == [f"{n:05d}" for n in range(FRAMES)]
    assert stored[0]["masks"][0] is None
    for uri, given in zip(stored[3]["masks"], (labels(5), labels(3), labels(23)), strict=True):
        mask = decoded(uri)
        assert mask.mode == "P"
        assert np.array(mask).tolist() == given.tolist()
        colours = np.array(mask.convert("RGBA"))
        assert (colours[..., 3] == 255 * (given > 0)).all()
        assert colours[20, 26, :3].tolist() == davis_palette()[given[20, 26]].tolist()
    picture = decoded(stored[3]["image"])
    assert picture.format == "JPEG"
    assert np.abs(np.array(picture, int) - image(3)).max() < 8
    ((name, uri),) = stored[3]["maps"]
    assert name == "uncertainty"
    assert np.array(decoded(uri)).tolist() == heat(sequence(WILD), 3)["uncertainty"].tolist()
    assert stored[3]["scores"] == [pytest.approx([0.27] * 3), pytest.approx([0.77] * 3)]
    assert stored[0]["scores"] == [None, None]


def test_frames_are_shrunk(tmp_path):
    first = Reader(write(tmp_path / "page.html", width=20)).sequences()[WILD]["frames"][2]
    assert decoded(first["image"]).size == (20, 11)
    mask = np.array(decoded(first["masks"][1]))
    assert mask.shape == (11, 20)
    assert set(np.unique(mask)) == {0, 1, 7}


def test_the_curve_has_every_scored_frame_at_its_place(tmp_path):
    """A point of a method's line lies where the page takes its frame to be, and no name becomes markup."""
    page = Reader(write(tmp_path / "page.html")).sequences()
    assert page["bear 9"]["curve"] is None
    curve = page[WILD]["curve"]
    places = dict(zip([f["name"] for f in page[WILD]["frames"]], curve["places"], strict=True))
    assert list(places.values()) == sorted(set(places.values()))
    content = base64.b64decode(curve["image"].partition(";base64,")[2])
    svg = ElementTree.fromstring(content)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    width = float(svg.attrib["viewBox"].split()[2])
    texts = {text.text for text in svg.iter(f"{space}text")}
    assert {OURS, OTHER, "J&F", "frame"} <= texts
    assert not [tag for tag in svg.iter() if tag.tag in (f"{space}script", f"{space}i")]
    for colour, frames in (("#0072b2", range(1, FRAMES - 1)), ("#d55e00", range(1, FRAMES // 2))):
        (line,) = [path.attrib["d"] for path in svg.iter(f"{space}path")
                   if f"stroke: {colour}" in path.get("style", "") and "clip-path" in path.attrib]  # fmt: skip
        points = [[float(x) for x in pair.split()] for pair in re.findall(r"[ML] (\S+ \S+)", line)]
        assert [x / width for x, _ in points] == pytest.approx([places[f"{n:05d}"] for n in frames], abs=1e-4)
        values = [scores(WILD, n)[OURS if colour == "#0072b2" else OTHER][0] for n in frames]
        slope, start = np.polyfit(values, [y for _, y in points], 1)
        assert slope < 0  # better is higher
        np.testing.assert_allclose(slope * np.array(values) + start, [y for _, y in points], atol=1e-3)


def test_one_frame_is_held_at_a_time(tmp_path):
    events = []

    def read(name: str, number: int) -> np.ndarray:
        events.append((name, number))
        return image(number)

    asked = [sequence(name, frame=functools.partial(read, name)) for name in NAMES]
    path = write(tmp_path / "page.html", sequences=asked, maps=None)
    assert events == [(name, number) for name in NAMES for number in range(FRAMES)]
    pieces = [number for number in range(FRAMES) if f'"name":"{number:05d}"' in path.read_text(encoding="utf-8")]
    assert pieces == list(range(FRAMES))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": {}}, "methods are missing; give one or more"),
        ({"methods": {"annotation": results(0)}}, "none called 'annotation'"),
        ({"sequences": [sequence("bear 9", frame_names=[])]}, "'bear 9' comes twice or has no frames"),
        ({"sequences": [sequence(WILD), sequence(WILD)]}, "comes twice"),
    ],
)
def test_wrong_input_leaves_no_file(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "page.html", **changed)
    assert not list(tmp_path.iterdir())


def test_a_failure_while_frames_are_read_leaves_the_old_page(tmp_path):
    def read(number: int) -> np.ndarray:
        if number:
            raise OSError("the disk is gone")
        return image(0)

    path = write(tmp_path / "page.html")
    before = path.read_bytes()
    with pytest.raises(OSError, match="the disk is gone"):
        write(path, sequences=[sequence("bear 9", frame=read)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_jinja2_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"^the report page needs Jinja2: pip install 'munet_jax\[report\]'$"):
        write(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_jax_is_not_loaded():
    command = "import sys, munet_jax.report.page; print([m for m in ('jax', 'flax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
