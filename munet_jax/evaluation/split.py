"""Segmenting the videos of a split: spread over the devices, timed, and going on where an earlier run stopped."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from munet_jax.compiles import COMPILES
from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import write_mask
from munet_jax.errors import InputError
from munet_jax.files import atomic_path, remove_temporaries
from munet_jax.host_types import LabelMap
from munet_jax.inference.segmenter import VideoSegmenter

MASKS = "masks"
DONE = ".segmented"  # a JSON file per video that is segmented, and what they were segmented with
_WITH = "with.json"


@dataclasses.dataclass
class Timing:
    """Of one video, without its first frame and those in which XLA compiled something.

    Attributes:
      frames: that were timed.
      model_seconds: in the network, from a frame in memory to labels in memory; the device has finished by then.
      total_seconds: with reading the frame and writing the mask.
      objects: that the video has.
    """

    frames: int = 0
    model_seconds: float = 0.0
    total_seconds: float = 0.0
    objects: int = 0


def segment_split(
    source: ClipSource, create: Callable[[], VideoSegmenter], folder: Path, made_with: str, devices: Sequence[Any]
) -> dict[str, Timing]:
    """Segments every video and writes a palette PNG per frame, folder/masks/<video>/<frame>.png.

    Each device has a segmenter and takes the longest video that nobody has taken. A video that an earlier call finished
    is left as it is, if that call was made with the same.

    Args:
      source: the videos.
      create: makes a segmenter on the device that is JAX's default where it is called.
      folder: where the masks go.
      made_with: names the weights, the config and whatever else the masks depend on.
      devices: JAX's.

    Returns:
      The timing of every video, by its name.
    """
    timings = _finished(folder, made_with)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    todo = [index for index in range(len(source)) if source.video(index).name not in timings]
    for index in sorted(todo, key=lambda index: -len(source.video(index).frame_names)):
        waiting.put(index)
    stop = threading.Event()
    quiet = 0.5 if sys.stderr.isatty() else 15.0
    progress = tqdm(total=len(source), initial=len(source) - len(todo), desc="segment", unit="video", mininterval=quiet)

    def work(device: Any) -> None:
        with jax.default_device(device):
            segmenter = create()
            while not stop.is_set():
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                name = source.video(index).name
                timings[name] = segment_video(segmenter, source, index, folder / MASKS / name, stop=stop.is_set)
                if not stop.is_set():
                    _write(folder / DONE / f"{name}.json", dataclasses.asdict(timings[name]))
                    progress.update()

    with progress, concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        running = [pool.submit(work, device) for device in devices[: max(1, len(todo))]]
        try:
            for done in concurrent.futures.as_completed(running):
                done.result()
        finally:
            stop.set()  # an error or Ctrl-C here ends the others at their next frame
    return {source.video(index).name: timings[source.video(index).name] for index in range(len(source))}


def segment_video(
    segmenter: VideoSegmenter,
    source: ClipSource,
    index: int,
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Timing:
    """Segment one video from the label maps that give its objects; masks are written as they come.

    Args:
      segmenter: what to do it with; it forgets the video before.
      source: the videos.
      index: which of them.
      folder: gets a palette PNG per frame; what is in it from before goes.
      stop: asked before each frame.
    """
    video = source.video(index)
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    segmenter.reset()
    timing = Timing()
    for number, name in enumerate(video.frame_names):
        if stop():
            break
        compiled, start = COMPILES.count, time.perf_counter()
        try:
            frame = source.frame(index, number)
            mask, new = given_objects(source, index, number)
            before = time.perf_counter()
            prediction = segmenter.step(frame, mask, new)
        except InputError as error:
            raise InputError(f"{source.name}/{video.name}, frame {name}: {error}") from error
        done = time.perf_counter()
        write_mask(folder / f"{name}.png", prediction.labels)
        if number and COMPILES.count == compiled:
            timing.frames += 1
            timing.model_seconds += done - before
            timing.total_seconds += time.perf_counter() - start
    timing.objects = len(segmenter.object_ids)
    return timing


def given_objects(source: ClipSource, index: int, number: int) -> tuple[LabelMap | None, list[int] | None]:
    """What a method is given with a frame: a label map [h, w] or None, and the ids that count in it; None counts all."""
    first_frames = source.video(index).first_frames
    if not first_frames:
        return source.labels(index, number) if number == 0 else None, None
    new = [identity for identity, frame in first_frames.items() if frame == number]
    return (source.labels(index, number), new) if new else (None, None)


def speed(timings: Sequence[Timing], devices: Sequence[Any]) -> dict[str, Any]:
    """Frames per second, and what of and where: {"fps", "fps_mean_of_sequences", "fps_with_files", "fps_frames",
    "fps_objects", "device", "devices"}.

    `fps` is frames over seconds of the network alone, `fps_mean_of_sequences` the mean of the videos' own (the paper's way),
    `fps_with_files` has reading frames and writing masks in it; each is of one device. `fps_objects` is the mean number of
    objects of the frames. Nothing but the devices where no frame was timed.
    """
    where = {"device": devices[0].device_kind, "devices": len(devices)}
    measured = [timing for timing in timings if timing.frames]
    frames = sum(timing.frames for timing in measured)
    if not frames:
        return where
    rates = [timing.frames / timing.model_seconds for timing in measured]
    return {
        "fps": frames / sum(timing.model_seconds for timing in measured),
        "fps_mean_of_sequences": sum(rates) / len(rates),
        "fps_with_files": frames / sum(timing.total_seconds for timing in measured),
        "fps_frames": frames,
        "fps_objects": sum(timing.objects * timing.frames for timing in measured) / frames,
    } | where


def _finished(folder: Path, made_with: str) -> dict[str, Timing]:
    """The timings of videos that are segmented; none, and the marks gone, where it was done with something else."""
    done = folder / DONE
    try:
        same = json.loads((done / _WITH).read_text())["made_with"] == made_with
    except (OSError, ValueError, KeyError):
        same = False
    if not same and done.is_dir():
        shutil.rmtree(done)
    done.mkdir(parents=True, exist_ok=True)
    remove_temporaries(done)
    _write(done / _WITH, {"made_with": made_with})
    marks = [path for path in done.glob("*.json") if path.name != _WITH]
    return {path.stem: Timing(**json.loads(path.read_text())) for path in marks}


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))
