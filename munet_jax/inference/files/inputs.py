"""What `munet segment` takes: a video file, a folder of frames or a pattern; and the label maps of some frames."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from munet_jax.array_types import Image, LabelMap
from munet_jax.data.images import FRAME_SUFFIXES, describe_size, image_size, list_images, natural_key, read_image
from munet_jax.data.masks import IGNORE, read_mask
from munet_jax.data.video_files import REPAIR, VideoFile
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

FRAME_RATE = 12.0  # of frames that come without one
LAST = -1  # stands for the last frame of a video whose length is not known yet


class FrameFiles(Sequence[Any]):
    """Frames in files, read when they are asked for."""

    def __init__(self, paths: Sequence[Path], rate: float = FRAME_RATE) -> None:
        """The files in order; frames are called by their names without suffix."""
        self.expected = len(paths)
        self.paths, self.rate, self.frame_count = tuple(paths), rate, len(paths)

    def __len__(self) -> int:
        """The number of frames."""
        return self.frame_count

    def __getitem__(self, index: int) -> Image:  # type: ignore[override] # no slices: they would read everything
        """RGB uint8 [h, w, 3]."""
        return read_image(self.paths[index])

    def name(self, index: int) -> str:
        """What the frame's results are called."""
        return self.paths[index].stem

    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        return image_size(self.paths[0])


class VideoFrames:
    """Frames of a video file, in order only."""

    def __init__(self, video: VideoFile) -> None:
        """The frames are called by their number, from 00000."""
        self.video, self.rate, self.expected = video, video.rate, video.expected

    def __iter__(self) -> Iterator[Image]:
        """RGB uint8 [h, w, 3] each."""
        return iter(self.video)

    def name(self, index: int) -> str:
        """What the frame's results are called."""
        return f"{index:05d}"

    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame."""
        first = next(iter(self), None)
        if first is None:
            raise InputError(f"{self.video.path}: shows no frame; {REPAIR}")
        return first.shape[0], first.shape[1]


def open_input(source: str) -> FrameFiles | VideoFrames:
    """The frames of a video file, of a folder or of a pattern such as 'shots/*.png' in natural order.

    Raises:
      InputError: nothing there, or nothing that can be read.
    """
    path = Path(source)
    if path.is_dir():
        found = list(list_images(path).values())
        if not found:
            raise InputError(f"{path}: holds no frames ({', '.join(FRAME_SUFFIXES)}); name the folder that does")
        return FrameFiles(found)
    if not path.exists() and glob.has_magic(source):
        return FrameFiles(_matching(source))
    if not path.exists():
        raise InputError(f"{path}: there is no such video, folder or pattern; check the name")
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise InputError(f"{path}: is a single image; give a video file, a folder of frames, or a pattern in quotes")
    return VideoFrames(VideoFile(path))


def _matching(pattern: str) -> list[Path]:
    paths = [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 - a pattern may be absolute
    paths = sorted((p for p in paths if p.suffix.lower() in FRAME_SUFFIXES), key=lambda p: natural_key(str(p)))
    if not paths:
        raise InputError(f"{pattern}: matches no frames ({', '.join(FRAME_SUFFIXES)})")
    names: dict[str, Path] = {}
    for path in paths:
        if path.stem in names:
            raise InputError(
                f"{pattern}: both {names[path.stem]} and {path} would be called {path.stem}; keep one of them"
            )
        names[path.stem] = path
    return paths


def unpack_video(frames: VideoFrames, folder: Path) -> FrameFiles:
    """The frames of a video as files in `folder`, for who needs them in another order; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, frame in enumerate(frames):
        paths.append(folder / f"{frames.name(number)}.png")
        if not paths[-1].exists():
            with atomic_path(paths[-1]) as temporary:
                PILImage.fromarray(frame).save(temporary, format="PNG", compress_level=1)
    return FrameFiles(paths, frames.rate)


def read_annotations(masks: Sequence[str], frames: FrameFiles | VideoFrames, default: int) -> dict[int, LabelMap]:
    """Label maps by frame index.

    Args:
      masks: 'FILE', of frame `default`, or 'FRAME=FILE', where FRAME is a frame's name or its number from 0.
      frames: the video.
      default: a frame index, or LAST where it is not known yet which that is.

    Raises:
      InputError: no such frame, two masks of one frame, a file that is no label map, shows no object, or is not as large
        as the first frame.
    """
    size = frames.size()
    names = {frames.name(index): index for index in range(frames.frame_count)} if isinstance(frames, FrameFiles) else {}
    annotations: dict[int, LabelMap] = {}
    for text in masks:
        place, file = split_mask(text)
        index = default if not place else names.get(place, int(place) if place.isdecimal() else None)
        if index is None or (isinstance(frames, FrameFiles) and index >= frames.frame_count):
            last = f" to {frames.name(frames.frame_count - 1)}" if isinstance(frames, FrameFiles) else ""
            raise InputError(f"--mask {text}: there is no frame {place!r}; frames are called {frames.name(0)}{last}")
        if index in annotations:
            raise InputError(f"--mask {text}: that frame has a mask already; give one for each frame")
        labels = read_mask(file)
        if labels.shape != size:
            raise InputError(
                f"{file}: is {describe_size(labels.shape)} but the frames are {describe_size(size)}; scale it "
                "with nearest neighbour only"
            )
        if not np.isin(labels, (0, IGNORE), invert=True).any():
            raise InputError(f"{file}: shows no object: every pixel is 0 (background) or 255 (not known)")
        annotations[index] = labels
    return annotations


def split_mask(text: str) -> tuple[str, str]:
    """'FRAME=FILE' -> (frame, file); without a frame, or where a file has that very name, ('', file)."""
    place, separator, file = text.partition("=")
    return (place, file) if separator and not Path(text).exists() else ("", text)
