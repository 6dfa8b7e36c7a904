"""Segments several videos of a split on one device at a time."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import write_mask
from munet_jax.evaluation.given import GivenObjects
from munet_jax.evaluation.protocols import Protocol
from munet_jax.evaluation.timing import Timing
from munet_jax.host_types import Image, LabelMap
from munet_jax.inference.arguments import given_ids
from munet_jax.inference.in_step import GivenMask, VideosTogether
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.inference.views import Geometry, geometry_for
from munet_jax.inference.working_size import typical_size
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.runtime.prefetch import prefetch
from munet_jax.runtime.writer import Writer


class Track:
    """One of the videos: what is given of it, and which of its frames the next step takes."""

    def __init__(self, source: ClipSource, index: int, protocol: Protocol, most: int) -> None:
        """Reads the masks that will be given, `most` objects at most."""
        self.index, self.video, self._source = index, source.video(index), source
        self.ids: tuple[int, ...] = ()
        self.given: dict[int, GivenMask] = {}
        rules, count = GivenObjects(source, index, protocol), len(self.video.frame_names)
        for number in range(count):
            mask, new = rules.at(number)
            if mask is not None:
                found = given_ids(mask, new, self.ids, most)
                self.given[number] = (mask, found)
                self.ids += tuple(i for i in found if i not in self.ids)
        self.first = min(self.given, default=count)  # before, nothing is to be followed yet
        self.steps = count - self.first
        self.timing = Timing(objects=len(self.ids))

    def frame(self, step: int) -> Image:
        """The frame of a step; the last one again where the video has ended."""
        number = min(self.first + step, len(self.video.frame_names) - 1)
        try:
            return self._source.frame(self.index, number)
        except InputError as error:
            name = f"{self._source.name}/{self.video.name}, frame {self.video.frame_names[number]}"
            raise InputError(f"{name}: {error}") from error

    def writing(self, folder: Path, number: int, labels: LabelMap) -> Callable[[], None]:
        """What writes the mask of a frame."""
        path = folder / self.video.name / f"{self.video.frame_names[number]}.png"
        return functools.partial(write_mask, path, labels)


def geometry_of(source: ClipSource, index: int, protocol: Protocol, options: ConfigDict) -> Geometry:
    """How a video lies in what the network sees, by `config.inference` and the objects that it gives first."""
    rules, objects = GivenObjects(source, index, protocol), 0.0
    for number in range(len(source.video(index).frame_names)) if options.object_size else ():
        mask, new = rules.at(number)
        if mask is not None:
            objects = typical_size(mask, given_ids(mask, new, (), options.max_objects))
            break
    height, width = source.frame(index, 0).shape[:2]
    return geometry_for(options, (height, width), objects)


def groups_of(
    indices: Sequence[int], videos: int, geometry: Callable[[int], Geometry] | None = None
) -> list[list[int]]:
    """Videos of equal `geometry`, at most `videos` in a group, in the order in which they come; nothing asks for one alone."""
    if videos < 1:
        raise InputError(f"config.evaluation.batch_videos is {videos}; it is at least 1")
    if videos == 1:
        return [[index] for index in indices]
    assert geometry is not None
    alike: dict[Geometry, list[int]] = {}
    for index in indices:
        alike.setdefault(geometry(index), []).append(index)
    return [found[first : first + videos] for found in alike.values() for first in range(0, len(found), videos)]


def make_empty(folder: Path) -> None:
    """A folder with nothing in it, whatever an earlier call left there."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def segment_together(
    segmenter: VideoSegmenter,
    source: ClipSource,
    indices: Sequence[int],
    folder: Path,
    protocol: Protocol,
    *,
    stop: Callable[[], bool],
) -> list[Timing]:
    """Segments videos of one geometry in step, as `segment_video` would each of them.

    Args:
      segmenter: gives the network.
      source: the videos.
      indices: which of them.
      folder: gets a folder of masks for each, by its name.
      protocol: which objects are given.
      stop: is asked before each frame whether to end early.

    Returns:
      How long each took: a step's time is shared by the videos that it segmented.

    Raises:
      InputError: as `segment_video`.
    """
    tracks = [Track(source, index, protocol, segmenter.max_objects) for index in indices]
    geometry = geometry_of(source, indices[0], protocol, segmenter.config.inference)
    batch = VideosTogether(segmenter, geometry, [track.ids for track in tracks])
    steps = max(track.steps for track in tracks)
    frames = prefetch([track.frame(step) for track in tracks] for step in range(steps))
    with Writer() as writer:
        for track in tracks:
            make_empty(folder / track.video.name)
            for number in range(track.first):
                writer.add(track.writing(folder, number, np.zeros(geometry.size, np.uint8)))
        for step in range(steps):
            if stop():
                break
            compiled, start = COMPILES.count, time.perf_counter()
            shown = next(frames)
            before = time.perf_counter()
            found = batch.step(shown, [track.given.get(track.first + step) for track in tracks])
            done = time.perf_counter()
            present = [(track, labels) for track, labels in zip(tracks, found, strict=True) if step < track.steps]
            for track, labels in present:
                writer.add(track.writing(folder, track.first + step, labels))
            if step and COMPILES.count == compiled:
                for track, _ in present:
                    track.timing.add((done - before) / len(present), (time.perf_counter() - start) / len(present))
    return [track.timing for track in tracks]
