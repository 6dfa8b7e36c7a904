"""Frames of video files by number equal those in order, whatever the order in which they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from munet_jax.data.video_files import VideoFile, write_video
from munet_jax.runtime.errors import InputError
from munet_jax.web.footage import Footage
from munet_jax.web.indexed_video import index_video

av = pytest.importorskip("av")
COUNT = 60


def frames(count: int = COUNT) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 200, (48, 64, 3), np.uint8)
    return [np.roll(ground, 2 * number, axis=1) for number in range(count)]


def encode(path: Path, codec: str, options: dict[str, str], pixels: str = "yuv420p") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "h264.mp4": lambda path: encode(path, "libx264", {"g": "12", "bf": "3"}),
    "open_gop.mkv": lambda path: encode(path, "libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3"}),
    "one_key.mov": lambda path: encode(path, "libx264", {"g": "1000"}),
    "vp9.webm": lambda path: encode(path, "libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": lambda path: encode(path, "mpeg4", {"g": "8", "bf": "2"}),
    "stream.ts": lambda path: encode(path, "libx264", {"g": "12"}),
    "moving.gif": lambda path: encode(path, "gif", {}, "rgb8"),
}


@pytest.mark.parametrize("name", FILES)
def test_any_order_gives_the_frames_of_the_file(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path / name)
    expected = list(VideoFile(path))
    footage = Footage(str(path), tmp_path / "unpacked")
    assert footage.count == len(expected)
    order = [
        *range(5),
        50,
        49,
        48,
        30,
        31,
        12,
        11,
        24,
        59,
        0,
        *np.random.default_rng(0).permutation(len(expected))[:25].tolist(),
    ]
    for number in order:
        np.testing.assert_array_equal(footage.frame(number), expected[number])
    footage.close()


def test_common_files_are_not_unpacked(tmp_path: Path) -> None:
    for name in ("h264.mp4", "open_gop.mkv", "one_key.mov", "vp9.webm"):
        path = FILES[name](tmp_path / name)
        Footage(str(path), tmp_path / "unpacked").close()
    assert not (tmp_path / "unpacked").exists()


def test_a_file_without_times_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES["h264.mp4"](tmp_path / "v.mp4")
    monkeypatch.setattr("munet_jax.web.footage.index_video", lambda _: None)
    footage = Footage(str(path), tmp_path / "unpacked")
    assert (footage.count, len(list((tmp_path / "unpacked").iterdir()))) == (COUNT, COUNT)
    np.testing.assert_array_equal(footage.frame(33), list(VideoFile(path))[33])


def test_little_is_held_of_a_long_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("munet_jax.web.indexed_video.HELD_BYTES", 10 * 48 * 64 * 3)
    path = FILES["h264.mp4"](tmp_path / "v.mp4")
    footage = Footage(str(path), tmp_path / "unpacked")
    for number in range(COUNT):
        footage.frame(number)
    reader = footage._readers[0]
    assert len(reader._held) == 2
    sought: list[int] = []
    seek = reader._seek
    monkeypatch.setattr(reader, "_seek", lambda number: (sought.append(number), seek(number)))
    for number in range(COUNT - 3, 20, -1):
        footage.frame(number)
    assert len(reader._held) == 10
    assert len(sought) < 12  # of 37 steps back


def test_damaged_videos_are_told(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<!doctype html><p>sign in")
    with pytest.raises(InputError, match="is a web page"):
        Footage(str(tmp_path / "page.mp4"), tmp_path / "u")
    whole = FILES["h264.mp4"](tmp_path / "v.mp4").read_bytes()
    (tmp_path / "head.mp4").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(InputError, match="cannot be opened as a video"):
        Footage(str(tmp_path / "head.mp4"), tmp_path / "u")
    cut = FILES["open_gop.mkv"](tmp_path / "v.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(cut[: len(cut) // 2])
    footage = Footage(str(tmp_path / "cut.mkv"), tmp_path / "u")  # what is there of it can be used
    assert 0 < footage.count < COUNT
    assert footage.frame(0).shape == (48, 64, 3)
    footage.close()


def test_an_index_says_where_decoding_begins(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", frames(20), 10)
    index = index_video(tmp_path / "v.mp4")
    assert index is not None
    assert (len(index.times), index.keys[0]) == (20, 0)
