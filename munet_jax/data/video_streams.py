"""What lies in a video file beside its frames: several streams, cover art, and how frames are turned before they are shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from munet_jax.host_types import UInt8
from munet_jax.runtime.errors import InputError

Picture = UInt8[np.ndarray, "_ _ 3"]  # a turn exchanges its sides
# FFmpeg's AV_DISPOSITION_*: pictures that belong to a file and are none of its frames.
_ATTACHED_PICTURE, _TIMED_THUMBNAILS, _DEFAULT = 1 << 10, 1 << 11, 1
_MATRIX_BYTES = 36  # nine numbers of 32 bits
_MOST_DEGREES = 1.0  # by which a turn may differ from a quarter and still be one, as in FFmpeg
_LEAST_SQUARE = 0.01  # what the sides of a pixel differ by where players stretch a video


class Turn(NamedTuple):
    """What is done to a stored frame before it is shown: swap its axes, then mirror.

    Attributes:
      transpose: rows become columns.
      mirror_x: left and right change places, of what is shown.
      mirror_y: top and bottom do.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, picture: Picture) -> Picture:
        """A frame as it is shown."""
        if self == UPRIGHT:
            return picture
        shown = picture.transpose(1, 0, 2) if self.transpose else picture
        return np.ascontiguousarray(shown[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])


UPRIGHT = Turn()


def turn_of_matrix(matrix: np.ndarray) -> Turn | None:
    """The turn that a display matrix asks for; None where it is none of the eight that keep pixels on their grid.

    Args:
      matrix: nine numbers as FFmpeg keeps them, (a, b, u, c, d, v, x, y, w): a stored pixel (x, y) is shown at
        (a x + c y, b x + d y).
    """
    a, b, _, c, d = (float(value) for value in matrix[:5])
    if a * d == b * c:
        return None
    straight, crossed = math.hypot(a, d), math.hypot(b, c)
    # Of the larger pair the smaller one is what a turn by an angle leaves.
    if min(straight, crossed) > math.sin(math.radians(_MOST_DEGREES)) * max(straight, crossed):
        return None
    return Turn(mirror_x=a < 0, mirror_y=d < 0) if straight > crossed else Turn(True, mirror_x=c < 0, mirror_y=b < 0)


def turn_of(frame: Any, path: Path) -> Turn:
    """How a decoded frame is shown; phones store how they were held, and leave the turning to who shows the video.

    Raises:
      InputError: by an angle that no picture of pixels has.
    """
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)
    content = bytes(found) if found is not None else b""
    if len(content) != _MATRIX_BYTES:
        return UPRIGHT
    turn = turn_of_matrix(np.frombuffer(content, np.int32))
    if turn is None:
        raise InputError(
            f"{path}: is to be shown turned by {frame.rotation} degrees or slanted; write it as it is shown: "
            "ffmpeg -i INPUT OUTPUT.mp4"
        )
    return turn


def video_stream(container: Any) -> Any:
    """The stream that players show: of those that are videos the one that is marked as default, else the first; or None."""
    videos = [stream for stream in container.streams.video if not is_picture(stream)]
    return next((stream for stream in videos if stream.disposition & _DEFAULT), videos[0] if videos else None)


def is_picture(stream: Any) -> bool:
    """Whether a stream is cover art or thumbnails."""
    return bool(stream.disposition & (_ATTACHED_PICTURE | _TIMED_THUMBNAILS))


def other_sizes(container: Any, taken: Any) -> dict[str, tuple[int, int]]:
    """(height, width) that a picture of this file may have and its frames have not, by what it is of."""
    found = {}
    for number, stream in enumerate(container.streams.video):
        if stream is not taken and stream.codec_context is not None:
            kind = "cover picture" if is_picture(stream) else "video"
            take = "" if is_picture(stream) else f": ffmpeg -i INPUT -map 0:v:{number} -c copy OUTPUT takes it out"
            found[f"the file's other {kind}, stream {stream.index}{take}"] = (stream.height, stream.width)
    stretched = stretched_size(taken)
    if stretched is not None:
        found["the video as players stretch it: ffmpeg -i INPUT -vf scale=iw*sar:ih,setsar=1 OUTPUT.mp4"] = stretched
    return found


def stretched_size(stream: Any) -> tuple[int, int] | None:
    """(height, width) at which players show frames whose pixels are no squares; None of others."""
    aspect = stream.sample_aspect_ratio
    if not aspect or abs(float(aspect) - 1) < _LEAST_SQUARE:
        return None
    return stream.height, round(stream.width * float(aspect))
