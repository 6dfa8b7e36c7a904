"""What data sets that lie as folders of frames and label maps have in common.

A video is a folder of frames and a folder of PNG label maps with the frames' names. `TreeSource` reads them; the module
of each data set knows its layout and lists its videos.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from munet_jax.data.clips import Video
from munet_jax.data.images import list_images, natural_key, no_frames, read_image
from munet_jax.data.masks import read_mask
from munet_jax.data.sizes import require_size
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class VideoFiles:
    """Where the frames and label maps of one video lie, by frame name.

    Attributes:
      video: names and annotated frames.
      frames: the folder of frames.
      suffixes: of each frame's file, with the dot.
      masks: the folder of label maps.
    """

    video: Video
    frames: Path
    suffixes: tuple[str, ...]
    masks: Path


class TreeSource:
    """A `ClipSource` over listed videos; only names and indices are held, files are read when asked for."""

    def __init__(self, name: str, videos: Sequence[VideoFiles], *, merge_objects: bool = False) -> None:
        """Takes listed videos; `merge_objects` makes all objects of a label map one (ids 0 and 1)."""
        self.name = name
        self._videos = tuple(videos)
        self._merge_objects = merge_objects

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._videos)

    def video(self, index: int) -> Video:
        """Name, frame names and annotated frames of video `index`."""
        return self._videos[index].video

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3]. Raises InputError for an unreadable file."""
        return read_image(self.frame_file(index, frame))

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
        require_size(path, labels.shape, self.frame_file(index, frame))
        return (labels > 0).astype(np.uint8) if self._merge_objects else labels

    def frame_file(self, index: int, frame: int) -> Path:
        """The file of a frame, as it lies there."""
        files = self._videos[index]
        return files.frames / f"{files.video.frame_names[frame]}{files.suffixes[frame]}"


def is_unsafe(name: str) -> bool:
    """Whether a listed name is anything but a plain file or folder name: nothing outside a data root is ever touched."""
    return name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name


def list_video(
    name: str,
    frames: Path,
    masks: Path,
    *,
    listed: Set[str] = frozenset(),
    all_frames: bool = True,
    categories: Mapping[int, str] | None = None,
    first_frames: Mapping[int, str] | None = None,
    given_at_first: bool = True,
    remedy: str = "",
) -> VideoFiles:
    """Lists one video's files.

    Args:
      name: of the video.
      frames: its folder of frames.
      masks: its folder of label maps.
      listed: names of frames that have to be there, where the data set says so; a video then begins at its first label
        map.
      all_frames: whether frames that are not listed are taken too.
      categories: of its objects, by id.
      first_frames: names of the frames in which objects are given, by id.
      given_at_first: whether the first frame must have a label map.
      remedy: what to do about a video without frames; default: for those that a list names.

    Raises:
      InputError: a folder without frames, a listed frame that is not there, no label map, none for the first frame, or
        none where an object is given.
    """
    images = _list_frames(name, frames, listed, all_frames, remedy or f"unpack it again or take {name} off the list")
    with_mask = list_images(masks, (".png",))
    if listed:
        start = next((position for position, frame in enumerate(images) if frame in with_mask), 0)
        images = dict(list(images.items())[start:])
    frame_names = tuple(images)
    annotated = tuple(index for index, frame in enumerate(frame_names) if frame in with_mask)
    if not annotated:
        raise InputError(f"{masks}: holds no label map of this video's frames; they are named as the frames, with .png")
    if given_at_first and annotated[0] != 0:
        raise InputError(
            f"{masks / frame_names[0]}.png: the first frame has no label map; it says which objects to follow"
        )
    places: dict[int, int] = {}
    for number, frame in (first_frames or {}).items():
        if frame not in with_mask:
            raise InputError(f"{masks / frame}.png: object {number} appears here, but there is no label map; unpack it")
        places[number] = frame_names.index(frame)
    video = Video(name, frame_names, annotated, dict(categories or {}), places)
    return VideoFiles(video, frames, tuple(path.suffix for path in images.values()), masks)


def some_labelled(names: Sequence[str], frames: Path, masks: Path) -> TreeSource:
    """Videos to look at, in one folder each below `frames` and `masks`: any frame may lack its label map.

    Raises:
      InputError: a video has no frames.
    """
    videos = []
    for name in names:
        images = _list_frames(name, frames / name, frozenset(), True, "give the folder with one folder per sequence")
        labelled = list_images(masks / name, (".png",))
        video = Video(name, tuple(images), tuple(index for index, frame in enumerate(images) if frame in labelled))
        videos.append(VideoFiles(video, frames / name, tuple(path.suffix for path in images.values()), masks / name))
    return TreeSource(frames.name, videos)


def _list_frames(name: str, folder: Path, listed: Set[str], all_frames: bool, remedy: str) -> dict[str, Path]:
    """{frame name: path}, in order."""
    if not folder.is_dir():
        raise InputError(f"{folder}: listed, but there is no such folder; {remedy}")
    images = list_images(folder)
    if not images:
        raise InputError(f"{no_frames(folder)}; {remedy}")
    missing = sorted(listed - images.keys(), key=natural_key)
    if missing:
        count = f"{len(missing)} of {len(listed)} listed frames are missing"
        raise InputError(f"{folder / missing[0]}: listed, but there is no such frame ({count}); unpack {name} again")
    return images if all_frames else {frame: path for frame, path in images.items() if frame in listed}
