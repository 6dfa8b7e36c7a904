"""What a session keeps: strokes, objects, undo across all of it, after a kill, with a full disk, for two pages."""

from __future__ import annotations

import contextlib
import io
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.data.masks import read_mask, write_mask
from munet_jax.inference.prediction import Prediction
from munet_jax.runtime.errors import InputError
from munet_jax.web.events import Hub
from munet_jax.web.session import Session
from munet_jax.web.store import Store
from tests.web.conftest import COUNT, HEIGHT, WIDTH


@pytest.fixture
def session(frames: Path, tmp_path: Path) -> Any:
    found = Session(str(frames), tmp_path / "out", Hub())
    yield found
    found.close()


def box(left: int, top: int, right: int, bottom: int, identity: int) -> np.ndarray:
    return np.array([(y * WIDTH + left, right - left, identity) for y in range(top, bottom)])


def predicted(frame: int, labels: np.ndarray) -> Prediction:
    ids = tuple(int(i) for i in np.unique(labels) if i)
    return Prediction(labels.astype(np.uint8), ids, frame)


def mask(session: Session, frame: int) -> np.ndarray:
    version = session.store.current(frame)
    return np.zeros((HEIGHT, WIDTH), np.uint8) if version.number is None else version.labels


def test_a_stroke_is_in_the_folder_at_once_and_there_after_a_kill(
    session: Session, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_object()
    before, after = session.paint(3, box(10, 20, 30, 40, 1), "Brush")
    assert (before.number, after.marked, after.stats) == (None, (1,), {"1": [400, None, None]})
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[20:40, 10:30] = 1
    np.testing.assert_array_equal(read_mask(session.out / "masks/00003.png"), expected)
    with PILImage.open(session.out / "masks/00003.png") as image:
        assert image.mode == "P"
    # Another process that finds the files as a kill leaves them, before the last mask was written.
    monkeypatch.setattr(session, "write_files", lambda: None)
    session.paint(3, box(10, 20, 30, 30, 0), "Erase")
    expected[20:30] = 0
    shutil.copytree(session.out, tmp_path / "copy")
    later = Session(str(frames), tmp_path / "copy", Hub())
    np.testing.assert_array_equal(mask(later, 3), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "copy/masks/00003.png"), expected)
    assert [later.undo(), later.undo()] == ["Erase", "Brush"]
    later.close()


def test_undo_and_redo_across_strokes_objects_imports_and_following(session: Session) -> None:
    session.add_object()
    session.paint(0, box(0, 0, 10, 10, 1), "Brush")
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:9, 5:9] = 7
    step = session.store.begin("Follow forward")
    for frame in (1, 2):
        session.follow(step, predicted(frame, labels * 0 + (labels > 0)), None, None, {"1": [0, 0.5, 0.25]})
    session.store.end(step)
    session.import_labels(1, _png(labels), "mine.png")
    session.change_object(1, {"name": "bird"})
    session.remove_object(7)
    everything = _everything(session)
    assert [entry["id"] for entry in session.store.objects()] == [1]
    done = [session.undo() for _ in range(7)]
    assert done == ["Remove object", "Change name", "Import mine.png", "Follow forward", "Brush", "Add object", None]
    assert _everything(session)[1:] == [None] * COUNT
    assert session.store.objects() == []
    assert [path.name for path in (session.out / "masks").iterdir()] == []
    assert [session.undo(again=True) for _ in range(7)] == [*done[5::-1], None]
    assert _everything(session) == everything
    session.undo()
    session.add_object()
    assert session.store.history() == {"undo": "Add object", "redo": None}


