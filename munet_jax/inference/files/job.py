"""One command's work: a video or a folder of frames in, masks, overlays and a list of objects out, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import logging
import signal
import sys
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from munet_jax.array_types import Image, LabelMap
from munet_jax.data.video_files import require_av, write_video
from munet_jax.inference.files.given_masks import LAST, read_annotations, require_room, split_mask
from munet_jax.inference.files.inputs import FrameFiles, VideoFrames, open_input, unpack_video
from munet_jax.inference.files.output_folder import (
    BACKWARD,
    FRAMES,
    GIF,
    STATE,
    UNPACKED,
    VIDEO,
    Options,
    check_finished,
    clean_up,
    described_run,
    open_folder,
    write_run,
)
from munet_jax.inference.files.results import MASKS, OBJECTS, PROBABILITIES, Results
from munet_jax.inference.files.seen import Seen
from munet_jax.inference.prediction import Prediction
from munet_jax.inference.propagation import SPILLED_OUTPUTS, fuse_spilled, run_pass, spill
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path, exclusive
from munet_jax.runtime.attempts import attempt
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.runtime.prefetch import prefetch
from munet_jax.runtime.shutdown import StopFlag
from munet_jax.runtime.system_errors import told_of
from munet_jax.runtime.writer import Writer
from munet_jax.visualization.overlays import overlay_labels, save_gif, shrink_to_width

LOG = logging.getLogger("munet_jax")
OVERLAYS = ("video", "gif")
GIF_FRAMES, GIF_WIDTH = 100, 480
SLOWEST, FASTEST = 1.0, 120.0  # frames per second of overlays: of one frame a day nobody would see the second
# What `np.load` raises of a damaged file; it hands headers to Python's own tokenizer, which has an error of its own.
DAMAGED = (OSError, ValueError, EOFError, KeyError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass
class Place:
    """Where a run is: which of its passes, and how many frames of it are done."""

    number: int = 0
    done: int = 0


def segment_files(
    segmenter: VideoSegmenter, source: str, masks: Sequence[str], out: Path, options: Options
) -> dict[str, Any] | None:
    """Segment a video file, a folder of frames or a pattern.

    Args:
      segmenter: is reset first.
      source: see `open_input`.
      masks: see `read_annotations`; one without a frame is of the first frame, with 'backward' of the last.
      out: gets masks/FRAME.png, objects.json, overlay.mp4 and overlay.gif, on request probabilities/ID/FRAME.png.
      options: how.

    Returns:
      'frames', 'fps' (of this call, with files) and the paths of what was made; None where a run to continue is finished.

    Raises:
      InputError: the input, a mask or the folder cannot be used; masks that were written stay.
      Stopped: SIGTERM or Ctrl-C came; `existing='continue'` goes on.
    """
    overlays = check_overlays(options.overlays)
    frames = open_input(source, [Path(split_mask(text)[1]) for text in masks])
    backward = options.direction == "backward"
    default = 0 if not backward else frames.frame_count - 1 if isinstance(frames, FrameFiles) else LAST
    # Before anything is removed: a mask that was corrected may be one of the results.
    annotations = read_annotations(masks, frames, default, options.colours)
    described = described_run(segmenter, source, frames, masks, annotations, options)
    require_room(annotations.values(), segmenter.max_objects)
    with contextlib.ExitStack() as stack:
        with told_of(out, "name another folder with --out", no_space=options.no_space):
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(out))
        open_folder(out, options, described, [source, *masks])
        if (out / OBJECTS).exists():
            check_finished(out, frames)
            clean_up(out)
            return None
        if isinstance(frames, VideoFrames) and options.direction != "forward":
            with told_of(out, no_space=options.no_space):
                frames = unpack_video(frames, out / UNPACKED)
            annotations = {index if index != LAST else len(frames) - 1: found for index, found in annotations.items()}
            require_frames(annotations, len(frames))  # a file may show fewer than it promises
        job = Job(segmenter, frames, annotations, out, options)
        count, fps = job.run()
        return {"frames": count, "fps": fps, "paths": job.finish(count, overlays, described)}


class Job:
    """The passes through one video."""

    def __init__(
        self,
        segmenter: VideoSegmenter,
        frames: FrameFiles | VideoFrames,
        annotations: Mapping[int, LabelMap],
        out: Path,
        options: Options,
    ) -> None:
        """Nothing is read yet but the masks."""
        self.segmenter, self.frames, self.annotations = segmenter, frames, annotations
        self.out, self.options = out, options
        self.results = Results(out, probabilities=options.probabilities, no_space=options.no_space)
        self.seen = Seen(frames)
        self.passes = {"forward": ("forward",), "backward": ("backward",), "both": ("backward", "forward")}[
            options.direction
        ]
        # Where a backward pass begins.
        last = len(frames) - 1 if isinstance(frames, FrameFiles) else 0
        self.last = last if options.direction == "backward" else max(annotations)

    def run(self) -> tuple[int, float]:
        """All passes, from where an earlier call stopped; frames of the video, and frames per second of this call."""
        place, start, worked = self._resume(), time.perf_counter(), 0
        if self.passes == ("forward",) and min(self.annotations) > 0:
            LOG.warning(
                "the first mask is of frame %s; the %d frames before it stay empty, unless --both follows it there, too",
                self.frames.name(min(self.annotations)), min(self.annotations),
            )  # fmt: skip
        with StopFlag(signal.SIGINT, signal.SIGTERM) as stop:
            while place.number < len(self.passes):
                worked += self._pass(place, stop)
                place.number += 1
                if place.number < len(self.passes):
                    place.done = 0
                    self.segmenter.reset()
        count = place.done
        require_frames(self.annotations, count)
        attempt(self.out / STATE, lambda: self._save(place), "the masks are whole")  # overlays take a while, too
        return count, worked / (time.perf_counter() - start)

    def _pass(self, place: Place, stop: StopFlag) -> int:
        """One pass; frames done in this call."""
        direction, first, saved = self.passes[place.number], place.done, time.monotonic()
        spilling = direction == "backward" and len(self.passes) == 2
        total = self.last + 1 if direction == "backward" else self.frames.expected or None
        shown = tqdm(total=total, initial=first, desc=direction, unit="frame", disable=None, smoothing=0.05)
        numbered, writer = prefetch(self._numbered(direction, first)), Writer()
        try:
            with writer:
                for prediction in run_pass(self.segmenter, numbered, self.annotations, SPILLED_OUTPUTS):
                    writer.add(functools.partial(self._write, prediction, spilling=spilling))
                    place.done += 1
                    self.seen.add(prediction.frame_index)
                    shown.update(first + writer.done - shown.n)
                    if stop.raised or time.monotonic() - saved > self.options.save_every:
                        writer.finish()
                        self._save(place)
                        saved = time.monotonic()
                    if stop.raised:
                        go_on = "; --continue goes on from there" if self.options.continues else ""
                        raise Stopped(f"stopped after {place.done} frames{go_on}")
            shown.update(first + writer.done - shown.n)
        except InputError as error:
            writer.finish()
            if writer.failed:  # the segmenter is past what is written: an earlier state is what a run can go on from
                raise
            if place.done or place.number:
                self._save(place)  # whoever mends the input goes on from here
            number = self.last - place.done if direction == "backward" else place.done
            name = self.frames.name(number) if number < (self.frames.expected or number + 1) else ""
            raise InputError(f"frame called {name}: {error}" if name else str(error)) from error
        finally:
            shown.close()
        return place.done - first

    def _numbered(self, direction: str, done: int) -> Iterator[tuple[int, Image]]:
        if direction == "backward":
            assert isinstance(self.frames, FrameFiles)
            return ((index, self.frames[index]) for index in range(self.last - done, -1, -1))
        if isinstance(self.frames, FrameFiles):
            return ((index, self.frames[index]) for index in range(done, self.frames.frame_count))
        return itertools.islice(enumerate(self.frames), done, None)

    def _write(self, prediction: Prediction, *, spilling: bool) -> None:
        """A frame's files; while they are written, the next frame is segmented."""
        with told_of(self.out, no_space=self.options.no_space):
            if spilling:
                (self.out / BACKWARD).mkdir(exist_ok=True)
                spill(prediction, self.out / BACKWARD)
                return
            if len(self.passes) == 2:
                prediction = fuse_spilled(prediction, self.annotations, self.out / BACKWARD)
            self.results.add(self.frames.name(prediction.frame_index), prediction)

    def _save(self, place: Place) -> None:
        """The state after the frames that are done."""
        state = self.segmenter.save_state() | {"number": np.array(place.number), "done": np.array(place.done)}
        state["seen"] = self.seen.pack()
        with told_of(self.out, no_space=self.options.no_space), atomic_path(self.out / STATE) as temporary:
            np.savez(temporary, **state)  # type: ignore[arg-type]

    def _resume(self) -> Place:
        self.segmenter.reset()
        if not (self.out / STATE).exists():
            return Place()
        try:
            with (self.out / STATE).open("rb") as file, np.load(file) as state:
                found = dict(state)
        # NumPy hands a damaged header to Python's own tokenizer, which has an error of its own.
        except (
            OSError,
            ValueError,
            EOFError,
            KeyError,
            SyntaxError,
            tokenize.TokenError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise InputError(
                f"{self.out / STATE}: the state of the run is damaged ({error}); begin anew with --overwrite"
            ) from error
        self.seen.resume(found["seen"], self.out)
        self.segmenter.load_state(found)
        return Place(int(found["number"]), int(found["done"]))

    def finish(self, count: int, overlays: Sequence[str], described: Mapping[str, Any]) -> list[Path]:
        """The overlays, from the masks, and the list of objects; what was only needed on the way is removed."""
        names = [self.frames.name(index) for index in range(count)]
        paths = [self.out / MASKS]
        if self.options.probabilities:
            paths.append(self.out / PROBABILITIES)
        rate = min(max(self.frames.rate, SLOWEST), FASTEST)
        every = -(-count // GIF_FRAMES)

        def video() -> Path:
            write_video(self.out / VIDEO, self._overlaid(names, 1), rate)
            return self.out / VIDEO

        def gif() -> Path:
            small = (shrink_to_width(picture, GIF_WIDTH) for picture in self._overlaid(names, every))
            save_gif(self.out / GIF, small, rate / every)
            return self.out / GIF

        for name, kind, draw in (("video", VIDEO, video), ("gif", GIF, gif)):
            made = attempt(self.out / kind, draw, "the masks are whole") if name in overlays else None
            paths += [made] if made is not None else []
        with told_of(self.out, no_space=self.options.no_space):
            write_run(self.out, {**described, FRAMES: self.seen.total})
        told = {"direction": self.options.direction, "frame_rate": self.frames.rate}
        paths.append(self.results.finish(count, told))  # last: it says that all the rest is there
        clean_up(self.out)
        return paths

    def _overlaid(self, names: Sequence[str], every: int) -> Iterator[Image]:
        for (_, frame), name in itertools.islice(
            zip(self._numbered("forward", 0), names, strict=False), 0, None, every
        ):
            yield overlay_labels(frame, self.results.labels(name))


def require_frames(annotations: Mapping[int, LabelMap], count: int) -> None:
    """Raises InputError for a mask beyond the end of the video, which has `count` frames."""
    if max(annotations) >= count:
        raise InputError(
            f"a mask is given for frame {max(annotations)}, but the video has {count} frames; correct its number and begin anew "
            "with --overwrite"
        )


def check_overlays(overlays: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those to make; raises InputError for a video without the extra."""
    if overlays is None:
        return OVERLAYS if importlib.util.find_spec("av") else ("gif",)
    if "video" in overlays:
        require_av()
    return overlays


def say(result: dict[str, Any] | None, out: Path) -> None:
    """Tell the user what was made; who does not listen any more has it all the same."""
    with contextlib.suppress(OSError):
        for line in _lines(result, out):
            print(line)
        sys.stdout.flush()


def _lines(result: dict[str, Any] | None, out: Path) -> Iterator[str]:
    if result is None:
        yield f"{out}: was finished already; --overwrite makes it anew"
        return
    yield f"{result['frames']} frames, {result['fps']:.1f} frames per second with files and compilation"
    yield from (f"written:  {path}" for path in result["paths"])
