"""Scoring a method's masks that lie in files, on one process or several; one pair of label maps is held at a time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from munet_jax.data.masks import holds_ids, read_mask
from munet_jax.evaluation.metrics import objects_in
from munet_jax.evaluation.protocols import Protocol, objects_of
from munet_jax.evaluation.result_trees import MOST_NAMED, ResultSequence
from munet_jax.evaluation.scoring import FrameScores, SequenceScore, assemble, score_frame
from munet_jax.runtime.errors import InputError

CHUNK = 16  # frames: small enough that the last chunks end at nearly the same time


class _Progress(tqdm):
    """Without the thread that tqdm starts beside its bars: a program with threads cannot fork."""

    monitor_interval = 0


class _Frame(NamedTuple):
    annotation: Path
    result: Path | None  # None: not scored, only looked at for its objects


class _Chunk(NamedTuple):
    frames: list[_Frame]
    merge_objects: bool
    objects: tuple[int, ...] | None  # None: not known before all annotations are read
    ids: bool  # whether grey annotations hold ids: one that shows 255 alone is no binary mask then


class Scores(NamedTuple):
    """What came of the files.

    Attributes:
      sequences: the score of every sequence without a problem.
      problems: files that are no label maps or have another size than their annotation, and sequences without objects, a
        line each.
      extra: results that show ids which are no object's (they count for nothing), a line each.
    """

    sequences: dict[str, SequenceScore]
    problems: list[str]
    extra: list[str]


def score_files(sequences: Sequence[ResultSequence], protocol: Protocol, *, processes: int = 1) -> Scores:
    """Scores listed sequences.

    Args:
      sequences: what `list_results` found.
      protocol: which objects and frames count.
      processes: how many work at a time; results do not depend on it.
    """
    chunks = [(sequence.name, chunk) for sequence in sequences for chunk in _chunks(sequence, protocol)]
    frames: dict[str, list[FrameScores | str]] = {sequence.name: [] for sequence in sequences}
    quiet = 0.5 if sys.stderr.isatty() else 15.0
    total = sum(len(chunk.frames) for _, chunk in chunks)
    with _mapper(processes) as run:
        results = run([chunk for _, chunk in chunks])
        with _Progress(total=total, desc="score", unit="frame", mininterval=quiet) as progress:
            for (name, chunk), found in zip(chunks, results, strict=True):
                frames[name] += found
                progress.update(len(chunk.frames))
    scores = Scores({}, [], [])
    for sequence in sequences:
        problems = [frame for frame in frames[sequence.name] if isinstance(frame, str)]
        if problems:
            scores.problems.extend(problems)
            continue
        good = [frame for frame in frames[sequence.name] if not isinstance(frame, str)]
        try:
            scores.sequences[sequence.name] = score = assemble(
                good, sequence.frame_names, protocol, first_frames=sequence.first_frames
            )
        except InputError as error:
            scores.problems.append(f"{sequence.annotations[0].parent}: {error}")
            continue
        if not protocol.merge_objects:
            scores.extra.extend(_unknown_objects(sequence, good, tuple(score.region)))
    return scores


def _chunks(sequence: ResultSequence, protocol: Protocol) -> Iterator[_Chunk]:
    scored = protocol.scored_frames(len(sequence.frame_names))
    frames = [
        _Frame(path, sequence.results.get(name) if index in scored else None)
        for index, (name, path) in enumerate(zip(sequence.frame_names, sequence.annotations, strict=True))
    ]
    objects = _known_objects(sequence, protocol)
    ids = not protocol.merge_objects and holds_ids(sequence.annotations[0])
    for start in range(0, len(frames), CHUNK):
        yield _Chunk(frames[start : start + CHUNK], protocol.merge_objects, objects, ids)


def _known_objects(sequence: ResultSequence, protocol: Protocol) -> tuple[int, ...] | None:
    """The objects, where that is known without looking at all annotations: ids of others need not be measured."""
    if protocol.merge_objects or not (protocol.ends_alone or sequence.first_frames):
        return None
    try:
        first = objects_in(read_mask(sequence.annotations[0])) if protocol.ends_alone else ()
        return tuple(objects_of([first], protocol, sequence.first_frames))
    except InputError:
        return None  # told when the file's turn comes


def _score_chunk(chunk: _Chunk) -> list[FrameScores | str]:
    """The scores of its frames, or what is wrong with them."""
    found: list[FrameScores | str] = []
    for frame in chunk.frames:
        try:
            annotation = read_mask(frame.annotation, ids=chunk.ids)
            if frame.result is None:
                found.append(FrameScores(objects_in(annotation)))
                continue
            result = read_mask(frame.result)
        except InputError as error:
            found.append(str(error))
            continue
        try:
            found.append(score_frame(annotation, result, merge_objects=chunk.merge_objects, objects=chunk.objects))
        except InputError as error:
            found.append(f"{frame.result}: {error} ({frame.annotation})")
    return found


def _unknown_objects(sequence: ResultSequence, frames: Sequence[FrameScores], objects: Sequence[int]) -> list[str]:
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
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=_context()) as pool:
        try:
            yield lambda chunks: pool.map(_score_chunk, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _context() -> multiprocessing.context.BaseContext:
    """Forking starts in milliseconds, but only a program without threads (JAX has some) survives it."""
    alone = sys.platform == "linux" and threading.active_count() == 1 and "jax" not in sys.modules
    return multiprocessing.get_context("fork" if alone else "spawn")
