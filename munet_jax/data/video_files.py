"""Video files in and out (extra 'video'): frames as they are decoded, one after the other."""

from __future__ import annotations

import contextlib
import fractions
import logging
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from munet_jax.data.video_streams import is_picture, other_sizes, stretched_size, turn_of, video_stream
from munet_jax.host_types import Image
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.content import refuse_impostor
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import cannot_read

LOG = logging.getLogger("munet_jax")
REPAIR = "copy it again, or repair it with: ffmpeg -i BROKEN -c copy FIXED"


def require_av() -> ModuleType:
    """PyAV; raises InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError("video files need the extra 'video': pip install 'munet_jax[video]'") from error
    return av


class VideoFile:
    """The frames of a video file in the order in which they are shown, turned and mirrored as players do.

    Attributes:
      path: the file.
      rate: frames per second, as the file says.
      expected: frames, as the file says; it may show fewer, and 0 says nothing.
      other_sizes: (height, width) of what else a mask may have been made of, by what it is.
    """

    def __init__(self, path: Path) -> None:
        """Read the file's description.

        Raises:
          InputError: the extra is missing, or the file is no video that can be opened.
        """
        self.path = path
        with opened_video(path) as (container, stream):
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.expected = int(stream.frames)
            self.other_sizes = other_sizes(container, stream)
            size = path.stat().st_size
            # Samples that the index promises and that lie beyond the end of the file.
            self._missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
            stretched = stretched_size(stream)
            # Read while the file is open: afterwards a stream's fields are somebody else's memory.
            taken, width, height = stream.index, stream.width, stream.height
            others = [
                f"{other.index} ({other.width} x {other.height})"
                for other in container.streams.video
                if other is not stream and not is_picture(other)
            ]
        if stretched is not None:
            LOG.warning(
                "%s: its pixels are no squares; players stretch its %d x %d to %d x %d, but masks are of the frames as they are",
                path, width, height, stretched[1], stretched[0],
            )  # fmt: skip
        if others:
            LOG.warning(
                "%s: holds %d videos; stream %d (%d x %d) is taken, not %s",
                path, 1 + len(others), taken, width, height, ", ".join(others),
            )  # fmt: skip

    def __iter__(self) -> Iterator[Image]:
        """Frames as RGB uint8 [h, w, 3].

        Raises:
          InputError: the file ends or breaks before its last frame; the frames before were given.
        """
        av = require_av()
        given = 0
        with opened_video(self.path) as (container, stream):
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise InputError(self._broken(given, "damaged data"))
                    yield turn_of(frame, self.path).apply(frame.to_ndarray(format="rgb24"))
                    given += 1
            except av.FFmpegError as error:
                raise InputError(self._broken(given, error.strerror)) from error
        if self._missing:
            raise InputError(self._broken(given, f"the file is cut off: its index promises {self._missing} more"))

    def most_frames(self) -> int:
        """As many frames as it can show at most: as the file says, else its packets, for which it is read through."""
        if self.expected:
            return self.expected
        av = require_av()
        with opened_video(self.path) as (container, stream):
            try:
                return sum(packet.size > 0 for packet in container.demux(stream))
            except av.FFmpegError:  # it breaks there: decoding says so, after the frames before
                return 0

    def _broken(self, given: int, reason: str) -> str:
        return f"{self.path}: breaks after {given} frames ({reason}); {REPAIR}"


def lenient_titles(av: Any) -> dict[str, str]:
    """What lets PyAV open a file whose titles are not UTF-8: an option up to version 18; from 19 on that is no error."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@contextlib.contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video, which can be decoded."""
    av = require_av()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the folder and the name")
    try:
        container = av.open(str(path), **lenient_titles(av))
    except av.FFmpegError as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: {cannot_read(error)}") from error
        refuse_impostor(path)
        raise InputError(
            f"{path}: cannot be opened as a video ({error.strerror}; its index may be missing); {REPAIR}"
        ) from error
    with container:
        stream = video_stream(container)
        if stream is None:
            cover = " (only a cover picture)" if container.streams.video else ""
            raise InputError(f"{path}: holds no video{cover}; give a video file, or a folder of frames")
        if stream.codec_context is None:
            raise InputError(
                f"{path}: there is no decoder for its codec here ({_codec(path)}); "
                "convert it with: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            )
        stream.thread_type = "AUTO"
        yield container, stream


def _codec(path: Path) -> str:
    """The four letters by which an mp4 or mov file calls its codec; FFmpeg has no name for one that it does not know."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(b"stsd")
        letters = content[place + 16 : place + 20] if place >= 0 else b""
    return letters.decode() if letters.isalnum() and letters.isascii() else "unknown"


def write_video(path: Path, frames: Iterable[Image], rate: float | int) -> None:
    """Write RGB uint8 frames of one size as H.264 in an mp4 file; the file appears whole or not at all.

    Args:
      path: ending in .mp4.
      frames: read one at a time. An odd last row or column is left out, which the codec asks for; a single one is doubled.
      rate: frames per second.

    Raises:
      InputError: the extra is missing, or the codec has no such size or rate.
    """
    av = require_av()
    try:
        _encode(path, frames, rate)
    except av.FFmpegError as error:
        raise InputError(f"{path}: H.264 cannot be written with this size or rate ({error.strerror})") from error


def _encode(path: Path, frames: Iterable[Image], rate: float | int) -> None:
    av = require_av()
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        stream = None
        for frame in frames:
            height, width = (max(2, length // 2 * 2) for length in frame.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=fractions.Fraction(rate).limit_denominator(10_000))
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
            whole = frame.repeat(2 if frame.shape[0] == 1 else 1, axis=0).repeat(
                2 if frame.shape[1] == 1 else 1, axis=1
            )
            even = np.ascontiguousarray(whole[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
