"""DAVIS 2016 and 2017 as a `ClipSource`.

The tree, as the data set's own archives unpack:

    <root>/JPEGImages/<resolution>/<video>/00000.jpg ...
    <root>/Annotations/<resolution>/<video>/00000.png ...
    <root>/ImageSets/<year>/<split>.txt            one video name per line, or
    <root>/ImageSets/<resolution>/<split>.txt      DAVIS-2016's own: "/JPEGImages/... /Annotations/..." per frame
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from munet_jax.data.options import DavisConfig
from munet_jax.data.trees import TreeSource, is_unsafe, list_video
from munet_jax.runtime.clutter import is_clutter, list_files, list_folders
from munet_jax.runtime.content import read_lines
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import choices_of

YEARS = choices_of(DavisConfig, "year")


class DavisSource(TreeSource):
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
        root = Path(root).expanduser()
        frames, masks = _resolution_folders(root, resolution)
        names = video_names(_list_file(root, split, year, resolution))
        videos = [list_video(video, frames / video, masks / video) for video in names]
        super().__init__(name or f"davis{year}-{split}", videos, merge_objects=year == "2016")


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
        existing = sorted(list_folders(root / "JPEGImages"))
        raise InputError(f"{frames}: there is no such resolution; found: {', '.join(existing) or 'none'}")
    return frames, root / "Annotations" / resolution


def _list_file(root: Path, split: str, year: str, resolution: str) -> Path:
    if is_unsafe(split):
        raise InputError(f"the split {split!r} is not a plain name; try train or val")
    folders = _list_folders(root, year, resolution)
    for folder in folders:
        if (folder / f"{split}.txt").is_file():
            return folder / f"{split}.txt"
    lists = [path for path in list_files(root / "ImageSets") if path.suffix == ".txt"]
    existing = sorted(f"{path.parent.name}/{path.stem}" for path in lists)
    missing = folders[0] / f"{split}.txt"
    raise InputError(f"{missing}: there is no such list; lists found (year/split): {', '.join(existing) or 'none'}")


def _list_folders(root: Path, year: str, resolution: str) -> list[Path]:
    folders = [root / "ImageSets" / year]
    if year == "2016":
        folders.append(root / "ImageSets" / resolution)  # where DAVIS-2016's own archive has its lists
    return folders


def list_splits(root: Path, year: str, resolution: str = "480p") -> list[str]:
    """The splits of a DAVIS tree that have a list."""
    folders = _list_folders(root, year, resolution)
    return sorted({path.stem for folder in folders for path in folder.glob("*.txt") if not is_clutter(path.name)})


def video_names(list_file: Path) -> list[str]:
    """The videos of a list in either layout, each once, in the order of the list.

    Raises:
      InputError: the file cannot be read, lists nothing, or has a line that names no plain folder.
    """
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, read_lines(list_file))):
        name = line
        if line.lstrip("/").startswith("JPEGImages/"):
            path = PurePosixPath(line.split()[0])
            name = ".." if ".." in path.parts else path.parent.name
        if is_unsafe(name):
            raise InputError(f"{list_file}: the line {line!r} does not name a video folder; write one name per line")
        names[name] = None
    if not names:
        raise InputError(f"{list_file}: lists no video; write one name per line")
    return list(names)
