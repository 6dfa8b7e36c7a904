"""Some of a source's videos: what is trained on, and what is held out to choose by."""

from __future__ import annotations

from collections.abc import Sequence

from munet_jax.data.clips import ClipSource, Video
from munet_jax.host_types import Image, LabelMap


class Subset:
    """A ClipSource with some of another one's videos, in the order given."""

    def __init__(self, source: ClipSource, indices: Sequence[int], name: str) -> None:
        """Nothing is read."""
        self.name = name
        self._source, self._indices = source, tuple(indices)

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._indices)

    def video(self, index: int) -> Video:
        """As the other source's."""
        return self._source.video(self._indices[index])

    def frame(self, index: int, frame: int) -> Image:
        """As the other source's."""
        return self._source.frame(self._indices[index], frame)

    def labels(self, index: int, frame: int) -> LabelMap:
        """As the other source's."""
        return self._source.labels(self._indices[index], frame)


def split_off(source: ClipSource, names: Sequence[str]) -> tuple[ClipSource, ClipSource | None]:
    """The videos that do not have one of these names, and those that do (None where there are none)."""
    held = [index for index in range(len(source)) if source.video(index).name in names] if names else []
    if not held:
        return source, None
    rest = [index for index in range(len(source)) if index not in set(held)]
    return Subset(source, rest, source.name), Subset(source, held, f"{source.name}-held-out")
