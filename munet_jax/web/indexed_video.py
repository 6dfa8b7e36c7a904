"""Frames of a video file by number: packets say where each is, and a few are decoded from the key frame before it."""

from __future__ import annotations

import bisect
import collections
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from munet_jax.data.video_files import REPAIR, opened_video, require_av
from munet_jax.data.video_streams import turn_of
from munet_jax.host_types import Image
from munet_jax.runtime.errors import InputError

HELD_BYTES = (
    96 * 2**20
)  # of decoded frames, for who goes back: the next step back seldom decodes from the key frame again
FORWARD = 2  # frames that are held for who goes forward; many that come and go would tear the heap


class VideoIndex(NamedTuple):
    """When frames are shown, in the stream's units.

    Attributes:
      times: of every frame, ascending.
      keys: numbers of the frames from which decoding can begin, ascending.
    """

    times: tuple[int, ...]
    keys: tuple[int, ...]


def index_video(path: Path) -> VideoIndex | None:
    """The index of a video file, which is read through once and not decoded; None where its packets do not tell.

    Raises:
      InputError: the file cannot be opened.
    """
    av = require_av()
    times, keys = [], []
    # A damaged end: what lies before it can be shown.
    with opened_video(path) as (container, stream), contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and packet.pts is None:
                return None
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
                keys += [packet.pts] if packet.is_keyframe else []
    order = tuple(sorted(times))
    if not order or len(set(order)) < len(order) or not keys or min(keys) != order[0]:
        return None
    index = VideoIndex(order, tuple(bisect.bisect_left(order, time) for time in sorted(keys)))
    return index if _is_true(path, index) else None


def _is_true(path: Path, index: VideoIndex) -> bool:
    """Whether the first frame, the last key frame and one behind it are found where the index has them."""
    with contextlib.closing(VideoReader(path, index)) as reader:
        try:
            for number in {0, index.keys[-1], min(index.keys[len(index.keys) // 2] + 1, len(index.times) - 1)}:
                reader.read(number)
        except InputError:
            return False
    return True


class VideoReader:
    """Frames of a file by number; a frame behind the one before it costs one frame's decoding."""

    def __init__(self, path: Path, index: VideoIndex) -> None:
        """Nothing is opened yet."""
        self.path, self.index = path, index
        self._numbers = {time: number for number, time in enumerate(index.times)}
        self._lock = threading.Lock()
        self._held: collections.OrderedDict[int, Image] = collections.OrderedDict()
        self._room = FORWARD
        self._open = contextlib.ExitStack()
        self._decoded: Iterator[Any] | None = None
        self._at = -1  # the number of the frame that was decoded last
        self._back = False  # whether the last frame that was not held lay before that

    def read(self, number: int) -> Image:
        """RGB uint8 [h, w, 3]. Raises InputError where the file is damaged there."""
        with self._lock:
            if number not in self._held:
                self._back = number < self._at
                self._decode_to(number)
            self._held.move_to_end(number)
            return self._held[number]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._decoded = None
        self._open.close()

    def _decode_to(self, number: int) -> None:
        av = require_av()
        place = bisect.bisect_right(self.index.keys, number) - 1
        behind = self._decoded is not None and self.index.keys[place] <= self._at < number
        # Some containers seek to a later key frame than they were asked for: then one before it is asked for.
        for step in range(4):
            try:
                if not behind:
                    self._seek(self.index.keys[place - step] if place > step else 0)
                if self._run_to(number):
                    return
                behind = False
            except (av.FFmpegError, EOFError) as error:
                self._close()
                reason = getattr(error, "strerror", None) or "the file ends before it"
                raise InputError(f"{self.path}: frame {number} cannot be decoded ({reason}); {REPAIR}") from error
        self._close()
        raise InputError(f"{self.path}: frame {number} cannot be found; {REPAIR}")

    def _seek(self, number: int) -> None:
        self._close()
        container, stream = self._open.enter_context(opened_video(self.path))
        if number:
            container.seek(self.index.times[number], stream=stream, backward=True)
        self._decoded, self._at = iter(container.decode(stream)), -1

    def _run_to(self, number: int) -> bool:
        """Decode up to a frame and hold those before it; False where decoding began behind it."""
        assert self._decoded is not None
        for frame in self._decoded:
            found = self._numbers.get(frame.pts)
            if found is None:
                continue
            if found > number:
                return False
            self._at = found
            if found == number or found > number - self._room:
                if frame.is_corrupt and found == number:
                    raise InputError(f"{self.path}: frame {number} is damaged; {REPAIR}")
                self._hold(found, turn_of(frame, self.path).apply(frame.to_ndarray(format="rgb24")))
            if found == number:
                return True
        raise EOFError

    def _hold(self, number: int, frame: Image) -> None:
        frame.setflags(write=False)
        self._held[number] = frame
        self._room = max(FORWARD, HELD_BYTES // frame.nbytes) if self._back else FORWARD
        while len(self._held) > self._room:
            self._held.popitem(last=False)
