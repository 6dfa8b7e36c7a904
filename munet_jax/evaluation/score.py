"""Scores of a method's masks, as `munet score` gives them: files, summary and table."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.data.youtube_vos import read_meta
from munet_jax.evaluation.protocols import YOUTUBE_VOS, Protocol
from munet_jax.evaluation.result_trees import list_results
from munet_jax.evaluation.score_files import score_files
from munet_jax.evaluation.scoring import (
    MEASURES,
    SequenceScore,
    frame_rows,
    seen_and_unseen,
    summarise,
    write_results,
)
from munet_jax.runtime.atomic_files import atomic_path, writing_to
from munet_jax.runtime.errors import InputError

RESULTS_FILE, OBJECTS_FILE, FRAMES_FILE = "results.json", "objects.csv", "frames.csv"
YOUTUBE_VOS_MEASURES = ("J_seen", "J_unseen", "F_seen", "F_unseen", "G")


@dataclasses.dataclass(frozen=True)
class Scored:
    """What came of scoring a tree.

    Attributes:
      problems: because of which there is no score, a line each; empty where there is one.
      extra: results, or ids in them, that belong to nothing, a line each.
      scores: by sequence.
      results: the content of results.json.
      categories: of the objects, by sequence and id, where the data says.
      notes: what is missing from the results, and how to have it.
    """

    problems: tuple[str, ...]
    extra: tuple[str, ...]
    scores: Mapping[str, SequenceScore] = dataclasses.field(default_factory=dict)
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, Mapping[int, str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def score_results(
    annotations: Path,
    results: Path,
    protocol: Protocol,
    *,
    listed: Sequence[str] | None = None,
    meta: Path | None = None,
    train_meta: Path | None = None,
    processes: int = 1,
) -> Scored:
    """Scores a method's masks.

    Args:
      annotations: the folder with one folder of label maps per sequence.
      results: the same of a method.
      protocol: which objects and frames count.
      listed: names of the sequences; default: all that there are annotations of.
      meta: YouTube-VOS: the split's meta.json. Default: the one beside `annotations`.
      train_meta: YouTube-VOS: the training set's, which says what categories are seen. Default: that of the tree, or blanks.
      processes: how many work at a time.

    Raises:
      InputError: a folder or list is missing or cannot be used at all; what is wrong with single files is in `problems`.
    """
    if processes < 1:
        raise InputError(f"--processes is {processes}; it must be 1 or more")
    if protocol == YOUTUBE_VOS:
        meta = meta or annotations.parent / "meta.json"
    tree = list_results(annotations, results, protocol, listed=listed, meta=meta)
    # Also where something is missing already: whoever mends it wants to know of the rest.
    scores, problems, unknown = score_files(tree.sequences, protocol, processes=processes)
    extra = (*tree.extra, *unknown)
    if tree.problems or problems:
        return Scored((*tree.problems, *problems), extra)
    summary = summarise(scores)
    categories = {sequence.name: sequence.categories for sequence in tree.sequences}
    notes: tuple[str, ...] = ()
    if protocol == YOUTUBE_VOS:
        assert meta is not None
        figures, notes = _seen_figures(summary, categories, train_meta, meta.parent.parent / "train" / "meta.json")
        summary |= figures
    return Scored((), extra, scores, summary | {"protocol": protocol.name}, categories, notes)


def _seen_figures(
    summary: Mapping[str, Any], categories: Mapping[str, Mapping[int, str]], given: Path | None, usual: Path
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The figures over seen and unseen categories, blank where no file says which are seen."""
    if given is None and not usual.is_file():
        note = f"{usual}: not there, and only the training set's meta.json says which categories are seen; name it by"
        return dict.fromkeys(YOUTUBE_VOS_MEASURES, math.nan), (
            f"{note} --train-meta for J and F over seen and unseen ones",
        )
    nameless = next((name for name, of in categories.items() if not all(of.values())), None)
    if nameless is not None:
        note = (
            f"the meta.json names no category of an object of {nameless}: J and F over seen and unseen ones stay blank"
        )
        return dict.fromkeys(YOUTUBE_VOS_MEASURES, math.nan), (note,)
    return seen_and_unseen(summary, categories, seen_categories(given or usual)), ()


def seen_categories(path: Path) -> frozenset[str]:
    """The categories of a training set's meta.json: those that are 'seen'."""
    videos = read_meta(path)
    return frozenset(entry["category"] for objects in videos.values() for entry in objects.values())


def write_scores(folder: Path, scored: Scored, *, per_frame: bool = False) -> list[Path]:
    """Writes results.json and objects.csv, and with `per_frame` frames.csv and the same rows into results.json."""
    results = dict(scored.results)
    paths = [folder / RESULTS_FILE, folder / OBJECTS_FILE]
    with writing_to(folder):
        (folder / FRAMES_FILE).unlink(missing_ok=True)  # of an earlier call: it would not fit the new results
        if per_frame:
            rows = frame_rows(scored.scores)
            results["frames"] = rows
            paths.append(folder / FRAMES_FILE)
            _write_csv(paths[-1], ("sequence", "object", "frame", "J", "F"), rows)
        write_results(paths[0], results)
        _write_csv(paths[1], ("sequence", "object", *MEASURES, "category"), _object_rows(scored))
    return paths


def table(results: Mapping[str, Any]) -> str:
    """The scores as text: a line per sequence and the means over all objects."""
    width = max(12, *map(len, results["sequences"]))
    columns = ("J&F", "J", "F")
    lines = [f"{'sequence':{width}}" + "".join(f"{name:>8}" for name in columns)]
    for name, entry in results["sequences"].items():
        lines.append(f"{name:{width}}" + "".join(f"{_number(entry[key]):>8}" for key in columns))
    count = sum(len(entry["objects"]) for entry in results["sequences"].values())
    lines.append(f"{'all objects':{width}}" + "".join(f"{_number(results[key]):>8}" for key in columns))
    more = (*MEASURES[3:], *(key for key in YOUTUBE_VOS_MEASURES if key in results))
    lines.append(f"{count} objects; " + ", ".join(f"{key} {_number(results[key])}" for key in more))
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _object_rows(scored: Scored) -> list[dict[str, Any]]:
    return [
        {"sequence": name, "object": identity, "category": scored.categories.get(name, {}).get(int(identity), "")}
        | figures
        for name, entry in scored.results["sequences"].items()
        for identity, figures in entry["objects"].items()
    ]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9f}"
    return value
