"""Training clips without grain: every frame is read once, and clip number k depends on the seed and k alone."""

from __future__ import annotations

import functools
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from munet_jax.checkpoints.weight_file import config_of_json
from munet_jax.data.clips import ClipSource, Video, clip_options
from munet_jax.data.sampling import ClipIndex, Sample, sample_clip
from munet_jax.data.sources import create_parts
from munet_jax.host_types import Image, LabelMap

AHEAD = 4  # batches that are made or wait


class InMemory:
    """A source whose frames and label maps stay in memory once they were read."""

    def __init__(self, source: ClipSource) -> None:
        """Nothing is read yet."""
        self.name, self._source = source.name, source
        self._frame, self._labels = functools.cache(source.frame), functools.cache(source.labels)

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._source)

    def video(self, index: int) -> Video:
        """As the source has it."""
        return self._source.video(index)

    def frame(self, index: int, frame: int) -> Image:
        """RGB uint8 [h, w, 3]."""
        return self._frame(index, frame)

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map [h, w]."""
        return self._labels(index, frame)


class Clips:
    """The clips of `config.data`; parts are drawn by their weights, and clips from all epochs."""

    def __init__(self, config: ConfigDict) -> None:
        """Opens the data."""
        parts, self._options, self._seed = create_parts(config.data), clip_options(config.data), config.train.seed
        self._sources = [InMemory(part.source) for part in parts]
        self._indices = [
            ClipIndex(source, self._options.length, config.data.clip_stride, phase=part.phase, seed=self._seed)
            for source, part in zip(self._sources, parts, strict=True)
        ]
        self._shares = np.array([part.weight for part in parts]) / sum(part.weight for part in parts)
        self.epoch = config.data.epoch_clips or sum(map(len, self._indices))

    def clip(self, number: int) -> Sample:
        """One clip."""
        rng = np.random.default_rng((self._seed, number))
        part = int(rng.choice(len(self._shares), p=self._shares))
        source, index = self._sources[part], self._indices[part]
        [(video, start)] = index.draw(rng, 1)
        return sample_clip(source, video, start, rng, self._options, index)


_own: Clips


def _open(text: str) -> None:
    """In a worker, which has the data for itself."""
    global _own
    _own = Clips(config_of_json(json.loads(text)))


def _make(number: int) -> Sample:
    return _own.clip(number)


def batches(config: ConfigDict, first: int, workers: int) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of `config.train.batch_size` clips, from step `first` on.

    Args:
      config: of the run.
      first: steps that are done.
      workers: processes that make clips, each with the data in its memory; 0 makes them in a thread of this one.
    """
    text, size = config.to_json(), config.train.batch_size
    pool: Executor = ThreadPoolExecutor(1, initializer=_open, initargs=(text,))
    if workers:
        context: Any = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_open, initargs=(text,))
    with pool:
        waiting = [pool.submit(_make, number) for number in range(first * size, (first + AHEAD) * size)]
        for number in range((first + AHEAD) * size, 10**15, size):
            clips = [future.result() for future in waiting[:size]]
            waiting = waiting[size:] + [pool.submit(_make, next_one) for next_one in range(number, number + size)]
            yield {name: np.stack([clip[name] for clip in clips]) for name in ("frames", "labels", "valid", "objects")}
