"""DAVIS 2016 and 2017 as a `ClipSource`.

The tree, as the data set's own archives unpack:

    <root>/JPEGImages/<resolution>/<video>/00000.jpg ...
    <root>/Annotations/<resolution>/<video>/00000.png ...
    <root>/ImageSets/<year>/<split>.txt            one video name per line, or
    <root>/ImageSets/<resolution>/<split>.txt      DAVIS-2016's own: "/JPEGImages/... /Annotations/..." per frame
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np

from munet_jax.array_types import Image, LabelMap
from munet_jax.data.clips import Video
from munet_jax.data.images import image_size, list_images, read_image
from munet_jax.data.masks import read_mask
from munet_jax.errors import InputError

YEARS = ("2016", "2017")


@dataclasses.dataclass(frozen=True)
class _Files:
    """Where the frames and label maps of one video lie, by frame name."""

    video: Video
    frames: Path
    suffixes: tuple[str, ...]
    masks: Path


class DavisSource:
    """The videos of one DAVIS split; only names and indices are held, frames and label maps are read when asked for.

    `year='2016'` merges all objects into one (ids 0 and 1), `'2017'` keeps the ids. A frame is annotated if it has a
    PNG: all frames in train and val, the first ones in test-dev and test-challenge.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        year: str = "2017",
        resolution: str = "480p",
        name: str | None = None,
    ) -> None:
        """Lists the split's videos.

        Raises:
          InputError: a folder, list file, video, frame or first mask is missing; an unknown year; a listed name that
            is not a plain folder name.
        """
        if year not in YEARS:
            raise InputError(f"DAVIS has the years {' and '.join(YEARS)}, not {year!r}")
        self.name = name or f"davis{year}-{split}"
        self._merge_objects = year == "2016"
        root = Path(root).expanduser()
        frames, masks = _resolution_folders(root, resolution)
        names = _video_names(_list_file(root, split, year, resolution))
        self._videos = tuple(_list_video(name, frames / name, masks / name) for name in names)

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._videos)

    def video(self, index: int) -> Video:
        """Name, frame names and annotated frames of video `index`."""
        return self._videos[index].video

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3]. Raises InputError for an unreadable file."""
        return read_image(self._frame_path(index, frame))

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map of an annotated frame: uint8 [h, w].

        Raises:
          InputError: the frame has no label map, or one that cannot be read or has another size than the frame.
        """
        files = self._videos[index]
        path = files.masks / f"{files.video.frame_names[frame]}.png"
        if frame not in files.video.annotated:
            count = f"{len(files.video.annotated)} of {len(files.video.frame_names)} frames of the video have one"
            raise InputError(f"{path}: this frame has no label map ({count}); ask for annotated frames only")
        labels = read_mask(path)
        frame_path = self._frame_path(index, frame)
        frame_size = image_size(frame_path)
        if labels.shape != frame_size:
            sizes = f"{_size(labels.shape)}, but its frame {frame_path} is {_size(frame_size)}"
            raise InputError(f"{path}: the label map is {sizes} (width x height); take both from one resolution")
        return (labels > 0).astype(np.uint8) if self._merge_objects else labels

    def _frame_path(self, index: int, frame: int) -> Path:
        files = self._videos[index]
        return files.frames / f"{files.video.frame_names[frame]}{files.suffixes[frame]}"


def _resolution_folders(root: Path, resolution: str) -> tuple[Path, Path]:
    if not root.is_dir():
        raise InputError(
            f"{root}: there is no such folder; give the folder that holds JPEGImages, Annotations, ImageSets"
        )
    for folder in (root / "JPEGImages", root / "Annotations"):
        if not folder.is_dir():
            raise InputError(f"{root}: has no folder {folder.name}; give the folder into which DAVIS was unpacked")
    frames = root / "JPEGImages" / resolution
    if not frames.is_dir():
        existing = sorted(path.name for path in (root / "JPEGImages").iterdir() if path.is_dir())
        raise InputError(f"{frames}: there is no such resolution; found: {', '.join(existing) or 'none'}")
    return frames, root / "Annotations" / resolution


def _list_file(root: Path, split: str, year: str, resolution: str) -> Path:
    if _is_unsafe(split):
        raise InputError(f"the split {split!r} is not a plain name; try train or val")
    folders = [root / "ImageSets" / year]
    if year == "2016":
        folders.append(root / "ImageSets" / resolution)  # where DAVIS-2016's own archive has its lists
    for folder in folders:
        if (folder / f"{split}.txt").is_file():
            return folder / f"{split}.txt"
    existing = sorted(f"{path.parent.name}/{path.stem}" for path in (root / "ImageSets").glob("*/*.txt"))
    missing = folders[0] / f"{split}.txt"
    raise InputError(f"{missing}: there is no such list; lists found (year/split): {', '.join(existing) or 'none'}")


def _video_names(list_file: Path) -> list[str]:
    """The videos of a list in either layout, each once, in the order of the list."""
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{list_file}: cannot be read as text ({error})") from error
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, lines)):
        name = line
        if line.lstrip("/").startswith("JPEGImages/"):
            path = PurePosixPath(line.split()[0])
            name = ".." if ".." in path.parts else path.parent.name
        if _is_unsafe(name):
            raise InputError(f"{list_file}: the line {line!r} does not name a video folder; write one name per line")
        names[name] = None
    if not names:
        raise InputError(f"{list_file}: lists no video; write one name per line")
    return list(names)


def _is_unsafe(name: str) -> bool:
    return name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name


def _list_video(name: str, frames: Path, masks: Path) -> _Files:
    if not frames.is_dir():
        raise InputError(f"{frames}: listed, but there is no such folder; unpack it or take {name} off the list")
    images = list_images(frames)
    if not images:
        raise InputError(f"{frames}: holds no frames (.jpg or .png); unpack it again or take {name} off the list")
    with_mask = list_images(masks, (".png",))
    frame_names = tuple(images)
    annotated = tuple(index for index, frame in enumerate(frame_names) if frame in with_mask)
    if not annotated:
        raise InputError(f"{masks}: holds no label map of this video's frames; they are named as the frames, with .png")
    if annotated[0] != 0:
        raise InputError(
            f"{masks / frame_names[0]}.png: the first frame has no label map; it says which objects to follow"
        )
    video = Video(name, frame_names, annotated)
    return _Files(video, frames, tuple(path.suffix for path in images.values()), masks)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
