"""Which frames a run has looked at, so that it is not continued with others under the same names."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from munet_jax.inference.files.inputs import FrameFiles, VideoFrames
from munet_jax.runtime.errors import InputError


class Seen:
    """Names and checksums of frames in files by their number; of a video file nothing, which has one checksum for all."""

    def __init__(self, frames: FrameFiles | VideoFrames) -> None:
        """Nothing is looked at yet."""
        self._frames = frames if isinstance(frames, FrameFiles) else None
        self._found: dict[int, tuple[str, int]] = {}

    def add(self, index: int) -> None:
        """Note a frame that is done; one that is still to come may be mended before the run goes on."""
        if self._frames is not None:
            self._found[index] = (self._frames.name(index), self._frames.checksum(index))

    def add_all(self) -> Seen:
        """Note every frame."""
        for index in range(len(self._frames or ())):
            self.add(index)
        return self

    def pack(self) -> np.ndarray:
        """As an array for `np.savez`."""
        return np.array(json.dumps([[index, *found] for index, found in sorted(self._found.items())]))

    @property
    def total(self) -> int:
        """One checksum of all."""
        return zlib.crc32(str(self.pack()).encode())

    def resume(self, packed: np.ndarray, out: Path) -> None:
        """Take up what `pack` gave. Raises InputError where one of those frames is another one now."""
        for index, name, checksum in json.loads(str(packed)):
            if self._frames is not None and self._now(self._frames, index) != (name, checksum):
                raise InputError(
                    f"{out}: frame {name} is not the one that this run was begun with; give the same frames, or begin anew with "
                    "--overwrite"
                )
            self._found[index] = (name, checksum)

    @staticmethod
    def _now(frames: FrameFiles, index: int) -> tuple[str, int] | None:
        return (frames.name(index), frames.checksum(index)) if index < len(frames) else None
