"""What the operating system refuses, as one line and without anything half-written."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from munet_jax.data.images import read_image
from munet_jax.data.video_files import VideoFile
from munet_jax.runtime.atomic_files import atomic_path, exclusive, remove_temporaries, writing_to
from munet_jax.runtime.attempts import attempt
from munet_jax.runtime.content import read_json, read_lines
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.shutdown import StopFlag
from munet_jax.runtime.system_errors import tell_system_error, told_of

LONG = "v" * 251


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left); free some"),
        (errno.EDQUOT, "of your quota); free some"),
        (errno.EROFS, "read-only); name another place"),
        (errno.EACCES, "no permission); name another place"),
        (errno.ENAMETOOLONG, "longer than the file system takes); shorten it"),
        (errno.EMFILE, "too many files are open); raise the limit: ulimit -n"),
        (errno.EIO, "does not answer); check it"),
        (errno.ENOTDIR, "a file is where a folder would have to be); name another place"),
        (errno.EXDEV, "link); name another place"),  # any other: the system's own words
        (None, "strange); name another place"),
    ],
)
def test_every_error_has_words(number: int | None, words: str) -> None:
    error = OSError("strange") if number is None else OSError(number, os.strerror(number))
    with pytest.raises(InputError) as caught, told_of(Path("out")):
        raise error
    text = str(caught.value)
    assert text.startswith("out: cannot be written to (")
    assert words in text
    assert "\n" not in text
    assert "\n" not in tell_system_error(error)


def test_the_file_is_named_and_remedies_may_be_given() -> None:
    with (
        pytest.raises(InputError, match=r"^out: cannot be written to \(out/x: no permission\); do that$"),
        told_of(Path("out"), "do that"),
    ):
        raise PermissionError(errno.EACCES, "x", "out/x")
    with (
        pytest.raises(InputError, match=r"no space left\); do this$"),
        told_of(Path("out"), "do that", no_space="do this"),
    ):
        raise OSError(errno.ENOSPC, "x")
    with pytest.raises(InputError, match=r"cannot write a name: .*; rename it$"), told_of(Path("out")):
        raise UnicodeEncodeError("ascii", "ü", 0, 1, "no")
    with pytest.raises(InputError, match="^mine$"), told_of(Path("out")):
        raise InputError("mine")


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in (
        (Path("/proc/nope"), "no such place"),
        (tmp_path / "file", "a file is where a folder"),
        (tmp_path / "file/below", "a file is where a folder"),
        (tmp_path / ("n" * 300), "longer than the file system takes"),
    ):
        with (
            pytest.raises(InputError, match=f"cannot be written to .*{reason}.*name another folder"),
            writing_to(place),
        ):
            pass
    with writing_to(tmp_path / "new/folder"):
        pass
    assert list((tmp_path / "new/folder").iterdir()) == []


def test_names_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / f"{LONG}.png"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OSError, match="too long"), atomic_path(tmp_path / f"{LONG}.longer") as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_killed_writers_left_is_known_by_its_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "kept.png") as temporary:
        left = temporary.name
        temporary.touch()
    (tmp_path / left).touch()
    (tmp_path / ".mine").touch()
    remove_temporaries(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".mine", "kept.png"]


def test_a_folder_is_worked_in_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with exclusive(tmp_path), pytest.raises(InputError, match="another run is working here"), exclusive(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with exclusive(tmp_path):
        pass

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with caplog.at_level(logging.WARNING, "munet_jax"), exclusive(tmp_path):
        assert "cannot be locked (No locks available)" in caplog.text


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopFlag(signal.SIGTERM) as stop:
            found.append((stop.raised, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


@pytest.mark.parametrize("read", [read_image, lambda path: read_json(path, "unpack it"), read_lines])
def test_what_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "file.png"
    path.write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(PIL.Image, "open", refuse)
    with pytest.raises(InputError, match=r"file.png: cannot be read \(no permission\); change who may read it$"):
        read(path)


def test_a_video_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "clip.mp4").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise av.PermissionError(errno.EACCES, "Permission denied", "clip.mp4")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError, match=r"clip.mp4: cannot be read \(no permission\); change who may read it"):
        VideoFile(tmp_path / "clip.mp4")


def test_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for read in (read_image, read_lines):
        with pytest.raises(InputError, match=r"folder.png: cannot be read \(it is a folder\); name a file"):
            read(tmp_path / "folder.png")


def test_what_fails_after_the_work_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert attempt("picture", lambda: 3, "masks are whole") == 3

    def fail() -> None:
        raise ValueError("of\na library")

    with caplog.at_level(logging.WARNING, "munet_jax"):
        assert attempt("picture", fail, "masks are whole") is None
    assert "picture: cannot be made (of a library); masks are whole" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        attempt("picture", lambda: (_ for _ in ()).throw(KeyboardInterrupt()), "")
