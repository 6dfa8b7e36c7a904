"""What a report shows: sequences with their frames, the true masks, and every method's masks and scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from munet_jax.data.clips import ClipSource
from munet_jax.data.images import list_images
from munet_jax.data.masks import read_mask
from munet_jax.data.sizes import require_size
from munet_jax.data.trees import TreeSource
from munet_jax.evaluation.scoring import FrameMeans, Pair
from munet_jax.host_types import Image, UInt8

LabelReader = Callable[[int], UInt8[np.ndarray, "_ _"] | None]


@dataclasses.dataclass(frozen=True)
class ReportSequence:
    """One sequence; pictures are read when they are asked for.

    Attributes:
      name: of the sequence.
      frame_names: of its frames, in order.
      frame: gives a frame by its index.
      annotation: gives the true label map of a frame, of its size, by its index, or None where there is none.
      masks: by method, the same of its label maps.
      scores: (J, F) by method and frame name, means over the objects that were scored there.
    """

    name: str
    frame_names: Sequence[str]
    frame: Callable[[int], Image]
    annotation: LabelReader
    masks: Mapping[str, LabelReader]
    scores: Mapping[str, Mapping[str, Pair]]


def report_sequences(
    source: ClipSource, masks: Mapping[str, Path], scores: Mapping[str, FrameMeans]
) -> list[ReportSequence]:
    """The videos of a source, with every method's <folder>/<video>/<frame>.png and what `frame_means` gives of it."""

    def sequence(index: int) -> ReportSequence:
        video = source.video(index)
        return ReportSequence(
            name=video.name,
            frame_names=video.frame_names,
            frame=lambda frame: source.frame(index, frame),
            annotation=lambda frame: source.labels(index, frame) if frame in video.annotated else None,
            masks={method: _label_reader(source, index, folder / video.name) for method, folder in masks.items()},
            scores={method: of.get(video.name, {}) for method, of in scores.items()},
        )

    return [sequence(index) for index in range(len(source))]


def _label_reader(source: ClipSource, index: int, folder: Path) -> LabelReader:
    paths, names = list_images(folder, (".png",)), source.video(index).frame_names

    def read(frame: int) -> UInt8[np.ndarray, "_ _"] | None:
        path = paths.get(names[frame])
        if path is None:
            return None
        labels = read_mask(path)
        if isinstance(source, TreeSource):  # masks of others are our own, of their frames' size
            require_size(path, labels.shape, source.frame_file(index, frame))
        return labels

    return read
