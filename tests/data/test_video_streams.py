"""Videos as players show them: turned, mirrored, with several streams, cover pictures and stretched pixels."""

from __future__ import annotations

import itertools
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from munet_jax.data.video_files import VideoFile, write_video
from munet_jax.data.video_streams import UPRIGHT, Turn, turn_of_matrix
from munet_jax.runtime.errors import InputError

pytest.importorskip("av")
from tests.data.videos import add_cover, gradient, set_matrix, write_plain, write_two_streams

MATRICES = [
    m for m in itertools.product((-1, 0, 1), repeat=4) if abs(m[0] * m[3] - m[1] * m[2]) == 1 and sum(map(abs, m)) == 2
]


def shown_at(picture: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """An oracle: every pixel (x, y) goes to (a x + c y, b x + d y), then all to where the smallest is 0."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    shown = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    shown[to_y, to_x] = picture
    return shown


@pytest.mark.parametrize("matrix", MATRICES)
def test_frames_are_turned_and_mirrored_by_the_display_matrix(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    assert len(MATRICES) == 8
    path = write_plain(tmp_path / "clip.mp4", [gradient()] * 3)
    stored = next(iter(VideoFile(path)))
    shown = list(VideoFile(set_matrix(path, *matrix)))
    assert len(shown) == 3
    for frame in shown:
        np.testing.assert_array_equal(frame, shown_at(stored, *matrix))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((2, 0, 0, 2), UPRIGHT),  # twice as large: players do not follow
        ((np.cos(0.01), np.sin(0.01), -np.sin(0.01), np.cos(0.01)), UPRIGHT),  # half a degree
        ((np.cos(0.2), np.sin(0.2), -np.sin(0.2), np.cos(0.2)), None),
        ((1, 0, 1, 1), None),  # slanted
        ((0, 0, 0, 0), None),
        ((0, 1, 1, 0), Turn(transpose=True)),
    ],
)
def test_matrices_that_are_no_turns(matrix: tuple[float, ...], turn: Turn | None) -> None:
    a, b, c, d = (round(value * 65536) for value in matrix)
    assert turn_of_matrix(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)) == turn


def test_a_slanted_video_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = set_matrix(write_plain(tmp_path / "clip.mp4", [gradient()]), 0.8, 0.6, -0.6, 0.8)
    with pytest.raises(
        InputError, match=r"clip.mp4: is to be shown turned by -?3\d.* degrees or slanted; .*ffmpeg -i INPUT"
    ):
        list(VideoFile(path))


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    song = add_cover(tmp_path / "song.mp3", gradient(), song=True)
    with pytest.raises(InputError, match=r"song.mp3: holds no video \(only a cover picture\); give a video file"):
        VideoFile(song)


def test_the_cover_of_a_video_is_no_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = VideoFile(add_cover(tmp_path / "clip.mp4", gradient(60, 60), song=False))
    assert [frame.shape for frame in video] == [(32, 48, 3)] * 3
    assert not caplog.records
    assert [size for called, size in video.other_sizes.items() if "cover picture" in called] == [(60, 60)]


def test_of_several_videos_one_is_taken_and_all_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_two_streams(tmp_path / "two.mp4", [gradient()] * 2, [gradient(64, 96)] * 2)
    with caplog.at_level(logging.WARNING, "munet_jax"):
        video = VideoFile(path)
    shapes = {frame.shape for frame in video}
    assert len(shapes) == 1
    ((height, width, _),) = shapes
    text = caplog.records[0].getMessage()
    assert f"holds 2 videos; stream {0 if height == 32 else 1} ({width} x {height}) is taken, not" in text
    other = (64, 96) if height == 32 else (32, 48)
    assert [size for called, size in video.other_sizes.items() if "-map 0:v:" in called] == [other]


def test_frames_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "png"), ("a.ts", "libx264")):
        video = VideoFile(write_plain(tmp_path / name, [gradient()] * 5, codec=codec))
        assert video.most_frames() == 5
    (tmp_path / "b.mkv").write_bytes((tmp_path / "a.mkv").read_bytes()[:-40])
    assert 0 <= VideoFile(tmp_path / "b.mkv").most_frames() <= 5


@pytest.mark.parametrize("size", [(1, 16), (16, 1), (1, 1), (3, 5)])
def test_overlays_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    write_video(tmp_path / "out.mp4", [np.full((*size, 3), 90, np.uint8)] * 2, 10)
    expected = tuple(max(2, side // 2 * 2) for side in size)
    assert [frame.shape[:2] for frame in VideoFile(tmp_path / "out.mp4")] == [expected] * 2


def test_what_the_codec_cannot_write_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out.mp4: H.264 cannot be written with this size or rate"):
        write_video(tmp_path / "out.mp4", [np.zeros((2, 40_000, 3), np.uint8)], 10)
    assert not list(tmp_path.iterdir())


def test_pixels_that_are_no_squares_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import av

    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(gradient(), format="rgb24")))
        container.mux(stream.encode())
    with caplog.at_level(logging.WARNING, "munet_jax"):
        video = VideoFile(tmp_path / "clip.mp4")
    assert "players stretch its 48 x 32 to 64 x 32, but masks are of the frames as they are" in caplog.text
    assert (32, 64) in video.other_sizes.values()
    assert next(iter(video)).shape == (32, 48, 3)


def test_titles_need_not_be_utf_8(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "clip.mp4", [gradient()])
    content = path.read_bytes()
    place = content.index(b"VideoHandler")
    path.write_bytes(content[:place] + b"Vid\xe9\xe8Handler" + content[place + 12 :])
    assert len(list(VideoFile(path))) == 1
