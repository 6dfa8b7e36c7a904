"""Files and folders that systems and programs leave among a user's own: one answer for everything that lists a folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

# In lower case; names that begin with a dot (.DS_Store, ._00000.jpg, .ipynb_checkpoints, .Trash-1000) go without saying.
_NAMES = frozenset(
    {
        "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
        "$recycle.bin", "recycler", "recycled", "system volume information", "desktop.ini", "thumbs.db", "ehthumbs.db",  # Windows
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot",  # Synology, QNAP, NetApp
        "lost+found", "__pycache__",
    }
)  # fmt: skip


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's."""
    return name.startswith(".") or name.lower() in _NAMES


def is_in_clutter(path: PurePath) -> bool:
    """Whether a relative path is clutter, or lies in a folder that is."""
    return any(is_clutter(part) for part in path.parts)


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, without clutter, in no order."""
    return [path.name for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name)]


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, without clutter and what lies in clutter, sorted; links to folders are followed once."""
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not is_clutter(name)]
        found += [] if real in seen else [Path(place) / name for name in files if not is_clutter(name)]
        seen.add(real)
    return sorted(found)
