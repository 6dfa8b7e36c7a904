"""The frames of a session by number, whatever they come from."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from munet_jax.data.images import describe_size
from munet_jax.data.sizes import Size
from munet_jax.host_types import Image
from munet_jax.inference.files.inputs import FrameFiles, VideoFrames, open_input, unpack_video
from munet_jax.runtime.errors import InputError
from munet_jax.web.indexed_video import VideoReader, index_video

SHOWN_SIDE = 2048  # pixels of the longer side of a picture in the page
THUMBNAIL_HEIGHT = 96
Read = Callable[[int], Image]


class Footage:
    """A video that can be asked for any frame, by several threads.

    Attributes:
      count: frames.
      size: (height, width) of every frame.
      rate: frames per second.
    """

    def __init__(self, source: str, unpacked: Path) -> None:
        """Open a video.

        Args:
          source: as `munet segment` takes it.
          unpacked: where frames are put, of a video whose file cannot be asked for a frame by its number.

        Raises:
          InputError: it cannot be opened, or shows no frame.
        """
        self.source = source
        self._input = open_input(source)
        self.rate, self._index = float(self._input.rate), None
        if isinstance(self._input, VideoFrames):
            self._index = index_video(self._input.video.path)
            if self._index is None:
                self._input = unpack_video(self._input, unpacked)
        self.count = len(self._index.times) if self._index else len(self._input)  # type: ignore[arg-type]
        if not self.count:
            raise InputError(f"{source}: shows no frame; give another video")
        self._readers: dict[int, VideoReader] = {}
        self._lock = threading.Lock()
        self.size: tuple[int, int] = self._read(0).shape[:2]

    def name(self, number: int) -> str:
        """What the frame's results are called."""
        return self._input.name(number)

    def frame(self, number: int, reader: int = 0) -> Image:
        """RGB uint8 [h, w, 3].

        Args:
          number: from 0.
          reader: whose place in the file is used: those who read in order keep one to themselves.

        Raises:
          InputError: there is no such frame, it cannot be read, or has another size than the first.
        """
        if not 0 <= number < self.count:
            raise InputError(f"there is no frame {number}; the video has {self.count}, counted from 0")
        frame = self._read(number, reader)
        if frame.shape[:2] != self.size:
            raise InputError(
                f"frame called {self.name(number)}: is {describe_size(frame.shape)}, but the video began with "
                f"{describe_size(self.size)}; resize it, or take it away"
            )
        return frame

    def other_sizes(self) -> dict[str, Size]:
        """What else a mask may have been made of, and its size."""
        return self._input.other_sizes()

    def fingerprint(self) -> str:
        """What tells this video from another one under the same name."""
        return f"{self.count} {self.size[1]}x{self.size[0]} {self._input.checksum(0)}"

    def _read(self, number: int, reader: int = 0) -> Image:
        if self._index is None:
            assert isinstance(self._input, FrameFiles)
            return self._input[number]
        assert isinstance(self._input, VideoFrames)
        with self._lock:
            if reader not in self._readers:
                self._readers[reader] = VideoReader(self._input.video.path, self._index)
        return self._readers[reader].read(number)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            for reader in self._readers.values():
                reader.close()


def as_jpeg(frame: Image, *, thumbnail: bool = False) -> bytes:
    """A frame for the page."""
    picture = PILImage.fromarray(frame)
    width, height = picture.size
    share = THUMBNAIL_HEIGHT / height if thumbnail else SHOWN_SIDE / max(width, height)
    if share < 1:
        picture = picture.resize((max(1, round(width * share)), max(1, round(height * share))), PILImage.Resampling.BOX)
    return encode(picture, "JPEG", quality=80 if thumbnail else 92)


def encode(picture: PILImage.Image | np.ndarray, kind: str, **options: int) -> bytes:
    """An image file's content."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, PILImage.Image) else PILImage.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()
