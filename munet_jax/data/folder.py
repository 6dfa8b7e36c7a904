"""Any folder of videos as a `ClipSource`: one folder of frames and one of label maps per video.

<root>/JPEGImages/<video>/<frame>.jpg or .png     (or images/)
<root>/Annotations/<video>/<frame>.png            (or masks/); one at least, and objects may appear in any
"""

from __future__ import annotations

from pathlib import Path

from munet_jax.data.images import natural_key
from munet_jax.data.trees import TreeSource, list_video
from munet_jax.runtime.clutter import list_folders
from munet_jax.runtime.errors import InputError

_FOLDERS = (("JPEGImages", "Annotations"), ("images", "masks"))


class FolderSource(TreeSource):
    """The videos of a folder, in natural order of their names."""

    objects_appear_later = True  # frames before the first object are background

    def __init__(self, root: Path | str, *, name: str | None = None) -> None:
        """Lists the videos. Raises InputError: a folder is missing, or a video has no frames or no label map."""
        root = Path(root).expanduser()
        frames, masks = _find_folders(root)
        names = sorted(list_folders(frames), key=natural_key)
        if not names:
            raise InputError(f"{frames}: holds no folders; a video is a folder of frames")
        remedy = "put its files there, or take the folder away"
        super().__init__(
            name or root.resolve().name,
            [list_video(video, frames / video, masks / video, given_at_first=False, remedy=remedy) for video in names],
        )


def _find_folders(root: Path) -> tuple[Path, Path]:
    for frames, masks in _FOLDERS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            return root / frames, root / masks
    raise InputError(
        f"{root}: has no JPEGImages and Annotations; give the folder that holds them, with one folder a video"
    )
