"""From label maps to results: J and F of every object and frame, their summary, and the `results.json` with it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.array_types import BinaryMask, Float, LabelMap, UInt8
from munet_jax.errors import InputError
from munet_jax.evaluation.metrics import IGNORE, boundary_accuracy, objects_in, region_similarity, statistics
from munet_jax.files import atomic_path

MERGED_OBJECT = 1
"""The id that all objects together are reported under."""

_DIGITS = 6
_END = object()

# Rows and columns of a segmentation have names of their own: that they equal the annotation's is checked by hand.
Segmentation = UInt8[np.ndarray, "rows columns"]


@dataclasses.dataclass(frozen=True)
class SequenceScore:
    """J and F of every object in every scored frame of one sequence.

    Attributes:
      frame_names: the t frames that were scored, in order.
      region: J per object id, float64 [t].
      boundary: F per object id, float64 [t].
    """

    frame_names: tuple[str, ...]
    region: Mapping[int, Float[np.ndarray, t]]
    boundary: Mapping[int, Float[np.ndarray, t]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per object and frame: object, frame, J, F."""
        for object_id, region in self.region.items():
            for name, j, f in zip(self.frame_names, region, self.boundary[object_id], strict=True):
                yield {"object": object_id, "frame": name, "J": float(j), "F": float(f)}


def score_sequence(
    annotations: Iterable[LabelMap],
    segmentations: Iterable[Segmentation | None],
    frame_names: Sequence[str],
    *,
    object_ids: Sequence[int] | None = None,
    skip_first: bool = True,
    skip_last: bool = True,
    merge_objects: bool = False,
) -> SequenceScore:
    """Score one sequence frame by frame; one pair of label maps is held at a time, so generators may be passed.

    As in the DAVIS code, the first annotation says which objects there are, object k is compared with id k of the
    segmentation, an id that the segmentation lacks counts as an empty mask, ids that are no object's are background in
    effect, and so is 255 ('ignore') in an annotation.

    Args:
      annotations: the true label map of every frame, each uint8 [h, w].
      segmentations: the label maps to judge, same sizes. None stands for a frame without one; only frames that are not
        scored may lack theirs.
      frame_names: the names of all frames, in order.
      object_ids: which ids to score, where the first annotation does not show them all. Default: those that it shows.
      skip_first: leave the first frame out; its mask was given.
      skip_last: leave the last frame out, as DAVIS does.
      merge_objects: DAVIS-2016; everything that is not 0 is one object, reported as id 1. As the files of that set hold
        0 and 255, 255 is object here. `object_ids` then has no effect.

    Raises:
      InputError: the three do not have the same number of frames; a segmentation has another size than its annotation,
        or is missing; no frame or no object is left to score; an object id is not in 1 to 254.
    """
    count = len(frame_names)
    scored = range(int(skip_first), count - int(skip_last))
    if not scored:
        raise InputError(f"{count} frames, of which none is left to score (the first or last may be left out)")
    ids = None if object_ids is None else _checked(object_ids)
    if merge_objects:
        ids = (MERGED_OBJECT,)
    values: list[list[tuple[float, float]]] = []
    for index, (annotation, segmentation) in enumerate(_aligned(annotations, segmentations, count)):
        if ids is None:
            ids = _checked(objects_in(annotation))
        if index in scored:
            _check_size(annotation, segmentation, frame_names[index])
            assert segmentation is not None
            values.append([_measure(annotation, segmentation, None if merge_objects else i) for i in ids])
    assert ids is not None
    table = np.array(values, np.float64)
    return SequenceScore(
        frame_names=tuple(frame_names[i] for i in scored),
        region={i: table[:, k, 0] for k, i in enumerate(ids)},
        boundary={i: table[:, k, 1] for k, i in enumerate(ids)},
    )


