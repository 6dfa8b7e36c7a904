"""From label maps to results: J and F of every object and frame, and their summary, the content of results.json."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from munet_jax.data.sizes import explain_size
from munet_jax.data.youtube_vos import read_meta
from munet_jax.evaluation.metrics import IGNORE, object_scores, objects_in, statistics
from munet_jax.evaluation.protocols import DAVIS2017, MERGED_OBJECT, Protocol, objects_of
from munet_jax.host_types import Float, LabelMap, UInt8
from munet_jax.runtime.errors import InputError

MEASURES = ("J", "F", "J&F", "J_recall", "J_decay", "F_recall", "F_decay")
SEEN_MEASURES = ("J_seen", "J_unseen", "F_seen", "F_unseen", "G")
"""YouTube-VOS: over objects of seen and of unseen categories, and the mean of the four."""

Pair = tuple[float, float]
"""(J, F)."""
FrameMeans = dict[str, dict[str, Pair]]
"""(J, F) by sequence and frame."""

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
    values: Mapping[int, Pair] = {}


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
        raise InputError(
            f"the segmentation is {explain_size(segmentation.shape, annotation.shape, called='its annotation')}"
        )
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
        sequences[name] = brief(_means(list(objects.values()))) | {"objects": objects}
    return _means(all_objects) | {"sequences": sequences}


def brief(summary: Mapping[str, Any]) -> dict[str, float]:
    """J, F and J&F alone."""
    return {key: summary[key] for key in ("J", "F", "J&F")}


def seen_and_unseen(
    summary: Mapping[str, Any], categories: Mapping[str, Mapping[int, str]], usual: Path, named: Path | None = None
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """The figures of YouTube-VOS: J and F over objects of seen and of unseen categories, and G, the mean of the four.

    Args:
      summary: what `summarise` returns.
      categories: of the objects, by sequence and id, where the data says.
      usual: the training set's meta.json, which says what categories are seen; it may be missing.
      named: another one in its place, which may not.

    Returns:
      {"J_seen", "J_unseen", "F_seen", "F_unseen", "G"}, and why they are blank. They are NaN where there is no such object,
      and then G is NaN too; all are None where a category is not known.

    Raises:
      InputError: a meta.json cannot be used.
    """
    if named is None and not usual.is_file():
        return dict.fromkeys(SEEN_MEASURES), (
            f"{usual}: not there, and only the training set's meta.json says which categories are seen; name it by "
            "--train-meta for J and F over seen and unseen ones",
        )
    groups: dict[str, list[Mapping[str, float]]] = collections.defaultdict(list)
    for name, sequence in summary["sequences"].items():
        for identity, scores in sequence["objects"].items():
            category = categories[name].get(int(identity))
            if not category:
                note = f"the meta.json names no category of an object of {name}: J and F over seen and unseen ones stay blank"
                return dict.fromkeys(SEEN_MEASURES), (note,)
            groups[category].append(scores)
    known = {entry["category"] for objects in read_meta(named or usual).values() for entry in objects.values()}
    seen = [scores for category, of in groups.items() if category in known for scores in of]
    unseen = [scores for category, of in groups.items() if category not in known for scores in of]
    means = [finite_mean([scores[measure] for scores in of]) for measure in "JF" for of in (seen, unseen)]
    return dict(zip(SEEN_MEASURES, (*means, sum(means) / len(means)), strict=True)), ()


def frame_rows(scores: Mapping[str, SequenceScore]) -> list[dict[str, Any]]:
    """The per-frame rows of a split: sequence, object, frame, J, F."""
    return [{"sequence": name} | row for name, score in scores.items() for row in score.rows()]


def frame_means(rows: Iterable[Mapping[str, Any]]) -> FrameMeans:
    """J and F of every frame, means over the objects that were scored there, of `frame_rows`."""
    found: dict[tuple[str, str], list[Pair]] = collections.defaultdict(list)
    for row in rows:
        found[row["sequence"], row["frame"]].append((row["J"], row["F"]))
    means: FrameMeans = collections.defaultdict(dict)
    for (name, frame), pairs in found.items():
        j, f = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        means[name][frame] = j, f
    return means


def finite_mean(values: Sequence[float]) -> float:
    """The mean of those values that are not NaN; NaN where none is left."""
    finite = [v for v in values if not math.isnan(v)]
    return sum(finite) / len(finite) if finite else math.nan


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
    return {key: finite_mean([o[key] for o in objects]) for key in objects[0]}
