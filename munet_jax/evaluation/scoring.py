"""From label maps to results: J and F of every object and frame, their summary, and the `results.json` with it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from munet_jax.evaluation.metrics import IGNORE, object_scores, objects_in, statistics
from munet_jax.evaluation.protocols import DAVIS2017, MERGED_OBJECT, Protocol, objects_of
from munet_jax.host_types import Float, LabelMap, UInt8
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

MEASURES = ("J", "F", "J&F", "J_recall", "J_decay", "F_recall", "F_decay")

_DIGITS = 6
_END = object()
_BOTH_EMPTY = (1.0, 1.0)

# Rows and columns of a segmentation have names of their own: that they equal the annotation's is checked by hand.
Segmentation = UInt8[np.ndarray, "rows columns"]


class FrameScores(NamedTuple):
    """J and F of the objects of one frame.

    Attributes:
      annotated: ids that the annotation shows, without 0 and 255.
      segmented: ids that the segmentation shows, without 0.
      values: (J, F) of every id that either shows and that was asked for; one that neither shows has 1 and 1.
    """

    annotated: tuple[int, ...]
    segmented: tuple[int, ...] = ()
    values: Mapping[int, tuple[float, float]] = {}


@dataclasses.dataclass(frozen=True)
class SequenceScore:
    """J and F of every object in every scored frame of one sequence.

    Attributes:
      frame_names: the t frames that were scored, in order.
      region: J per object id, float64 [t]; NaN in frames before the object is scored.
      boundary: F per object id, float64 [t].
    """

    frame_names: tuple[str, ...]
    region: Mapping[int, Float[np.ndarray, t]]
    boundary: Mapping[int, Float[np.ndarray, t]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per object and scored frame: object, frame, J, F."""
        for object_id, region in self.region.items():
            for name, j, f in zip(self.frame_names, region, self.boundary[object_id], strict=True):
                if not math.isnan(j):
                    yield {"object": object_id, "frame": name, "J": float(j), "F": float(f)}


def score_sequence(
    annotations: Iterable[LabelMap],
    segmentations: Iterable[Segmentation | None],
    frame_names: Sequence[str],
    protocol: Protocol = DAVIS2017,
    *,
    first_frames: Mapping[int, int] | None = None,
) -> SequenceScore:
    """Score one sequence frame by frame; one pair of label maps is held at a time, so generators may be passed.

    Object k is compared with id k of the segmentation, an id that the segmentation lacks counts as an empty mask, ids that
    are no object's are background in effect, and so is 255 ('ignore') in an annotation, as in the DAVIS code.

    Args:
      annotations: the true label map of every frame, each uint8 [h, w].
      segmentations: the label maps to judge, same sizes. None stands for a frame without one; only frames that are not
        scored may lack theirs.
      frame_names: the names of all frames, in order.
      protocol: which objects and frames count.
      first_frames: by object id, the index of the frame that it is given in, where the data says so.

    Raises:
      InputError: the three do not have the same number of frames; a segmentation has another size than its annotation,
        or is missing; no frame or no object is left to score.
    """
    count = len(frame_names)
    scored = protocol.scored_frames(count)
    frames: list[FrameScores] = []
    for index, (annotation, segmentation) in enumerate(_aligned(annotations, segmentations, count)):
        if index not in scored:
            frames.append(FrameScores(objects_in(annotation)))
            continue
        if segmentation is None:
            raise InputError(f"frame {frame_names[index]} has no segmentation")
        try:
            frames.append(score_frame(annotation, segmentation, merge_objects=protocol.merge_objects))
        except InputError as error:
            raise InputError(f"frame {frame_names[index]}: {error}") from error
    return assemble(frames, frame_names, protocol, first_frames=first_frames)