def test_undo_leaves_what_was_painted_over_a_followed_mask(session: Session) -> None:
    session.add_object()
    session.paint(0, box(0, 0, 10, 10, 1), "Brush")
    step = session.store.begin("Follow forward")
    for frame in (1, 2, 3):
        session.follow(step, predicted(frame, np.ones((HEIGHT, WIDTH))), None, None, {"1": [0, 0.5, None]})
        if frame == 2:
            session.paint(1, box(0, 0, 72, 28, 0), "Erase")
    session.store.end(step)
    assert session.undo() == "Follow forward"
    assert mask(session, 1).sum() == HEIGHT * WIDTH / 2  # the stroke came later
    assert (mask(session, 2).sum(), mask(session, 3).sum()) == (0, 0)
    assert session.undo() == "Erase"


def test_what_is_marked_while_it_is_followed_stays(session: Session) -> None:
    session.add_object()
    step = session.store.begin("Follow forward")
    seen = session.store.current(1).number
    session.paint(1, box(0, 0, 4, 4, 1), "Brush")
    session.follow(step, predicted(1, np.ones((HEIGHT, WIDTH))), None, seen, {"1": [0, 0.5, None]})
    assert mask(session, 1).sum() == 16


def test_locked_objects_are_changed_by_nothing(session: Session) -> None:
    for _ in range(2):
        session.add_object()
    session.paint(1, box(0, 0, 10, 10, 1), "Brush")
    session.change_object(1, {"locked": True})
    session.paint(1, box(0, 0, 20, 20, 2), "Brush")
    assert (mask(session, 1) == 1).sum() == 100
    step = session.store.begin("Follow forward")
    version = session.store.current(1).number
    session.follow(
        step, predicted(1, np.full((HEIGHT, WIDTH), 2)), (1, 2), version, {"1": [9, 0.5, None], "2": [9, 0.5, 1.0]}
    )
    session.store.end(step)
    labels = mask(session, 1)
    assert ((labels == 1).sum(), labels[0, 0], labels[30, 30]) == (100, 1, 2)
    assert session.store.current(1).stats == {"1": [100, None, None], "2": [HEIGHT * WIDTH - 100, 0.5, 1.0]}


def test_two_pages_that_paint_one_frame_lose_no_stroke(session: Session) -> None:
    session.add_object()

    def paint(first: int) -> None:
        for row in range(first, 40, 2):
            session.paint(0, box(0, row, WIDTH, row + 1, 1), "Brush", f"page {first}")

    pages = [threading.Thread(target=paint, args=(first,)) for first in (0, 1)]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    assert mask(session, 0).sum() == 40 * WIDTH
    np.testing.assert_array_equal(read_mask(session.out / "masks/00000.png"), mask(session, 0))


def test_many_steps_keep_the_file_small(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("munet_jax.web.store.MOST_STEPS", 5)
    session.add_object()
    for number in range(20):
        session.paint(0, box(number, 0, number + 1, 9, 1), "Brush")
    with contextlib.closing(sqlite3.connect(session.store.path)) as base, base:
        assert base.execute("SELECT COUNT(*) FROM versions").fetchone()[0] <= 7
    undone = [session.undo() for _ in range(8)].count("Brush")
    assert undone >= 4
    assert mask(session, 0).sum() == 9 * (20 - undone)


def test_a_full_disk_loses_nothing_that_was_painted(session: Session) -> None:
    session.add_object()
    session.paint(0, box(0, 0, 10, 10, 1), "Brush")
    pages = session.store._base.execute("PRAGMA page_count").fetchone()[0]
    session.store._base.execute(f"PRAGMA max_page_count = {pages}")
    noise = np.random.default_rng(0).integers(0, 2, HEIGHT * WIDTH)
    runs = np.array([(place, 1, int(identity)) for place, identity in enumerate(noise)])
    painted: list[int] = []

    def paint_all() -> None:
        for frame in range(1, COUNT):
            session.paint(frame, runs, "Brush")
            painted.append(frame)

    told = r"cannot be written to \(database or disk is full\); free some space; nothing painted before"
    with pytest.raises(InputError, match=told):
        paint_all()
    session.store._base.execute("PRAGMA max_page_count = 1000000")
    assert mask(session, 0).sum() == 100
    for frame in range(1, COUNT):
        np.testing.assert_array_equal(mask(session, frame).reshape(-1), noise * (frame in painted))
    session.paint(COUNT - 1, runs, "Brush")  # the page sends it again
    np.testing.assert_array_equal(mask(session, COUNT - 1).reshape(-1), noise)


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([(0, HEIGHT * WIDTH + 1, 1)], "pixels outside the frame"),
        ([(HEIGHT * WIDTH - 1, 2, 1)], "pixels outside the frame"),
        ([(4, 0, 1)], "pixels outside the frame"),
        ([(4, 1, 9)], "there is no object 9 any more"),
    ],
)
def test_strokes_that_cannot_be(session: Session, runs: list[tuple[int, int, int]], told: str) -> None:
    session.add_object()
    with pytest.raises(InputError, match=told):
        session.paint(0, np.array(runs), "Brush")
    with pytest.raises(InputError, match="there is no frame 8; the video has 8"):
        session.paint(8, box(0, 0, 1, 1, 1), "Brush")


