"""Trees of label maps: lists annotations and a method's results, one folder per sequence, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.data.images import list_images, natural_key
from munet_jax.data.youtube_vos import read_meta
from munet_jax.evaluation.protocols import Protocol
from munet_jax.runtime.clutter import list_folders
from munet_jax.runtime.errors import InputError

MOST_NAMED = 3  # frames of a sequence that a list of faults names; it then says how many there are


@dataclasses.dataclass(frozen=True)
class TreeSequence:
    """The files of one sequence.

    Attributes:
      name: of its folders.
      frame_names: of the annotated frames, in order.
      annotations: their label maps.
      results: the method's, by frame name; those that are missing are not in it.
      first_frames: by object id, the index of the frame that gives it; empty where the data does not say.
      categories: of the objects, by id, where the data says.
    """

    name: str
    frame_names: tuple[str, ...]
    annotations: tuple[Path, ...]
    results: Mapping[str, Path]
    first_frames: Mapping[int, int] = dataclasses.field(default_factory=dict)
    categories: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class MaskTrees:
    """What there is to score, and what is wrong with it.

    Attributes:
      sequences: in natural order of their names.
      problems: a line for each fault that keeps the method from being scored.
      extra: a line for each result that belongs to nothing.
    """

    sequences: tuple[TreeSequence, ...]
    problems: tuple[str, ...]
    extra: tuple[str, ...]


def list_trees(
    annotations: Path,
    results: Path,
    protocol: Protocol,
    *,
    listed: Sequence[str] | None = None,
    meta: Path | None = None,
) -> MaskTrees:
    """Lists every sequence's label maps, without opening any.

    Args:
      annotations: the folder with one folder of label maps per sequence.
      results: the folder of a method, with the same names of sequences and frames.
      protocol: which frames are scored; results of the others may be missing.
      listed: names of the sequences; default: all that there are annotations of.
      meta: the meta.json of YouTube-VOS, which says in which frames objects are given and what they are.

    Raises:
      InputError: one of the folders is not there or has no folder in it, or the meta.json cannot be used.
    """
    names = _sequence_names(annotations, listed)
    found = _folders(results)
    objects = read_meta(meta) if meta is not None else {}
    problems = [
        f"{annotations / name}: there is no such folder, but {meta} lists the video"
        for name in objects.keys() - names.keys()
        if listed is None
    ]
    extra = (
        [] if listed is not None else [f"{results / name}: there is no such sequence" for name in found - names.keys()]
    )
    sequences = []
    for name in names:
        try:
            sequence = _list_sequence(annotations / name, results / name, objects.get(name, {}))
        except InputError as error:
            problems.append(str(error))
            continue
        if meta is not None and name not in objects:
            problems.append(f"{meta}: has no video {name}, but there are annotations of it in {annotations}")
        if name not in found:
            problems.append(f"{results / name}: there is no such folder; the sequence has no results")
            continue
        problems += _missing(sequence, results / name, protocol)
        extra += _extra(sequence, protocol)
        sequences.append(sequence)
    return MaskTrees(tuple(sequences), tuple(sorted(problems, key=natural_key)), tuple(sorted(extra, key=natural_key)))


def _sequence_names(annotations: Path, listed: Sequence[str] | None) -> dict[str, None]:
    there = _folders(annotations)
    if listed is None:
        return dict.fromkeys(sorted(there, key=natural_key))
    missing = [name for name in listed if name not in there]
    if missing:
        raise InputError(f"{annotations / missing[0]}: listed, but there is no such folder ({len(missing)} in all)")
    return dict.fromkeys(listed)


def _folders(root: Path) -> set[str]:
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder")
    found = set(list_folders(root))
    if not found:
        raise InputError(
            f"{root}: has no folders in it; give the folder that has one folder of label maps per sequence"
        )
    return found


def _list_sequence(annotations: Path, results: Path, objects: Mapping[int, Mapping[str, Any]]) -> TreeSequence:
    masks = list_images(annotations, (".png",))
    if not masks:
        raise InputError(
            f"{annotations}: holds no label maps (.png); take the sequence away or give those of all frames"
        )
    names = tuple(masks)
    first_frames = {}
    for identity, entry in objects.items():
        first = min(entry["frames"], key=natural_key)
        if first not in masks:
            raise InputError(f"{annotations / first}.png: object {identity} is given here, but there is no label map")
        first_frames[identity] = names.index(first)
    return TreeSequence(
        name=annotations.name,
        frame_names=names,
        annotations=tuple(masks.values()),
        results=list_images(results, (".png",)),
        first_frames=first_frames,
        categories={identity: entry["category"] for identity, entry in objects.items()},
    )


def _missing(sequence: TreeSequence, folder: Path, protocol: Protocol) -> list[str]:
    scored = [sequence.frame_names[index] for index in protocol.scored_frames(len(sequence.frame_names))]
    missing = [name for name in scored if name not in sequence.results]
    return [f"{folder / name}.png: there is no such file" for name in missing]


def _extra(sequence: TreeSequence, protocol: Protocol) -> list[str]:
    """Where not every frame is annotated, results of the others are no mistake."""
    if not protocol.every_frame:
        return []
    known = set(sequence.frame_names)
    return [f"{path}: there is no such frame" for name, path in sequence.results.items() if name not in known]