def summarise(scores: Mapping[str, SequenceScore]) -> dict[str, Any]:
    """The content of `results.json` for the scores of a split.

    Every number is in [0, 1] but the decays, which are in [-1, 1]. Those of the split are means over all objects of all
    sequences (as DAVIS does), not over sequences; those of a sequence are means over its objects.

    Args:
      scores: score of every sequence, by name.

    Returns:
      {"J", "F", "J&F", "J_recall", "J_decay", "F_recall", "F_decay", "sequences": {name: {"J", "F", "J&F",
      "objects": {id: {"J", "F", "J&F", "J_recall", "J_decay", "F_recall", "F_decay"}}}}}; ids are text, as JSON wants.

    Raises:
      InputError: there is no sequence.
    """
    if not scores:
        raise InputError("no sequence was scored")
    sequences: dict[str, Any] = {}
    all_objects: list[dict[str, float]] = []
    for name, score in scores.items():
        objects = {str(i): _object_summary(score.region[i], score.boundary[i]) for i in score.region}
        all_objects += objects.values()
        means = _means(list(objects.values()))
        sequences[name] = {key: means[key] for key in ("J", "F", "J&F")} | {"objects": objects}
    return _means(all_objects) | {"sequences": sequences}


def frame_rows(scores: Mapping[str, SequenceScore]) -> list[dict[str, Any]]:
    """The per-frame rows of a split: sequence, object, frame, J, F."""
    return [{"sequence": name} | row for name, score in scores.items() for row in score.rows()]


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as indented JSON with sorted keys and floats of 6 digits; NaN and infinity become null.

    The file appears whole or not at all.
    """
    text = json.dumps(_rounded(results), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _checked(object_ids: Sequence[int]) -> tuple[int, ...]:
    if not object_ids:
        raise InputError("there is no object to score: the first annotation has none, and no ids were given")
    wrong = [i for i in object_ids if not 0 < i < IGNORE]
    if wrong:
        raise InputError(f"object ids must be in 1 to 254, not {', '.join(map(str, wrong))}")
    return tuple(dict.fromkeys(object_ids))


def _aligned(
    annotations: Iterable[np.ndarray], segmentations: Iterable[np.ndarray | None], count: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Pairs of both streams, which must have `count` frames each."""
    seen = 0
    pairs: Iterator[tuple[Any, Any]] = zip_longest(annotations, segmentations, fillvalue=_END)
    for annotation, segmentation in pairs:
        short = "annotations" if annotation is _END else "segmentations" if segmentation is _END else None
        if short or seen == count:
            found = f"only {seen} {short}" if short else f"more than {seen} annotations and segmentations"
            raise InputError(f"{found} for {count} frame names")
        seen += 1
        yield annotation, segmentation
    if seen < count:
        raise InputError(f"only {seen} annotations and segmentations for {count} frame names")


def _check_size(annotation: np.ndarray, segmentation: np.ndarray | None, frame_name: str) -> None:
    if segmentation is None:
        raise InputError(f"frame {frame_name} has no segmentation")
    if annotation.shape != segmentation.shape:
        sizes = [" x ".join(map(str, a.shape[::-1])) for a in (segmentation, annotation)]
        raise InputError(f"frame {frame_name}: the segmentation is {sizes[0]} pixels but its annotation is {sizes[1]}")


def _measure(annotation: np.ndarray, segmentation: np.ndarray, object_id: int | None) -> tuple[float, float]:
    """J and F of one object in one frame; None means all objects as one."""
    masks = [_mask(labels, object_id) for labels in (annotation, segmentation)]
    return float(region_similarity(*masks)), float(boundary_accuracy(*masks))


def _mask(labels: np.ndarray, object_id: int | None) -> BinaryMask:
    return labels != 0 if object_id is None else labels == object_id


def _object_summary(region: np.ndarray, boundary: np.ndarray) -> dict[str, float]:
    j, f = statistics(region), statistics(boundary)
    return {
        "J": j.mean,
        "F": f.mean,
        "J&F": (j.mean + f.mean) / 2,
        "J_recall": j.recall,
        "J_decay": j.decay,
        "F_recall": f.recall,
        "F_decay": f.decay,
    }


def _means(objects: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over objects of every number; objects that were never scored (NaN) are left out."""
    return {key: _finite_mean([o[key] for o in objects]) for key in objects[0]}


def _finite_mean(values: Sequence[float]) -> float:
    finite = [v for v in values if not math.isnan(v)]
    return sum(finite) / len(finite) if finite else math.nan


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