def test_label_maps_that_cannot_be(session: Session) -> None:
    with pytest.raises(InputError, match=r"big.png: the mask is 80 x 60, but its frame is 72 x 56 \(width x height\)"):
        session.import_labels(0, _png(np.ones((60, 80), np.uint8)), "big.png")
    with pytest.raises(InputError, match="empty.png: shows no object"):
        session.import_labels(0, _png(np.zeros((HEIGHT, WIDTH), np.uint8)), "empty.png")
    with pytest.raises(InputError, match="not an image"):
        session.import_labels(0, b"<html>", "page.png")
    assert _everything(session)[1:] == [None] * COUNT


def test_folders_that_cannot_be(session: Session, frames: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another run is working here"):
        Session(str(frames), session.out, Hub())
    other = tmp_path / "other"
    other.mkdir()
    for number in range(3):
        PILImage.fromarray(np.zeros((20, 20, 3), np.uint8)).save(other / f"{number}.png")
    session.close()
    with pytest.raises(InputError, match="out: is of another video"):
        Session(str(other), session.out, Hub())
    write_mask(tmp_path / "segmented/masks/0.png", np.ones((20, 20), np.uint8))
    with pytest.raises(InputError, match="has masks, which is not of munet web"):
        Session(str(other), tmp_path / "segmented", Hub())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file is where a folder would have to be"):
        Session(str(other), tmp_path / "file", Hub())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no frames"):
        Session(str(tmp_path / "empty"), tmp_path / "o", Hub())
    Session(str(other), tmp_path / "new", Hub()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "new/.web.sqlite")) as base, base:
        base.execute("PRAGMA user_version = 9")
    with pytest.raises(InputError, match="is of another version of munet_jax"):
        Session(str(other), tmp_path / "new", Hub())


def test_frames_of_another_size_are_told(tmp_path: Path) -> None:
    for number, size in enumerate([(20, 30), (20, 30), (24, 30)]):
        (tmp_path / "mixed").mkdir(exist_ok=True)
        PILImage.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / f"mixed/{number}.png")
    session = Session(str(tmp_path / "mixed"), tmp_path / "out", Hub())
    assert session.footage.frame(1).shape == (20, 30, 3)
    with pytest.raises(InputError, match="frame called 2: is 30 x 24, but the video began with 30 x 20"):
        session.footage.frame(2)
    session.close()


def test_a_file_of_another_kind_under_the_session_name(tmp_path: Path) -> None:
    (tmp_path / ".web.sqlite").write_text("no database " * 100)
    with pytest.raises(InputError, match="file is not a database"):
        Store(tmp_path / ".web.sqlite")


def _png(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    image = PILImage.fromarray(labels.astype(np.uint8))
    image.putpalette([value for i in range(256) for value in (i, i * 7 % 256, i * 13 % 256)])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _everything(session: Session) -> list[Any]:
    versions = [session.store.current(frame) for frame in range(COUNT)]
    return [session.store.objects(), *((v.labels.tobytes(), v.marked, v.stats) if v.number else None for v in versions)]
