"""What a report shows: sequences with their frames, the true masks, and every method's masks and scores."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.data.clips import ClipSource
from munet_jax.data.images import list_images, read_image
from munet_jax.data.masks import read_mask
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.errors import InputError

Pair = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ReportSequence:
    """One sequence; pictures are read when they are asked for.

    Attributes:
      name: of the sequence.
      frame_names: of its frames, in order.
      frame: gives a frame by its index.
      annotation: gives the true label map by a frame's index, or None where there is none.
      masks: by method, the same of its label maps.
      scores: by method and frame name, (J, F) as means over the objects that were scored there.
    """

    name: str
    frame_names: Sequence[str]
    frame: Callable[[int], Image]
    annotation: Callable[[int], LabelMap | None]
    masks: Mapping[str, Callable[[int], LabelMap | None]]
    scores: Mapping[str, Mapping[str, Pair]]


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Pair]]:
    """(J, F) by sequence and frame, of the per-frame rows of a results.json: means over the objects that were scored."""
    found: dict[str, dict[str, list[Pair]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        found[row["sequence"]][row["frame"]].append((row["J"], row["F"]))
    return {name: {frame: _mean(pairs) for frame, pairs in frames.items()} for name, frames in found.items()}


def sequences_in_trees(
    names: Sequence[str],
    frames: Path,
    annotations: Path,
    results: Mapping[str, Path],
    scores: Mapping[str, Mapping[str, Mapping[str, Pair]]],
) -> list[ReportSequence]:
    """Sequences whose files lie in folders, one per sequence.

    Args:
      names: of the sequences.
      frames: the folder of frames.
      annotations: the folder of true label maps.
      results: the folder of label maps by method.
      scores: by method, what `mean_scores` gives.

    Raises:
      InputError: a sequence has no frames.
    """
    return [_in_trees(name, frames / name, annotations / name, results, scores) for name in names]


def sequences_of_source(
    source: ClipSource, masks: Path, method: str, scores: Mapping[str, Mapping[str, Pair]]
) -> list[ReportSequence]:
    """Sequences of a source with one method's masks/<video>/<frame>.png; `scores` as `mean_scores` gives them."""
    return [_of_source(source, index, masks, method, scores) for index in range(len(source))]


def _in_trees(
    name: str,
    frames: Path,
    annotations: Path,
    results: Mapping[str, Path],
    scores: Mapping[str, Mapping[str, Mapping[str, Pair]]],
) -> ReportSequence:
    images = list_images(frames)
    if not images:
        raise InputError(f"{frames}: holds no frames (.jpg or .png); give the folder that has one folder per sequence")
    names, paths = list(images), list(images.values())
    masks = {method: _reader(names, folder / name) for method, folder in results.items()}
    return ReportSequence(
        name=name,
        frame_names=names,
        frame=lambda index: read_image(paths[index]),
        annotation=_reader(names, annotations),
        masks=masks,
        scores={method: of.get(name, {}) for method, of in scores.items()},
    )


def _of_source(
    source: ClipSource, index: int, masks: Path, method: str, scores: Mapping[str, Mapping[str, Pair]]
) -> ReportSequence:
    video = source.video(index)
    annotated = set(video.annotated)
    return ReportSequence(
        name=video.name,
        frame_names=video.frame_names,
        frame=lambda frame: source.frame(index, frame),
        annotation=lambda frame: source.labels(index, frame) if frame in annotated else None,
        masks={method: _reader(video.frame_names, masks / video.name)},
        scores={method: scores.get(video.name, {})},
    )


def _reader(names: Sequence[str], folder: Path) -> Callable[[int], LabelMap | None]:
    """Reads the label map of a frame, where there is one."""
    paths = list_images(folder, (".png",))

    def read(index: int) -> LabelMap | None:
        path = paths.get(names[index])
        return None if path is None else read_mask(path)

    return read


def _mean(pairs: Sequence[Pair]) -> Pair:
    j, f = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return j, f
