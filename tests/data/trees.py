"""Small data sets made on the spot: folders on disk, and a source that lives in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from munet_jax.data.clips import Video
from munet_jax.data.masks import write_mask
from munet_jax.runtime.errors import InputError

COLOURS = np.array([[30, 30, 30], [230, 40, 40], [40, 230, 40], [40, 40, 230], [220, 220, 40]], np.uint8)


def label_map(ids: tuple[int, ...] = (1, 2), size: tuple[int, int] = (48, 64), shift: int = 0) -> np.ndarray:
    """Squares side by side, one per id, moved right by `shift` pixels: uint8 [h, w]."""
    labels = np.zeros(size, np.uint8)
    side = size[1] // (2 * max(1, len(ids)))
    for slot, value in enumerate(ids):
        left = side // 2 + 2 * side * slot + shift
        labels[size[0] // 4 : size[0] // 4 + side, left : left + side] = value
    return labels


def coloured(labels: np.ndarray) -> np.ndarray:
    """The frame in which every id has its own flat colour: uint8 [h, w, 3]."""
    return COLOURS[np.minimum(labels, len(COLOURS) - 1)]


def make_davis(
    root: Path,
    videos: tuple[str, ...] = ("cat", "dog"),
    *,
    frames: int = 6,
    year: str = "2017",
    split: str = "train",
    size: tuple[int, int] = (48, 64),
    ids: tuple[int, ...] = (1, 2),
) -> Path:
    """A DAVIS tree with every frame annotated."""
    (root / "ImageSets" / year).mkdir(parents=True)
    (root / "ImageSets" / year / f"{split}.txt").write_text("".join(f"{video}\n" for video in videos))
    for video in videos:
        (root / "JPEGImages/480p" / video).mkdir(parents=True)
        for frame in range(frames):
            labels = label_map(ids, size, frame)
            image = PILImage.fromarray(coloured(labels))
            image.save(root / "JPEGImages/480p" / video / f"{frame:05}.jpg", quality=95)
            write_mask(root / "Annotations/480p" / video / f"{frame:05}.png", labels)
    return root


def make_youtube_vos(root: Path, split: str = "train", *, every: int = 5) -> Path:
    """A YouTube-VOS tree of two videos of 16 frames; in `late`, object 2 appears at frame 10 only.

    train has a label map for every 5th frame, valid for first appearances only, and there with the new objects alone.
    """
    videos: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for video, appearances in (("late", {1: 0, 2: 10}), ("pair", {1: 0, 3: 0})):
        folders = [root / split / kind / video for kind in ("JPEGImages", "Annotations")]
        for folder in folders:
            folder.mkdir(parents=True)
        for frame in range(0, 16, every):
            seen = tuple(number for number, start in appearances.items() if start <= frame)
            new = tuple(number for number, start in appearances.items() if start == frame)
            picture = label_map(tuple(appearances), shift=frame // 5)
            picture[~np.isin(picture, seen)] = 0
            PILImage.fromarray(coloured(picture)).save(folders[0] / f"{frame:05}.jpg", quality=95)
            given = new if split == "valid" else seen
            if frame % 5 == 0 and given:
                write_mask(
                    folders[1] / f"{frame:05}.png", np.where(np.isin(picture, given), picture, 0).astype(np.uint8)
                )
        videos[video] = {
            "objects": {
                str(number): {"category": "cat", "frames": [f"{frame:05}" for frame in range(start, 16, 5)]}
                for number, start in appearances.items()
            }
        }
    (root / split / "meta.json").write_text(json.dumps({"videos": videos}))
    return root


class MemorySource:
    """A ClipSource over label maps in memory; frames are coloured by id. Counts what is read."""

    def __init__(self, videos: list[list[np.ndarray]], name: str = "memory", broken: tuple[int, ...] = ()) -> None:
        """`broken` videos raise InputError when a frame is read."""
        self.name = name
        self._videos = videos
        self._broken = broken

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._videos)

    def video(self, index: int) -> Video:
        """Every frame is annotated."""
        count = len(self._videos[index])
        return Video(f"video{index}", tuple(f"{frame:05}" for frame in range(count)), tuple(range(count)))

    def frame(self, index: int, frame: int) -> np.ndarray:
        """The label map in colours."""
        if index in self._broken:
            raise InputError(f"video{index}: cannot be read")
        return coloured(self._videos[index][frame])

    def labels(self, index: int, frame: int) -> np.ndarray:
        """The label map."""
        return self._videos[index][frame]


def memory_source(videos: int = 3, frames: int = 7, ids: tuple[int, ...] = (1, 2), **kwargs: object) -> MemorySource:
    """Squares that move one pixel a frame."""
    return MemorySource([[label_map(ids, shift=frame) for frame in range(frames)] for _ in range(videos)], **kwargs)  # type: ignore[arg-type]
