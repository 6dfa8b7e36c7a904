"""What a method is given of a split: label maps, and which objects of them, by the rules of a protocol."""

from __future__ import annotations

import zlib

import numpy as np

from munet_jax.data.clips import ClipSource
from munet_jax.evaluation.metrics import objects_in
from munet_jax.evaluation.protocols import Protocol
from munet_jax.host_types import LabelMap
from munet_jax.runtime.errors import InputError


class GivenObjects:
    """What a method is given of one video, frame by frame, by the rules of a protocol."""

    def __init__(self, source: ClipSource, index: int, protocol: Protocol) -> None:
        """Nothing is given yet."""
        self._source, self._index, self._video = source, index, source.video(index)
        self._annotated, self._later = set(self._video.annotated), not protocol.ends_alone
        self._known: set[int] = set()

    def at(self, number: int) -> tuple[LabelMap | None, list[int] | None]:
        """A label map [h, w] or None, and the ids that count in it (None: all); call it for every frame, in order.

        Objects are given where the data says so. Where it does not, it is those of the first frame, and if later ones count
        too, each in the first annotated frame that shows it; frames before have none.
        """
        if self._video.first_frames:
            new = [identity for identity, frame in self._video.first_frames.items() if frame == number]
            return (self._source.labels(self._index, number), new) if new else (None, None)
        if number and not (self._later and number in self._annotated):
            return None, None
        if self._later and number not in self._annotated:
            return None, None
        labels = self._source.labels(self._index, number)
        if number == 0 and (objects_in(labels) or not self._later):
            self._known.update(objects_in(labels))
            return labels, None
        new = [identity for identity in objects_in(labels) if identity not in self._known]
        self._known.update(new)
        return (labels, new) if new else (None, None)


def check_given(source: ClipSource, protocol: Protocol, most: int) -> int:
    """Looks at a split before any video is segmented: every label map that will be given, and the first frame of every video.

    Args:
      source: the videos.
      protocol: which objects are given.
      most: objects in a video at most, `config.inference.max_objects`.

    Returns:
      A checksum of these, of the names of frames, and of which objects are given where.

    Raises:
      InputError: a file that cannot be read, or a video with more objects.
    """
    checksum = 0
    for index in range(len(source)):
        video, given = source.video(index), GivenObjects(source, index, protocol)
        objects: set[int] = set()
        checksum = zlib.crc32("\0".join(video.frame_names).encode("utf-8", "surrogateescape"), checksum)
        checksum = zlib.crc32(source.frame(index, 0).tobytes(), checksum)
        for number in range(len(video.frame_names)):
            labels, new = given.at(number)
            if labels is not None:
                objects.update(objects_in(labels) if new is None else new)
                checksum = zlib.crc32(repr((number, new)).encode() + np.ascontiguousarray(labels).tobytes(), checksum)
        if len(objects) > most:
            raise InputError(
                f"{source.name}/{video.name}: has {len(objects)} objects, and config.inference.max_objects is {most}; give "
                f"--config.inference.max_objects={len(objects)}, or merge objects in its label maps"
            )
    return checksum
