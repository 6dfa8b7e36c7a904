"""What `munet segment` takes as its video: a file, a folder of frames or a pattern."""

from __future__ import annotations

import glob
import logging
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from PIL import Image as PILImage

from munet_jax.array_types import Image
from munet_jax.data.images import (
    FRAME_SUFFIXES,
    exif_orientation,
    image_size,
    list_images,
    natural_key,
    no_frames,
    odd_names,
    read_image,
)
from munet_jax.data.sizes import Size, sizes_of_image
from munet_jax.data.video_files import REPAIR, VideoFile
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.clutter import is_in_clutter
from munet_jax.runtime.content import checksum
from munet_jax.runtime.errors import InputError

FRAME_RATE = 12.0  # of frames that come without one
LOG = logging.getLogger("munet_jax")


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

    def other_sizes(self) -> dict[str, Size]:
        """What else a mask may have been made of, and its size."""
        return sizes_of_image(self.paths[0])

    def checksum(self, index: int) -> int:
        """Of a frame's name and file: what tells one frame from another under the same number."""
        return zlib.crc32(self.paths[index].name.encode("utf-8", "surrogateescape"), checksum(self.paths[index]))


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

    def other_sizes(self) -> dict[str, Size]:
        """What else a mask may have been made of, and its size."""
        return dict(self.video.other_sizes)

    def most_frames(self) -> int:
        """As many frames as it can show at most; 0 where nothing says."""
        return self.video.most_frames()

    def checksum(self, index: int) -> int:
        """Of the file: it is the same for all frames."""
        return checksum(self.video.path)


def open_input(source: str, masks: Collection[Path] = ()) -> FrameFiles | VideoFrames:
    """The frames of a video file, of a folder or of a pattern such as 'shots/*.png' in natural order.

    Args:
      source: the name of a file or folder, or a pattern.
      masks: files that are no frames, wherever they lie.

    Raises:
      InputError: nothing there, or nothing that can be read.
    """
    path = Path(source)
    if path.is_dir():
        return _frame_files(list(list_images(path).values()) if not masks else _without(path, masks), source)
    if not path.exists() and glob.has_magic(source):
        return _frame_files(_matching(source, masks), source)
    if not path.exists():
        raise InputError(f"{path}: there is no such video, folder or pattern; check the name")
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise InputError(f"{path}: is a single image; give a video file, a folder of frames, or a pattern in quotes")
    return VideoFrames(VideoFile(path))


def _frame_files(paths: list[Path], source: str) -> FrameFiles:
    """Frames, with a word about what is strange among them."""
    if not paths:
        raise InputError(f"{no_frames(source)}; name the folder of the frames")
    odd = odd_names([path.stem for path in paths])
    if odd:
        LOG.warning(
            "%s: %d of %d frames do not count on as the others do (%s); take them away if they are no frames",
            source, len(odd), len(paths), ", ".join(odd[:3]) + (", ..." if len(odd) > 3 else ""),
        )  # fmt: skip
    orientation = exif_orientation(paths[0])
    if orientation > 1:
        LOG.warning(
            "%s: frames are turned or mirrored by their EXIF orientation (%d), as viewers show them; masks must be, too",
            source, orientation,
        )  # fmt: skip
    return FrameFiles(paths)


def _without(folder: Path, masks: Collection[Path]) -> list[Path]:
    """The frames of a folder in which masks may lie too."""
    real = {os.path.realpath(path) for path in masks}
    among = [path for path in folder.iterdir() if os.path.realpath(path) in real]
    _tell_left_out(str(folder), among)
    return list(list_images(folder, without=among).values())


def _tell_left_out(source: str, masks: Sequence[Path]) -> None:
    if masks:
        names = ", ".join(sorted(path.name for path in masks))
        LOG.warning("%s: %s, given as mask, lies among the frames and is left out of them", source, names)


def _matching(pattern: str, masks: Collection[Path]) -> list[Path]:
    real = {os.path.realpath(path) for path in masks}
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - a pattern may be absolute
    plain = next(depth for depth, part in enumerate(Path(pattern).parts) if glob.has_magic(part))
    matched = [path for path in found if not is_in_clutter(PurePath(*path.parts[plain:]))]
    images = [path for path in matched if path.suffix.lower() in FRAME_SUFFIXES]
    frames = [path for path in images if os.path.realpath(path) not in real]
    _tell_left_out(pattern, [path for path in images if os.path.realpath(path) in real])
    paths = sorted(frames, key=lambda path: natural_key(str(path)))
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
