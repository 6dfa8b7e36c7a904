"""The report page: what is in the file."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from munet_jax.data.masks import davis_palette
from munet_jax.report.page import PageFrame, PageSequence
from munet_jax.runtime.errors import InputError
from tests.report.small_page import (
    FRAMES,
    NAMES,
    OTHER,
    OURS,
    WILD,
    frame,
    labels,
    results,
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
    assert rows[:2] == [WILD, "bear 10"]
    assert rows[2:] == [WILD, WILD, "bear 10", "bear 10", "bear 10", WILD]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    heads = re.findall(r"<button type=\"button\">(.*?)</button>", text)
    assert heads[:8] == ["Method", "J", "F", "J&amp;F", "G", "J recall", "Frames/s", "Device"]
    assert ">12.3<" in text
    assert "nan" not in re.findall(r'data-value="(.*?)"', text)


def test_pictures_are_those_that_were_given(tmp_path):
    stored = Reader(write(tmp_path / "page.html")).sequences()[WILD]["frames"]
    assert [f["name"] for f in stored] == [f"{n:05d}" for n in range(FRAMES)]
    assert stored[0]["masks"][0] is None
    given = frame(WILD, 3)
    for uri, name in zip(stored[3]["masks"], ("annotation", OURS, OTHER), strict=True):
        mask = decoded(uri)
        assert mask.mode == "P"
        assert np.array(mask).tolist() == given.masks[name].tolist()
        colours = np.array(mask.convert("RGBA"))
        assert (colours[..., 3] == 255 * (given.masks[name] > 0)).all()
        assert colours[20, 26, :3].tolist() == davis_palette()[given.masks[name][20, 26]].tolist()
    picture = decoded(stored[3]["image"])
    assert picture.format == "JPEG"
    assert np.abs(np.array(picture, int) - given.image).max() < 8
    ((name, heat),) = stored[3]["maps"]
    assert name == "uncertainty"
    assert np.array(decoded(heat)).tolist() == given.maps["uncertainty"].tolist()
    assert stored[3]["scores"] == [pytest.approx([0.27, 0.27]), pytest.approx([0.77, 0.77])]
    assert stored[0]["scores"] == [None, None]


def test_frames_are_shrunk(tmp_path):
    first = Reader(write(tmp_path / "page.html", width=20)).sequences()[WILD]["frames"][2]
    assert decoded(first["image"]).size == (20, 11)
    mask = np.array(decoded(first["masks"][1]))
    assert mask.shape == (11, 20)
    assert set(np.unique(mask)) == {0, 1, 7}


def test_sequences_are_streamed(tmp_path):
    events = []

    def frames(name: str) -> Iterator[PageFrame]:
        for number in range(2):
            events.append((name, number))
            yield frame(name, number)

    def sequences() -> Iterator[PageSequence]:
        for name in NAMES:
            events.append((name, "asked for"))
            yield PageSequence(name, frames(name), {})

    write(tmp_path / "page.html", sequences=sequences())
    assert events == [(name, what) for name in NAMES for what in ("asked for", 0, 1)]


def wrong_mask(**masks: np.ndarray) -> list[PageSequence]:
    good = frame(WILD, 1)
    return [PageSequence("x", [PageFrame("00007", good.image, masks, {}, {})], {})]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": {}}, "no method"),
        ({"methods": {"annotation": results(0)}}, "another name"),
        ({"methods": {"m": {"J": 0.5}}}, "'m' have no 'sequences'"),
        ({"width": 0}, "width is 0"),
        ({"sequences": [PageSequence("x", [], {})]}, "'x' has no frames"),
        ({"sequences": [sequence(WILD), sequence(WILD)]}, "comes twice"),
        ({"sequences": wrong_mask(theirs=labels(0))}, "x, frame 00007: has a mask of 'theirs'"),
        ({"sequences": wrong_mask(ours=labels(0)[:-1])}, r"mask of 'ours' is \[31, 56\] but the frame is \[32, 56\]"),
    ],
)
def test_wrong_input_leaves_no_file(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "page.html", **changed)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_a_generator_leaves_the_old_page(tmp_path):
    def frames() -> Iterator[PageFrame]:
        yield frame(WILD, 0)
        raise OSError("the disk is gone")

    path = write(tmp_path / "page.html")
    before = path.read_bytes()
    with pytest.raises(OSError, match="the disk is gone"):
        write(path, sequences=[PageSequence("x", frames(), {})])
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
