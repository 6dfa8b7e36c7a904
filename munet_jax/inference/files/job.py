"""One command's work: a video or a folder of frames in, masks, overlays and a list of objects out, resumable."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from munet_jax.array_types import Image, LabelMap
from munet_jax.data.video_files import require_av, write_video
from munet_jax.inference.files.inputs import (
    LAST,
    FrameFiles,
    VideoFrames,
    open_input,
    read_annotations,
    unpack_video,
)
from munet_jax.inference.files.output_folder import (
    BACKWARD,
    GIF,
    STATE,
    UNPACKED,
    VIDEO,
    Options,
    clean_up,
    described_run,
    open_folder,
)
from munet_jax.inference.files.results import MASKS, OBJECTS, PROBABILITIES, Results, no_space_is_said
from munet_jax.inference.prediction import Prediction
from munet_jax.inference.propagation import SPILLED_OUTPUTS, fuse_spilled, run_pass, spill
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.runtime.prefetch import prefetch
from munet_jax.runtime.shutdown import StopFlag
from munet_jax.visualization.overlays import overlay_labels, save_gif, shrink_to_width

OVERLAYS = ("video", "gif")
GIF_FRAMES, GIF_WIDTH = 100, 480


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
    frames = open_input(source)
    backward = options.direction == "backward"
    default = 0 if not backward else frames.frame_count - 1 if isinstance(frames, FrameFiles) else LAST
    # Before anything is removed: a mask that was corrected may be one of the results.
    annotations = read_annotations(masks, frames, default)
    open_folder(out, options, described_run(segmenter, source, masks, annotations, options), [source, *masks])
    if (out / OBJECTS).exists():
        clean_up(out)
        return None
    if isinstance(frames, VideoFrames) and options.direction != "forward":
        with no_space_is_said(out):
            frames = unpack_video(frames, out / UNPACKED)
        annotations = {index if index != LAST else len(frames) - 1: labels for index, labels in annotations.items()}
    job = Job(segmenter, frames, annotations, out, options)
    count, fps = job.run()
    return {"frames": count, "fps": fps, "paths": job.finish(count, overlays)}


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
        self.results = Results(out, probabilities=options.probabilities)
        self.passes = {"forward": ("forward",), "backward": ("backward",), "both": ("backward", "forward")}[
            options.direction
        ]
        # Where a backward pass begins.
        last = len(frames) - 1 if isinstance(frames, FrameFiles) else 0
        self.last = last if options.direction == "backward" else max(annotations)

    def run(self) -> tuple[int, float]:
        """All passes, from where an earlier call stopped; frames of the video, and frames per second of this call."""
        place, start, worked = self._resume(), time.perf_counter(), 0
        with StopFlag(signal.SIGINT, signal.SIGTERM) as stop:
            while place.number < len(self.passes):
                worked += self._pass(place, stop)
                place.number += 1
                if place.number < len(self.passes):
                    place.done = 0
                    self.segmenter.reset()
        count = place.done
        if max(self.annotations) >= count:
            raise InputError(
                f"a mask is given for frame {max(self.annotations)}, but the video has {count} frames; "
                "correct its number"
            )
        self._save(place)  # overlays take a while, too
        return count, worked / (time.perf_counter() - start)

    def _pass(self, place: Place, stop: StopFlag) -> int:
        """One pass; frames done in this call."""
        direction, first, saved = self.passes[place.number], place.done, time.monotonic()
        spilling = direction == "backward" and len(self.passes) == 2
        total = self.last + 1 if direction == "backward" else self.frames.expected or None
        shown = tqdm(total=total, initial=first, desc=direction, unit="frame", disable=None, smoothing=0.05)
        numbered, unwritten = prefetch(self._numbered(direction, first)), False
        try:
            for prediction in run_pass(self.segmenter, numbered, self.annotations, SPILLED_OUTPUTS):
                unwritten = True
                with no_space_is_said(self.out):
                    self._write(prediction, spilling=spilling)
                unwritten = False
                place.done += 1
                shown.update()
                if stop.raised or time.monotonic() - saved > self.options.save_every:
                    self._save(place)
                    saved = time.monotonic()
                if stop.raised:
                    raise Stopped(f"stopped after {place.done} frames; --continue goes on from there")
        except InputError as error:
            if unwritten:  # the segmenter is past this frame: an earlier state is what a run can go on from
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
        with no_space_is_said(self.out), atomic_path(self.out / STATE) as temporary:
            np.savez(temporary, **state)  # type: ignore[arg-type]

    def _resume(self) -> Place:
        self.segmenter.reset()
        if not (self.out / STATE).exists():
            return Place()
        with np.load(self.out / STATE) as state:
            self.segmenter.load_state(state)
            return Place(int(state["number"]), int(state["done"]))

    def finish(self, count: int, overlays: Sequence[str]) -> list[Path]:
        """The list of objects and the overlays, from the masks; what was only needed on the way is removed."""
        names = [self.frames.name(index) for index in range(count)]
        described = {"direction": self.options.direction, "frame_rate": self.frames.rate}
        paths = [self.out / MASKS]
        if self.options.probabilities:
            paths.append(self.out / PROBABILITIES)
        with no_space_is_said(self.out):
            if "video" in overlays:
                paths.append(self.out / VIDEO)
                write_video(paths[-1], self._overlaid(names, 1), self.frames.rate)
            if "gif" in overlays:
                every = -(-count // GIF_FRAMES)
                small = (shrink_to_width(picture, GIF_WIDTH) for picture in self._overlaid(names, every))
                paths.append(self.out / GIF)
                save_gif(paths[-1], small, self.frames.rate / every)
        paths.append(self.results.finish(names, described))  # last: it says that all the rest is there
        clean_up(self.out)
        return paths

    def _overlaid(self, names: Sequence[str], every: int) -> Iterator[Image]:
        for (_, frame), name in itertools.islice(
            zip(self._numbered("forward", 0), names, strict=False), 0, None, every
        ):
            yield overlay_labels(frame, self.results.labels(name))


def check_overlays(overlays: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those to make; raises InputError for a video without the extra."""
    if overlays is None:
        return OVERLAYS if importlib.util.find_spec("av") else ("gif",)
    if "video" in overlays:
        require_av()
    return overlays


def say(result: dict[str, Any] | None, out: Path) -> None:
    """Tell the user what was made."""
    if result is None:
        print(f"{out}: was finished already; --overwrite makes it anew")
        return
    print(f"{result['frames']} frames, {result['fps']:.1f} frames per second with files and compilation")
    for path in result["paths"]:
        print(f"written:  {path}")