def score_frame(
    annotation: LabelMap,
    segmentation: Segmentation,
    *,
    merge_objects: bool = False,
    objects: Collection[int] | None = None,
) -> FrameScores:
    """J and F of every id that one of two label maps shows; with `objects`, of those ids, and the annotation's are not told.

    Raises:
      InputError: they differ in size.
    """
    if annotation.shape != segmentation.shape:
        sizes = [" x ".join(map(str, a.shape[::-1])) for a in (segmentation, annotation)]
        raise InputError(f"the segmentation is {sizes[0]} pixels but its annotation is {sizes[1]}")
    if merge_objects:
        truth, found = ((labels != 0).view(np.uint8) for labels in (annotation, segmentation))
        return FrameScores((MERGED_OBJECT,), (), {MERGED_OBJECT: object_scores(truth, found, MERGED_OBJECT)})
    annotated = objects_in(annotation) if objects is None else ()
    segmented = objects_in(segmentation, ignore=None)
    shown = {*annotated, *segmented} - {IGNORE} if objects is None else objects
    values = {i: object_scores(annotation, segmentation, i) for i in shown}
    return FrameScores(annotated, segmented, values)


def assemble(
    frames: Sequence[FrameScores],
    frame_names: Sequence[str],
    protocol: Protocol,
    *,
    first_frames: Mapping[int, int] | None = None,
) -> SequenceScore:
    """The score of a sequence from those of its annotated frames; arguments and errors as of `score_sequence`."""
    scored = protocol.scored_frames(len(frames))
    if not scored:
        raise InputError(f"{len(frames)} frames, of which none is left to score (the first or last may be left out)")
    objects = objects_of([frame.annotated for frame in frames], protocol, first_frames)
    table = np.full((len(objects), len(scored), 2), np.nan)
    for row, (identity, first) in enumerate(objects.items()):
        for column, index in enumerate(scored):
            if index > first:
                table[row, column] = frames[index].values.get(identity, _BOTH_EMPTY)
    return SequenceScore(
        frame_names=tuple(frame_names[index] for index in scored),
        region={identity: table[row, :, 0] for row, identity in enumerate(objects)},
        boundary={identity: table[row, :, 1] for row, identity in enumerate(objects)},
    )


def summarise(scores: Mapping[str, SequenceScore]) -> dict[str, Any]:
    """The content of `results.json` for the scores of a split.

    Every number is in [0, 1] but the decays, which are in [-1, 1]. Those of the split are means over all objects of all
    sequences (as DAVIS does), not over sequences; those of a sequence are means over its objects. An object that was never
    scored has NaN and counts nowhere.

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


def seen_and_unseen(
    summary: Mapping[str, Any], categories: Mapping[str, Mapping[int, str]], seen: Iterable[str]
) -> dict[str, float]:
    """The figures of YouTube-VOS: J and F over objects of seen and of unseen categories, and G, the mean of the four.

    Args:
      summary: what `summarise` returns.
      categories: of every sequence's objects, by sequence and id.
      seen: the categories of the training set.

    Returns:
      {"J_seen", "J_unseen", "F_seen", "F_unseen", "G"}; NaN where there is no such object, and then G is NaN too.
    """
    known = frozenset(seen)
    groups: dict[bool, list[Mapping[str, float]]] = {True: [], False: []}
    for sequence, entry in summary["sequences"].items():
        for identity, scores in entry["objects"].items():
            groups[categories[sequence][int(identity)] in known].append(scores)
    means = {
        f"{measure}_{called}": _finite_mean([scores[measure] for scores in groups[group]])
        for measure in "JF"
        for called, group in (("seen", True), ("unseen", False))
    }
    return means | {"G": sum(means.values()) / len(means)}


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


def _object_summary(region: np.ndarray, boundary: np.ndarray) -> dict[str, float]:
    j, f = (statistics(_own_frames(values)) for values in (region, boundary))
    figures = (j.mean, f.mean, (j.mean + f.mean) / 2, j.recall, j.decay, f.recall, f.decay)
    return dict(zip(MEASURES, figures, strict=True))


def _own_frames(values: np.ndarray) -> np.ndarray:
    """Without the frames before the object is scored: the quarters of its decay are of its own frames."""
    started = np.flatnonzero(~np.isnan(values))
    return values[started[0] :] if started.size else values


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
