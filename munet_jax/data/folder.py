"""Any folder of videos as a `ClipSource`: one folder of frames and one of label maps per video.

<root>/JPEGImages/<video>/<frame>.jpg or .png     (or images/)
<root>/Annotations/<video>/<frame>.png            (or masks/); the first frame's at least
"""

from __future__ import annotations

from pathlib import Path

from munet_jax.data.images import natural_key
from munet_jax.data.trees import TreeSource, list_video
from munet_jax.runtime.errors import InputError

_FOLDERS = (("JPEGImages", "Annotations"), ("images", "masks"))


class FolderSource(TreeSource):
    """The videos of a folder, in natural order of their names."""

    def __init__(self, root: Path | str, *, name: str | None = None) -> None:
        """Lists the videos. Raises InputError: a folder, the frames or the first label map of a video is missing."""
        root = Path(root).expanduser()
        frames, masks = _find_folders(root)
        folders = [path.name for path in frames.iterdir() if path.is_dir() and not path.name.startswith(".")]
        names = sorted(folders, key=natural_key)
        if not names:
            raise InputError(f"{frames}: holds no folders; a video is a folder of frames")
        super().__init__(
            name or root.resolve().name, [list_video(video, frames / video, masks / video) for video in names]
        )


def _find_folders(root: Path) -> tuple[Path, Path]:
    for frames, masks in _FOLDERS:
        if (root / frames).is_dir() and (root / masks).is_dir():
            return root / frames, root / masks
    raise InputError(
        f"{root}: has no JPEGImages and Annotations; give the folder that holds them, with one folder a video"
    )
