"""The thread that owns the segmenter: it follows, prepares to follow, and draws what the network sees."""

from __future__ import annotations

import collections
import concurrent.futures
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from munet_jax.inference.maps import MotionMaps, motion_maps
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.malloc import trim_malloc
from munet_jax.runtime.system_errors import in_words
from munet_jax.web.following import Follower, Pass, plan
from munet_jax.web.session import Session

PATIENCE = 0.25  # seconds without another stroke after which the segmenter is shown a frame ahead of time
HELD_MAPS = 4
# Frames after which free pages go back to the system: the threads beside the segmenter's tear the heap that it keeps.
TRIM_EVERY = 50
Job = Callable[[], None]


class Worker(threading.Thread):
    """Does one thing after the other; a map is drawn between two frames of what is followed."""

    def __init__(self, create: Callable[[], VideoSegmenter], session: Session) -> None:
        """`create` makes the segmenter, in this thread."""
        super().__init__(name="segmenter", daemon=True)
        self.session, self._create = session, create
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._asked: collections.deque[tuple[int, concurrent.futures.Future[MotionMaps]]] = collections.deque()
        self._maps: collections.OrderedDict[int, MotionMaps] = collections.OrderedDict()
        self._halt = threading.Event()
        self._ended = False
        self._here: int | None = None  # the frame that is to be prepared
        self.status: dict[str, Any] = {"state": "loading"}

    # Asked by others.

    def follow(self, direction: str, origin: str, frame: int) -> None:
        """Start to follow.

        Raises:
          InputError: there is nothing to follow from, or it follows already.
        """
        store = self.session.store
        passes = plan(direction, origin, frame, store.marks(), self.session.footage.count)
        if origin == "here" and not any(values[0] for values in store.current(frame).stats.values()):
            raise InputError(f"frame {frame} shows no object to follow; paint one, or go to a frame that has one")
        if all(len(way.numbers) < 2 for way in passes):
            raise InputError("there is no frame in that direction; follow the other way")
        if self.status["state"] == "following":
            raise InputError("it is following already; stop it first")
        self._halt.clear()
        self._tell(state="following", done=0, total=sum(len(way.numbers) - 1 for way in passes), direction=direction)
        self._jobs.put(lambda: self._follow(passes, direction))

    def stop(self) -> None:
        """Stop following after the frame at hand."""
        self._halt.set()

    def prepare(self, frame: int) -> None:
        """Be ready to follow from a frame, once there is nothing else to do."""
        self._here = frame
        self._jobs.put(lambda: None)  # wakes it up

    def maps(self, frame: int) -> MotionMaps:
        """What the network sees between a frame and the one before it. Raises InputError where it cannot."""
        if self._ended:
            raise InputError("the network is not there any more")
        found: concurrent.futures.Future[MotionMaps] = concurrent.futures.Future()
        self._asked.append((frame, found))
        self._jobs.put(self._answer)
        return found.result()

    def end(self) -> None:
        """Stop after the frame at hand, and wait for that."""
        self._ended = True
        self._halt.set()
        self._jobs.put(None)
        self.join()

    # In the thread.

    def run(self) -> None:
        """Load the network, then do what is asked."""
        try:
            segmenter = self._create()
            self.follower = Follower(segmenter, self.session)
            if self.status["state"] == "loading":  # who asked to follow already is told that it follows
                self._tell(state="warming")
            self.follower.warm_up()
        except Exception as error:  # the page says so
            self._fail(error)
            self._refuse_all()
            return
        if self.status["state"] == "warming":
            self._tell(state="idle")
        while not self._ended:
            try:
                job = self._jobs.get(timeout=PATIENCE if self._here is not None else None)
            except queue.Empty:
                job = self._prepare
            if job is None:
                break
            try:
                job()
            except Exception as error:
                self._fail(error)
        self._refuse_all()

    def _refuse_all(self) -> None:
        """Whoever waits for a map learns that none comes."""
        self._ended = True
        while self._asked:
            self._asked.popleft()[1].set_exception(InputError("the network is not there any more"))

    def _prepare(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            self.follower.prepare(here)

    def _follow(self, passes: list[Pass], direction: str) -> None:
        self._here, done, start = None, 0, time.perf_counter()
        total = sum(len(way.numbers) - 1 for way in passes)
        step = self.session.store.begin(f"Follow {direction}")
        problem: str | None = None
        recent: collections.deque[float] = collections.deque([start], maxlen=21)
        try:
            with tempfile.TemporaryDirectory(prefix="munet_") as folder:
                for way in passes:
                    for number in self.follower.run(way, step, Path(folder), self._halt.is_set):
                        done += 1
                        recent.append(time.perf_counter())
                        rate = (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)
                        left = (total - done) / rate
                        self._tell(
                            state="following", done=done, total=total, direction=way.direction, frame=number,
                            rate=round(rate, 2), left=round(left, 1),
                        )  # fmt: skip
                        self._answer()
                        if done % TRIM_EVERY == 0:
                            trim_malloc()
                    if self._halt.is_set():
                        break
        except (InputError, OSError) as error:
            problem = str(error) if isinstance(error, InputError) else "; ".join(in_words(error))
        finally:
            self.session.store.end(step)
            self.session.tell_all()
            trim_malloc()
        seconds = round(time.perf_counter() - start, 1)
        stopped = self._halt.is_set() and done < total
        self._tell(state="idle", done=done, total=total, seconds=seconds, stopped=stopped, problem=problem)

    def _answer(self) -> None:
        while self._asked:
            frame, found = self._asked.popleft()
            try:
                found.set_result(self._map(frame))
            except Exception as error:
                found.set_exception(error)

    def _map(self, frame: int) -> MotionMaps:
        if frame not in self._maps:
            if frame < 1:
                raise InputError("the first frame has none before it to compare with; go to a later one")
            segmenter, footage = self.follower.segmenter, self.session.footage
            pair = footage.frame(frame - 1), footage.frame(frame)
            self._maps[frame] = motion_maps(segmenter.model, segmenter.variables, segmenter.config, *pair)
            while len(self._maps) > HELD_MAPS:
                self._maps.popitem(last=False)
        return self._maps[frame]

    def _fail(self, error: Exception) -> None:
        message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._tell(state="failed" if not hasattr(self, "follower") else "idle", problem=message)

    def _tell(self, **status: Any) -> None:
        self.status = status
        self.session.hub.send("status", status)
