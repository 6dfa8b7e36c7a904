"""Which objects and which frames a benchmark scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from munet_jax.runtime.errors import InputError

MERGED_OBJECT = 1
"""The id that all objects together are reported under."""


class Protocol(NamedTuple):
    """The rules of a benchmark.

    Attributes:
      name: as on the command line and in results.json.
      ends_alone: whether only the objects of the first frame count, in all frames but the first and the last. Otherwise an
        object counts from the frame after the one that gives it up to the last.
      merge_objects: whether everything that is not 0 is one object. The files of DAVIS-2016 hold 0 and 255, so 255 is too.
      every_frame: whether every frame has an annotation; a result of another frame is then a mistake.
    """

    name: str
    ends_alone: bool
    merge_objects: bool = False
    every_frame: bool = False

    def scored_frames(self, count: int) -> range:
        """Indices of those of `count` annotated frames whose results are scored; the first frame is given."""
        return range(1, count - int(self.ends_alone))


DAVIS2017 = Protocol("davis2017", ends_alone=True, every_frame=True)
DAVIS2016 = Protocol("davis2016", ends_alone=True, merge_objects=True, every_frame=True)
YOUTUBE_VOS = Protocol("youtube_vos", ends_alone=False)
GENERIC = Protocol("generic", ends_alone=False)

PROTOCOLS = {protocol.name: protocol for protocol in (DAVIS2017, DAVIS2016, YOUTUBE_VOS, GENERIC)}


def protocol_of(config: ConfigDict) -> Protocol:
    """How a config's evaluation is scored."""
    kind, dataset = config.evaluation.kind, config.evaluation.tfds.dataset
    if config.evaluation.merge_objects:
        return DAVIS2016
    if kind == "youtube_vos" or (kind == "tfds" and "youtube_vos" in dataset):
        return YOUTUBE_VOS
    return GENERIC if kind == "folder" or (kind == "tfds" and "folder" in dataset) else DAVIS2017


def objects_of(
    annotated: Sequence[Iterable[int]], protocol: Protocol, first_frames: Mapping[int, int] | None = None
) -> dict[int, int]:
    """The objects to score, and the index of the frame that gives each.

    DAVIS-2017 has the objects 1 to the highest id of the first frame, those that no frame shows among them, as its own
    evaluation code does.

    Args:
      annotated: the ids of every annotated frame's label map, without 0 and 255. A frame that can give no object may be
        left empty.
      protocol: the rules.
      first_frames: by object id, the index of the frame that gives it, where the data says so. Otherwise that is the first
        frame that shows it.

    Raises:
      InputError: there is no object.
    """
    if protocol.merge_objects:
        return {MERGED_OBJECT: 0}
    if protocol.ends_alone:
        found = dict.fromkeys(range(1, max(annotated[0], default=0) + 1), 0)
    elif first_frames:
        found = dict(first_frames)
    else:
        found = {}
        for index, ids in enumerate(annotated):
            for identity in ids:
                found.setdefault(identity, index)
    if not found:
        raise InputError(
            "there is no object to score: no annotation that could give one shows any; check the label maps"
        )
    return dict(sorted(found.items()))
