"""YouTube-VOS 2018 as a `ClipSource`.

The tree, as the data set's own archives unpack:

    <root>/<split>/meta.json                       {"videos": {video: {"objects": {id: {"category", "frames"}}}}}
    <root>/<split>/JPEGImages/<video>/00000.jpg    every 5th frame, or every frame ('all frames' archives)
    <root>/<split>/Annotations/<video>/00000.png   train: every 5th frame; valid: where an object appears first

Objects may appear later than the first frame. valid has label maps for first appearances only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munet_jax.data.images import natural_key
from munet_jax.data.masks import IGNORE
from munet_jax.data.options import YouTubeVosConfig
from munet_jax.data.trees import TreeSource, VideoFiles, is_unsafe, list_video
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import choices_of

FRAMES = choices_of(YouTubeVosConfig, "frames")


class YouTubeVosSource(TreeSource):
    """The videos of one YouTube-VOS split, in the order of its meta.json."""

    def __init__(self, root: Path | str, split: str = "train", *, frames: str, name: str | None = None) -> None:
        """Lists the split's videos.

        Args:
          root: the folder that holds the split's folder.
          split: 'train', 'valid' or another folder with a meta.json.
          frames: 'annotated' takes the frames that meta.json lists (every 5th; those that are scored), 'all' every frame
            that is there from the first label map on. There is no default: results differ, and a table must say which.
          name: of the source; 'youtube_vos-<split>-<frames>' if not given, so that every report says which.

        Raises:
          InputError: a folder, meta.json, video, frame or first label map is missing; a meta.json of another form, with
            ids that are not 1 to 254, or with names that are not plain file names.
        """
        if frames not in FRAMES:
            raise InputError(f"YouTube-VOS frames are {' or '.join(map(repr, FRAMES))}, not {frames!r}")
        if is_unsafe(split):
            raise InputError(f"the split {split!r} is not a plain name; try train or valid")
        folder = Path(root).expanduser() / split
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; give the folder that holds train and valid")
        meta = read_meta(folder / "meta.json")
        videos = [_list(folder, video, objects, frames) for video, objects in meta.items()]
        super().__init__(name or f"youtube_vos-{split}-{frames}", videos)


def _list(folder: Path, video: str, objects: Mapping[int, Mapping[str, Any]], frames: str) -> VideoFiles:
    listed = {frame for entry in objects.values() for frame in entry["frames"]}
    return list_video(
        video,
        folder / "JPEGImages" / video,
        folder / "Annotations" / video,
        listed=listed,
        all_frames=frames == "all",
        categories={number: entry["category"] for number, entry in objects.items()},
        first_frames={number: min(entry["frames"], key=natural_key) for number, entry in objects.items()},
    )


def read_meta(path: Path) -> dict[str, dict[int, Mapping[str, Any]]]:
    """{video: {object id: {"category", "frames"}}} of a checked meta.json.

    Raises:
      InputError: the file is missing, not of this form, or has ids or names that cannot be.
    """
    content = read_json(path, "it is part of the archive, unpack it again")
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{path}: lists no videos; it should hold {{'videos': {{name: {{'objects': ...}}}}}}")
    return {video: _check_video(path, video, entry) for video, entry in videos.items()}


def _check_video(path: Path, video: str, entry: Any) -> dict[int, Mapping[str, Any]]:
    if is_unsafe(video):
        raise InputError(f"{path}: the video {video!r} is not a plain folder name; nothing outside the root is read")
    objects = entry.get("objects") if isinstance(entry, dict) else None
    if not isinstance(objects, dict) or not objects:
        raise InputError(f"{path}: video {video} has no 'objects'; correct it or take the video out")
    return {_check_id(path, video, number): _check_object(path, video, item) for number, item in objects.items()}


def _check_id(path: Path, video: str, number: str) -> int:
    if not number.isdecimal() or len(number) > 3 or not 0 < int(number) < IGNORE:
        raise InputError(f"{path}: video {video} has an object {number!r}; ids are 1 to 254")
    return int(number)


def _check_object(path: Path, video: str, item: Any) -> Mapping[str, Any]:
    frames = item.get("frames") if isinstance(item, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
        raise InputError(f"{path}: an object of video {video} has no list of frame names under 'frames'; correct it")
    unsafe = next(filter(is_unsafe, frames), None)
    if unsafe is not None:
        raise InputError(f"{path}: video {video} names a frame {unsafe!r}; frames are plain file names")
    return {"category": str(item.get("category", "")), "frames": frames}
