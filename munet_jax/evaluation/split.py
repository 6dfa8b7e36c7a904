"""Segments the videos of a split: spread over the devices, timed, and resumed where an earlier run stopped."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import os
import queue
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
from munet_jax.evaluation.timing import Timing
from munet_jax.evaluation.together import groups_of, make_empty, segment_together
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.inference.views import Geometry
from munet_jax.runtime.atomic_files import atomic_path, remove_temporaries
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.runtime.prefetch import prefetch
from munet_jax.runtime.progress import Progress
from munet_jax.runtime.writer import Writer

MASKS = "masks"
_LONGEST_NAME = 240  # bytes; with a suffix a name has 255 at most
DONE = ".segmented"  # a JSON file per video that is segmented


def segment_split(
    source: ClipSource,
    create: Callable[[], VideoSegmenter],
    folder: Path,
    made_with: str,
    devices: Sequence[Any],
    protocol: Protocol,
    *,
    batch_videos: int = 1,
    geometry: Callable[[int], Geometry] | None = None,
) -> dict[str, Timing]:
    """Segments every video and writes a palette PNG per frame, folder/masks/<video>/<frame>.png.

    Each device has a segmenter and takes the longest video, or group of them, that no other has taken. A video that an earlier
    call finished stays as it is, if `made_with` was equal and its masks are still there.

    Args:
      source: the videos.
      create: makes a segmenter on the device that is JAX's default where it is called.
      folder: where the masks go.
      made_with: names the weights, the config and whatever else the masks depend on.
      devices: those of JAX to use.
      protocol: which objects are given.
      batch_videos: videos of equal `geometry` that a device segments in step.
      geometry: of a video by its number; needed where `batch_videos` is not 1.

    Returns:
      The timing of every video, by its name.
    """
    (folder / DONE).mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder / DONE)
    videos = [source.video(index) for index in range(len(source))]
    timings = {video.name: found for video in videos if (found := _finished(folder, video, made_with)) is not None}
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    todo = [index for index, video in enumerate(videos) if video.name not in timings]
    todo.sort(key=lambda index: -len(videos[index].frame_names))
    for group in groups_of(todo, batch_videos, geometry):
        waiting.put(group)
    stop = threading.Event()
    progress = Progress(total=len(source), initial=len(timings), desc="segment", unit="video")

    def work(device: Any) -> None:
        with jax.default_device(device):
            segmenter = create()
            while not stop.is_set():
                try:
                    group = waiting.get_nowait()
                except queue.Empty:
                    return
                if len(group) == 1:
                    masks = folder / MASKS / videos[group[0]].name
                    found = [segment_video(segmenter, source, group[0], masks, protocol, stop=stop.is_set)]
                else:
                    found = segment_together(segmenter, source, group, folder / MASKS, protocol, stop=stop.is_set)
                for index, timing in zip(group, found, strict=True) if not stop.is_set() else ():
                    timing.device = device.device_kind
                    timings[videos[index].name] = timing
                    _write_mark(folder, videos[index].name, made_with, timing)
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
    make_empty(folder)
    segmenter.reset()
    given, timing = GivenObjects(source, index, protocol), Timing()
    frames = prefetch(source.frame(index, number) for number in range(len(video.frame_names)))
    with Writer() as writer:
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
            writer.add(functools.partial(write_mask, folder / f"{name}.png", labels))
            if segmenter.frame_index > 0 and COMPILES.count == compiled:
                timing.add(done - before, time.perf_counter() - start)
    timing.objects = len(segmenter.object_ids)
    return timing


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
