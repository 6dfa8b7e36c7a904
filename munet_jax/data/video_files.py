"""Video files in and out (extra 'video'): frames as they are decoded, one after the other."""

from __future__ import annotations

import contextlib
import fractions
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from munet_jax.host_types import Image
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

REPAIR = "copy it again, or repair it with: ffmpeg -i BROKEN -c copy FIXED"


def require_av() -> ModuleType:
    """PyAV; raises InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError("video files need the extra 'video': pip install 'munet_jax[video]'") from error
    return av


class VideoFile:
    """The frames of a video file in the order in which they are shown, upright.

    Attributes:
      path: the file.
      rate: frames per second, as the file says.
      expected: frames, as the file says; it may show fewer, and 0 says nothing.
    """

    def __init__(self, path: Path) -> None:
        """Read the file's description.

        Raises:
          InputError: the extra is missing, or the file is no video that can be opened.
        """
        self.path = path
        with _opened(path) as container:
            stream = container.streams.video[0]
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.expected = int(stream.frames)
            size = path.stat().st_size
            # Samples that the index promises and that lie beyond the end of the file.
            self._missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)

    def __iter__(self) -> Iterator[Image]:
        """Frames as RGB uint8 [h, w, 3].

        Raises:
          InputError: the file ends or breaks before its last frame; the frames before were given.
        """
        av = require_av()
        given = 0
        with _opened(self.path) as container:
            try:
                for frame in container.decode(video=0):
                    if frame.is_corrupt:
                        raise InputError(self._broken(given, "damaged data"))
                    yield _upright(frame)
                    given += 1
            except av.FFmpegError as error:
                raise InputError(self._broken(given, error.strerror)) from error
        if self._missing:
            raise InputError(self._broken(given, f"the file is cut off: its index promises {self._missing} more"))

    def _broken(self, given: int, reason: str) -> str:
        return f"{self.path}: breaks after {given} frames ({reason}); {REPAIR}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The container of a file with a video stream that can be decoded."""
    av = require_av()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the folder and the name")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({error.strerror}; its index may be missing); {REPAIR}"
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path}: holds no video; give a video file, or a folder of frames")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(
                f"{path}: there is no decoder for its codec here ({_codec(path)}); "
                "convert it with: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            )
        stream.thread_type = "AUTO"
        yield container


def _codec(path: Path) -> str:
    """The four letters by which an mp4 or mov file calls its codec; FFmpeg has no name for one that it does not know."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(b"stsd")
        letters = content[place + 16 : place + 20] if place >= 0 else b""
    return letters.decode() if letters.isalnum() and letters.isascii() else "unknown"


def _upright(frame: Any) -> Image:
    """Phones store how they were held, and leave the turning to who shows the video."""
    picture = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def write_video(path: Path, frames: Iterable[Image], rate: float | int) -> None:
    """Write RGB uint8 frames of one size as H.264 in an mp4 file; the file appears whole or not at all.

    Args:
      path: ending in .mp4.
      frames: read one at a time. An odd last row or column is left out, which the codec asks for.
      rate: frames per second.

    Raises:
      InputError: the extra is missing.
    """
    av = require_av()
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        stream = None
        for frame in frames:
            height, width = (length // 2 * 2 for length in frame.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=fractions.Fraction(rate).limit_denominator(10_000))
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
            even = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
