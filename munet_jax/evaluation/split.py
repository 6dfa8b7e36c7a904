"""Segments the videos of a split: spread over the devices, timed, and resumed where an earlier run stopped."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import queue
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.masks import write_mask
from munet_jax.evaluation.given import GivenObjects
from munet_jax.evaluation.protocols import Protocol
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path, remove_temporaries
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.runtime.prefetch import prefetch
from munet_jax.runtime.progress import Progress

MASKS = "masks"
_LONGEST_NAME = 240  # bytes; with a suffix a name has 255 at most
DONE = ".segmented"  # a JSON file per video that is segmented


@dataclasses.dataclass
class Timing:
    """How long one video took, without its first frame and those in which XLA compiled something.

    Attributes:
      frames: how many were timed.
      model_seconds: in the network, from a frame in memory to labels in memory; the device has finished by then.
      total_seconds: the same with reading the frame and writing the mask.
      objects: how many the video has.
      device: the kind of device.
    """

    frames: int = 0
    model_seconds: float = 0.0
    total_seconds: float = 0.0
    objects: int = 0
    device: str = ""


def segment_split(
    source: ClipSource,
    create: Callable[[], VideoSegmenter],
    folder: Path,
    made_with: str,
    devices: Sequence[Any],
    protocol: Protocol,
) -> dict[str, Timing]:
    """Segments every video and writes a palette PNG per frame, folder/masks/<video>/<frame>.png.

    Each device has a segmenter and takes the longest video that no other has taken. A video that an earlier call finished
    stays as it is, if `made_with` was equal and its masks are still there.

    Args:
      source: the videos.
      create: makes a segmenter on the device that is JAX's default where it is called.
      folder: where the masks go.
      made_with: names the weights, the config and whatever else the masks depend on.
      devices: those of JAX to use.
      protocol: which objects are given.

    Returns:
      The timing of every video, by its name.
    """
    (folder / DONE).mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder / DONE)
    videos = [source.video(index) for index in range(len(source))]
    timings = {video.name: found for video in videos if (found := _finished(folder, video, made_with)) is not None}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    todo = [index for index, video in enumerate(videos) if video.name not in timings]
    for index in sorted(todo, key=lambda index: -len(videos[index].frame_names)):
        waiting.put(index)
    stop = threading.Event()
    progress = Progress(total=len(source), initial=len(timings), desc="segment", unit="video")

    def work(device: Any) -> None:
        with jax.default_device(device):
            segmenter = create()
            while not stop.is_set():
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                name = videos[index].name
                masks = folder / MASKS / name
                timing = segment_video(segmenter, source, index, masks, protocol, stop=stop.is_set)
                if not stop.is_set():
                    timing.device = device.device_kind
                    timings[name] = timing
                    _write_mark(folder, name, made_with, timing)
                    progress.update()

    with progress, concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        running = [pool.submit(work, device) for device in devices[: max(1, len(todo))]]
        try:
            for done in concurrent.futures.as_completed(running):
                done.result()
        finally:
            stop.set()  # an error or Ctrl-C here ends the others at their next frame
    return {video.name: timings[video.name] for video in videos}


def segment_video(
    segmenter: VideoSegmenter,
    source: ClipSource,
    index: int,
    folder: Path,
    protocol: Protocol,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Timing:
    """Segments one video from the label maps that give its objects; masks are written as they come.

    Args:
      segmenter: tracks the objects; it forgets the video before.
      source: the videos.
      index: of the video.
      folder: gets a palette PNG per frame; what an earlier call left there is removed.
      protocol: which objects are given.
      stop: is asked before each frame whether to end early.

    Returns:
      How long it took; `device` is left blank.

    Raises:
      InputError: a frame or mask cannot be read or used; the error names the video and the frame.
    """
    video = source.video(index)
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    segmenter.reset()
    given, timing = GivenObjects(source, index, protocol), Timing()
    frames = prefetch(source.frame(index, number) for number in range(len(video.frame_names)))
    for number, name in enumerate(video.frame_names):
        if stop():
            break
        try:
            mask, new = given.at(number)
            compiled, start = COMPILES.count, time.perf_counter()
            frame = next(frames)
            before = time.perf_counter()
            if mask is None and segmenter.frame_index < 0:  # nothing is to be followed yet
                labels = np.zeros(frame.shape[:2], np.uint8)
            else:
                labels = segmenter.step(frame, mask, new).labels
        except InputError as error:
            raise InputError(f"{source.name}/{video.name}, frame {name}: {error}") from error
        done = time.perf_counter()
        write_mask(folder / f"{name}.png", labels)
        if segmenter.frame_index > 0 and COMPILES.count == compiled:
            timing.frames += 1
            timing.model_seconds += done - before
            timing.total_seconds += time.perf_counter() - start
    timing.objects = len(segmenter.object_ids)
    return timing


def speed(timings: Sequence[Timing], devices: int) -> dict[str, Any]:
    """Frames per second of one device, and where they were measured; only the latter where no frame was timed.

    `fps` is frames over seconds of the network alone. `fps_mean_of_sequences` is the mean of the videos' own rates, as the
    paper has it. `fps_with_files` counts reading frames and writing masks too. `fps_objects` is the mean number of objects in
    a frame.

    Returns:
      {"fps", "fps_mean_of_sequences", "fps_with_files", "fps_frames", "fps_objects", "device", "devices"}; "device" names
      every kind, where a run was resumed on another one.
    """
    where = {"device": " + ".join(sorted({timing.device for timing in timings})), "devices": devices}
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


def _finished(folder: Path, video: Video, made_with: str) -> Timing | None:
    """The timing of a video whose mark has this `made_with` and whose masks are all there; None of any other."""
    try:
        mark = json.loads(_mark(folder, video.name).read_text())
        timing = Timing(**mark["timing"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that a crash left damaged
        return None
    masks = folder / MASKS / video.name
    there = mark["made_with"] == made_with and all((masks / f"{name}.png").is_file() for name in video.frame_names)
    return timing if there else None


def _mark(folder: Path, name: str) -> Path:
    """The file that says that a video is segmented; its name is shortened where the folder's is as long as names can be."""
    encoded = os.fsencode(name)
    short = name if len(encoded) <= _LONGEST_NAME else f"{zlib.crc32(encoded):08x}"
    return folder / DONE / f"{short}.json"


def _write_mark(folder: Path, name: str, made_with: str, timing: Timing) -> None:
    with atomic_path(_mark(folder, name)) as temporary:
        temporary.write_text(json.dumps({"made_with": made_with, "timing": dataclasses.asdict(timing)}))
