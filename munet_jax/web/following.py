"""Which frames are followed, in which order, from which masks; and the passes through them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from munet_jax.host_types import Image
from munet_jax.inference.files.results import confidences
from munet_jax.inference.propagation import DIRECTIONS, fuse_spilled, spill
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.prefetch import prefetch
from munet_jax.web.frame_stats import stats_of
from munet_jax.web.session import Session
from munet_jax.web.store import Version

OUTPUTS = ("labels", "probabilities", "uncertainty")
ORIGINS = ("here", "marks")
MOST_HINTS = 3  # other marked frames that are shown to the network before it begins at one


@dataclasses.dataclass(frozen=True)
class Pass:
    """Frames in one direction.

    Attributes:
      numbers: of the frames; the first one has a mask.
      spilled: whether its probabilities wait for the other direction, with which they are averaged.
      fused: whether they are averaged with those that wait.
      marks: the frames that were marked when it began, of which each is met on the way; () begins at any frame.
    """

    numbers: range
    spilled: bool = False
    fused: bool = False
    marks: tuple[int, ...] = ()

    @property
    def direction(self) -> str:
        """As the page says it."""
        return "forward" if self.numbers.step > 0 else "backward"


def plan(direction: str, origin: str, frame: int, marks: Sequence[int], count: int) -> list[Pass]:
    """The passes through a video of `count` frames.

    Args:
      direction: 'forward', 'backward' or 'both'.
      origin: 'here' begins at `frame` and goes to the end of the video each way; 'marks' uses all marked frames, as
        `propagate` does, and averages both ways between two of them.
      frame: at hand.
      marks: the marked frames.
      count: of frames.

    Raises:
      InputError: an unknown word, or nothing is marked.
    """
    if direction not in DIRECTIONS or origin not in ORIGINS:
        raise InputError(f"cannot follow {direction!r} from {origin!r}; load the page again")
    if origin == "here":
        passes = {"forward": Pass(range(frame, count)), "backward": Pass(range(frame, -1, -1))}
        chosen = ("forward", "backward") if direction == "both" else (direction,)
        return [passes[way] for way in chosen if len(passes[way].numbers) > 1 or len(chosen) == 1]
    if not marks:
        raise InputError("no frame is marked: paint an object in a frame first")
    both = direction == "both"
    backward = Pass(range(max(marks), -1, -1), spilled=both, marks=tuple(marks))
    forward = Pass(range(min(marks), count), fused=both, marks=tuple(marks))
    return {"forward": [forward], "backward": [backward], "both": [backward, forward]}[direction]


def hints(start: int, marks: Sequence[int]) -> list[int]:
    """Marked frames that help at another one: the nearest, the nearest last."""
    others = sorted((mark for mark in marks if mark != start), key=lambda mark: abs(mark - start))
    return others[:MOST_HINTS][::-1]


class Follower:
    """Leads a segmenter through passes, and remembers where it stands so that nothing is seen twice."""

    def __init__(self, segmenter: VideoSegmenter, session: Session) -> None:
        """It has seen nothing yet."""
        self.segmenter, self.session = segmenter, session
        self._stand: tuple[int, int | None, int] | None = None  # frame, its version, step of the pass (0: any)

    def warm_up(self) -> None:
        """Compile what one object needs."""
        frame = np.zeros((*self.session.footage.size, 3), np.uint8)
        mask = np.zeros(self.session.footage.size, np.uint8)
        mask[: len(mask) // 2] = 1
        self.segmenter.reset()
        for given in (mask, None):
            self.segmenter.step(frame, given, outputs=OUTPUTS)
        self.segmenter.reset()

    def prepare(self, frame: int) -> bool:
        """Show the segmenter a frame and its mask; whether there is something to follow from."""
        session = self.session
        version = session.store.current(frame)
        ids = _given(version)
        if not ids:
            return False
        if self._stand == (frame, version.number, 0):
            return True
        self._stand = None
        self.segmenter.reset()
        for mark in hints(frame, session.store.marks()):
            other = session.store.current(mark)
            if _given(other):
                self.segmenter.step(session.footage.frame(mark, 1), _mask(other), _given(other))
        self.segmenter.step(session.footage.frame(frame, 1), version.labels, ids, outputs=OUTPUTS)
        self._stand = (frame, version.number, 0)
        return True

    def run(self, way: Pass, step: int, folder: Path, stopped: Callable[[], bool]) -> Iterator[int]:
        """Follow the frames of a pass; the number of each that is done.

        The first frame stays as it is. Frames that somebody marks while this runs are taken as marked.

        Raises:
          InputError: a frame cannot be read or followed; those before are kept.
        """
        numbers, session = way.numbers, self.session
        start = session.store.current(numbers[0])
        if len(way.marks) > 1 or way.spilled or way.fused:
            self._begin_at_mark(numbers[0], way, folder)
        elif self._stand != (numbers[0], start.number, numbers.step) and not self.prepare(numbers[0]):
            raise InputError(f"frame {numbers[0]} shows no object to follow; paint one, or go to a frame that has one")
        self._stand, frames = None, prefetch((n, session.footage.frame(n, 1)) for n in numbers[1:])
        for number, frame in frames:
            version = self._follow(number, frame, way, step, folder)
            self._stand = (number, version, numbers.step)
            yield number
            if stopped():
                frames.close()
                return

    def _begin_at_mark(self, number: int, way: Pass, folder: Path) -> None:
        """The first frame of a pass through all marks, whose others come when it is their turn."""
        self._stand = None
        self.segmenter.reset()
        version = self.session.store.current(number)
        frame = self.session.footage.frame(number, 1)
        prediction = self.segmenter.step(frame, _mask(version), _given(version), outputs=OUTPUTS).at(number)
        if way.spilled:
            spill(prediction, folder)

    def _follow(self, number: int, frame: Image, way: Pass, step: int, folder: Path) -> int | None:
        store = self.session.store
        version = store.current(number)
        marked = version.marked or None
        mask = None if marked is None else _mask(version)
        prediction = self.segmenter.step(frame, mask, marked, outputs=OUTPUTS).at(number)
        if way.spilled:
            spill(prediction, folder)
        elif way.fused and marked is None:
            prediction = fuse_spilled(prediction, way.marks, folder)
        stats = stats_of(prediction, confidences(prediction))
        self.session.follow(step, prediction, marked, version.number, stats)
        return store.current(number).number


def _given(version: Version) -> tuple[int, ...]:
    """The objects that a frame's mask speaks about."""
    if version.marked:
        return version.marked
    return tuple(sorted(int(key) for key, values in version.stats.items() if values[0]))


def _mask(version: Version) -> np.ndarray:
    """The part of a mask that a person gave."""
    labels = version.labels
    return labels if version.marked is None else np.where(np.isin(labels, version.marked), labels, 0).astype(np.uint8)
