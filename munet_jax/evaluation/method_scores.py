"""Scores of a method's masks that lie in files, as `munet score` gives them; one pair of label maps is held at a time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import dataclasses
import multiprocessing
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from munet_jax.data.masks import holds_ids, read_mask
from munet_jax.evaluation.mask_trees import MOST_NAMED, TreeSequence, list_trees
from munet_jax.evaluation.metrics import objects_in
from munet_jax.evaluation.protocols import YOUTUBE_VOS, Protocol, objects_of
from munet_jax.evaluation.results_json import RESULTS_FILE, write_results
from munet_jax.evaluation.scoring import (
    MEASURES,
    SEEN_MEASURES,
    FrameScores,
    SequenceScore,
    assemble,
    frame_rows,
    score_frame,
    seen_and_unseen,
    summarise,
)
from munet_jax.runtime.atomic_files import atomic_path, writing_to
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.progress import Progress

OBJECTS_FILE, FRAMES_FILE = "objects.csv", "frames.csv"
CHUNK = 16  # frames: small enough that the last chunks end at nearly the same time


@dataclasses.dataclass(frozen=True)
class MethodScores:
    """What scoring a method gave.

    Attributes:
      problems: a line for each fault; there are no scores then.
      extra: a line for each result, or id in a result, that belongs to nothing; these were not scored.
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


class _Frame(NamedTuple):
    annotation: Path
    result: Path | None  # None: not scored, only looked at for its objects


class _Chunk(NamedTuple):
    """Frames of one sequence that one process scores.

    Attributes:
      frames: their files.
      merge_objects: as the protocol has it.
      objects: that are scored; None where all annotations must be read before they are known.
      ids: whether grey annotations hold ids: one that shows 255 alone is no binary mask then.
    """

    frames: list[_Frame]
    merge_objects: bool
    objects: tuple[int, ...] | None
    ids: bool


class _Found(NamedTuple):
    """The score of every sequence without a problem, and a line for each problem and each frame with unknown ids."""

    scores: dict[str, SequenceScore]
    problems: list[str]
    unknown: list[str]


def score_method(
    annotations: Path,
    results: Path,
    protocol: Protocol,
    *,
    listed: Sequence[str] | None = None,
    meta: Path | None = None,
    train_meta: Path | None = None,
    processes: int = 1,
) -> MethodScores:
    """Scores a method's masks.

    Args:
      annotations: the folder with one folder of label maps per sequence.
      results: the folder of a method, with the same names of sequences and frames.
      protocol: which objects and frames count.
      listed: names of the sequences; default: all that there are annotations of.
      meta: YouTube-VOS: the split's meta.json. Default: the one beside `annotations`.
      train_meta: YouTube-VOS: the training set's meta.json, which says what categories are seen. Default: the one of the
        tree; without it the figures over seen and unseen categories stay blank.
      processes: how many work at a time; results do not depend on it.

    Raises:
      InputError: a folder or list is missing or cannot be used at all; what is wrong with single files is in `problems`.
    """
    if processes < 1:
        raise InputError(f"--processes is {processes}; it must be 1 or more")
    if protocol == YOUTUBE_VOS:
        meta = meta or annotations.parent / "meta.json"
    trees = list_trees(annotations, results, protocol, listed=listed, meta=meta)
    # Files are read even where some are missing: whoever mends the tree learns of all faults at once.
    found = _score_sequences(trees.sequences, protocol, processes)
    problems, extra = (*trees.problems, *found.problems), (*trees.extra, *found.unknown)
    if problems:
        return MethodScores(problems, extra)
    summary = summarise(found.scores) | {"protocol": protocol.name}
    categories = {sequence.name: sequence.categories for sequence in trees.sequences}
    notes: tuple[str, ...] = ()
    if protocol == YOUTUBE_VOS:
        assert meta is not None
        figures, notes = seen_and_unseen(summary, categories, meta.parent.parent / "train" / "meta.json", train_meta)
        summary |= figures
    return MethodScores((), extra, found.scores, summary, categories, notes)


def write_scores(folder: Path, scored: MethodScores, *, per_frame: bool = False) -> list[Path]:
    """Writes results.json and objects.csv, and with `per_frame` frames.csv and the same rows into results.json."""
    results = dict(scored.results)
    paths = [folder / RESULTS_FILE, folder / OBJECTS_FILE]
    with writing_to(folder):
        for name in (RESULTS_FILE, OBJECTS_FILE, FRAMES_FILE):  # of an earlier call: they would not fit together
            (folder / name).unlink(missing_ok=True)
        if per_frame:
            results["frames"] = rows = frame_rows(scored.scores)
            paths.append(folder / FRAMES_FILE)
            _write_csv(paths[-1], ("sequence", "object", "frame", "J", "F"), rows)
        _write_csv(paths[1], ("sequence", "object", *MEASURES, "category"), _object_rows(scored))
        write_results(paths[0], results)  # last: it says that all the rest is there
    return paths


def table(results: Mapping[str, Any]) -> str:
    """The scores as text: a line per sequence and the means over all objects."""
    width = max(12, *map(len, results["sequences"]))
    columns = ("J&F", "J", "F")
    lines = [f"{'sequence':{width}}" + "".join(f"{name:>8}" for name in columns)]
    for name, entry in (*results["sequences"].items(), ("all objects", results)):
        lines.append(f"{name:{width}}" + "".join(f"{_text(entry[key], 4, '-'):>8}" for key in columns))
    count = sum(len(entry["objects"]) for entry in results["sequences"].values())
    more = (*MEASURES[3:], *(key for key in SEEN_MEASURES if key in results))
    lines.append(f"{count} objects; " + ", ".join(f"{key} {_text(results[key], 4, '-')}" for key in more))
    return "\n".join(lines)


def _text(value: Any, digits: int, blank: str) -> str:
    """A cell's text; `blank` stands for a number that does not exist."""
    if value is None or value != value:
        return blank
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _object_rows(scored: MethodScores) -> Iterator[dict[str, Any]]:
    for name, entry in scored.results["sequences"].items():
        for identity, figures in entry["objects"].items():
            category = scored.categories.get(name, {}).get(int(identity), "")
            yield {"sequence": name, "object": identity, "category": category} | figures


def _csv_file(path: Path) -> TextIO:
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, _csv_file(temporary) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _text(value, 9, "") for key, value in row.items()} for row in rows)


def _score_sequences(sequences: Sequence[TreeSequence], protocol: Protocol, processes: int) -> _Found:
    chunks = [(sequence.name, chunk) for sequence in sequences for chunk in _chunks(sequence, protocol)]
    frames: dict[str, list[FrameScores | str]] = {sequence.name: [] for sequence in sequences}
    total = sum(len(chunk.frames) for _, chunk in chunks)
    with _mapper(processes) as run, Progress(total=total, desc="score", unit="frame") as progress:
        for (name, chunk), scores in zip(chunks, run([chunk for _, chunk in chunks]), strict=True):
            frames[name] += scores
            progress.update(len(chunk.frames))
    found = _Found({}, [], [])
    for sequence in sequences:
        problems = [frame for frame in frames[sequence.name] if isinstance(frame, str)]
        good = [frame for frame in frames[sequence.name] if not isinstance(frame, str)]
        if problems:
            found.problems.extend(problems)
            continue
        try:
            score = assemble(good, sequence.frame_names, protocol, first_frames=sequence.first_frames)
        except InputError as error:
            found.problems.append(f"{sequence.annotations[0].parent}: {error}")
            continue
        found.scores[sequence.name] = score
        if not protocol.merge_objects:
            found.unknown.extend(_unknown_objects(sequence, good, tuple(score.region)))
    return found


def _chunks(sequence: TreeSequence, protocol: Protocol) -> Iterator[_Chunk]:
    scored = protocol.scored_frames(len(sequence.frame_names))
    frames = [
        _Frame(path, sequence.results.get(name) if index in scored else None)
        for index, (name, path) in enumerate(zip(sequence.frame_names, sequence.annotations, strict=True))
    ]
    objects = _known_objects(sequence, protocol)
    ids = not protocol.merge_objects and holds_ids(sequence.annotations[0])
    for start in range(0, len(frames), CHUNK):
        yield _Chunk(frames[start : start + CHUNK], protocol.merge_objects, objects, ids)


def _known_objects(sequence: TreeSequence, protocol: Protocol) -> tuple[int, ...] | None:
    """The objects, where they are known before all annotations are read: no other id needs to be measured then."""
    if protocol.merge_objects or not (protocol.ends_alone or sequence.first_frames):
        return None
    try:
        first = objects_in(read_mask(sequence.annotations[0])) if protocol.ends_alone else ()
        return tuple(objects_of([first], protocol, sequence.first_frames))
    except InputError:
        return None  # the error is told when the file's turn comes


def _score_chunk(chunk: _Chunk) -> list[FrameScores | str]:
    """The scores of a chunk's frames, or what is wrong with them."""
    found: list[FrameScores | str] = []
    for frame in chunk.frames:
        try:
            annotation = read_mask(frame.annotation, ids=chunk.ids)
            result = None if frame.result is None else read_mask(frame.result)
        except InputError as error:
            found.append(str(error))
            continue
        if result is None:
            found.append(FrameScores(objects_in(annotation)))
            continue
        try:
            found.append(score_frame(annotation, result, merge_objects=chunk.merge_objects, objects=chunk.objects))
        except InputError as error:
            found.append(f"{frame.result}: {error} ({frame.annotation})")
    return found


def _unknown_objects(sequence: TreeSequence, frames: Sequence[FrameScores], objects: Sequence[int]) -> list[str]:
    known = ", ".join(map(str, objects))
    lines = []
    for name, frame in zip(sequence.frame_names, frames, strict=True):
        unknown = [str(i) for i in frame.segmented if i not in objects]
        if unknown:
            lines.append(f"{sequence.results[name]}: shows ids {', '.join(unknown)}, but the objects are {known}")
    if len(lines) > MOST_NAMED:
        lines[MOST_NAMED:] = [f"{sequence.name}: {len(lines)} frames show unknown ids in all"]
    return lines


@contextlib.contextmanager
def _mapper(processes: int) -> Iterator[Any]:
    """A function from chunks to their scores, in order."""
    if processes == 1:
        yield lambda chunks: map(_score_chunk, chunks)
        return
    # Forking starts in milliseconds, but only a program without threads (JAX has some) survives it.
    alone = sys.platform == "linux" and threading.active_count() == 1 and "jax" not in sys.modules
    context = multiprocessing.get_context("fork" if alone else "spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            yield lambda chunks: pool.map(_score_chunk, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
