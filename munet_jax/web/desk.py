"""What lies on the server's desk: one session at a time, opened from the command line, a folder, or an upload."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from munet_jax.data.images import FRAME_SUFFIXES, list_images
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.clutter import is_clutter
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import told_of
from munet_jax.web.events import Hub
from munet_jax.web.session import Session
from munet_jax.web.worker import Worker

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".gif")
UPLOADS = "uploads"
MOST_LISTED = 1000


class Desk:
    """The session that is open, if one is."""

    def __init__(
        self, create: Callable[[], VideoSegmenter], out: Path, *, root: Path | None = None, most_bytes: int = 2 * 2**30
    ) -> None:
        """An empty desk.

        Args:
          create: makes the segmenter.
          out: gets a folder for each video that is opened by the page.
          root: the folder from which the page may open videos.
          most_bytes: of an upload.
        """
        self.hub = Hub()
        self.out, self.root, self.most_bytes = out, root, most_bytes
        self.session: Session | None = None
        self.worker: Worker | None = None
        self.fixed = False  # whether the command line gave the video
        self._create, self._lock = create, threading.Lock()

    def open(self, source: str, out: Path) -> None:
        """Open a video in place of the one that is open. Raises InputError where it cannot be; that one then stays."""
        with self._lock:
            if self.session is not None and self.session.out.absolute() == out.absolute():
                return
            session = Session(source, out, self.hub)
            self._close()
            self.session, self.worker = session, Worker(self._create, session)
            self.worker.start()
        self.hub.send("opened", {})

    def open_from_root(self, path: str) -> None:
        """Open a video file or a folder of frames below the root."""
        found = inside(self._require_root(), path)
        if is_shut_away(found):
            raise InputError(f"{path}: there is no such video or folder; load the list again")
        if found.is_dir() and not all(_stays(self._require_root(), frame) for frame in list_images(found).values()):
            raise InputError(
                f"{path}: has frames that are links out of the folder that --root names; copy them into it"
            )
        self.open(str(found), self.out / plain_name(found.name))

    def close(self) -> None:
        """Close the session; what was done is stored."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self.worker is not None and self.session is not None:
            self.worker.end()
            self.session.close()
        self.worker = self.session = None

    def listing(self, path: str) -> dict[str, Any]:
        """What lies in a folder below the root: folders, videos, and whether it holds frames itself."""
        root = self._require_root()
        folder = inside(root, path)
        try:
            entries = sorted(folder.iterdir(), key=lambda entry: entry.name.lower())
        except OSError as error:
            raise InputError(f"{path}: cannot be listed ({error.strerror}); choose another folder") from error
        shown = [
            entry for entry in entries if not is_clutter(entry.name) and not is_shut_away(entry) and _stays(root, entry)
        ]
        videos = [entry for entry in shown if entry.suffix.lower() in VIDEO_SUFFIXES and entry.is_file()]
        return {
            "path": path,
            "folders": [entry.name for entry in shown if entry.is_dir()][:MOST_LISTED],
            "videos": [entry.name for entry in videos][:MOST_LISTED],
            "frames": sum(entry.suffix.lower() in FRAME_SUFFIXES for entry in shown),
        }

    async def upload(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Keep an uploaded video below the output folder, and open it.

        Raises:
          InputError: a name that is none of a video, too many bytes, a file that cannot be opened (it is removed again).
        """
        plain = plain_name(Path(name).name)
        if Path(plain).suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(f"{name}: is no video file; give one of {', '.join(VIDEO_SUFFIXES)}")
        path, taken = self.out / UPLOADS / plain, 0
        with told_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                async for part in content:
                    taken += len(part)
                    if taken > self.most_bytes:
                        raise InputError(
                            f"{name}: is larger than {self.most_bytes / 2**20:.0f} MiB; start munet web with the video's path, "
                            "or raise --max-upload"
                        )
                    file.write(part)

    def open_upload(self, name: str) -> None:
        """Open what was uploaded."""
        path = self.out / UPLOADS / plain_name(Path(name).name)
        try:
            self.open(str(path), self.out / plain_name(path.stem))
        except InputError:
            if self.session is None or self.session.footage.source != str(path):
                path.unlink(missing_ok=True)
            raise

    def _require_root(self) -> Path:
        if self.root is None:
            raise InputError("no folder was given to open videos from; start munet web with --root DIR")
        return self.root


def inside(root: Path, path: str) -> Path:
    """A path below the root, links followed.

    Raises:
      InputError: it leads out of the root, or is none.
    """
    refused = InputError(f"{path!r}: is not below the folder that --root names")
    if "\0" in path or "\\" in path or path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        raise refused
    if any(part.startswith(".") for part in path.split("/")):
        raise refused
    found = Path(os.path.realpath(root / path))
    if not found.is_relative_to(os.path.realpath(root)):
        raise refused
    if not found.exists():
        raise InputError(f"{path}: there is no such video or folder; load the list again")
    return found


def _stays(root: Path, entry: Path) -> bool:
    """Whether an entry, links followed, lies below the root."""
    return Path(os.path.realpath(entry)).is_relative_to(os.path.realpath(root))


def is_shut_away(path: Path) -> bool:
    """Whether a path is a file that is no video."""
    return path.is_file() and path.suffix.lower() not in VIDEO_SUFFIXES + FRAME_SUFFIXES


def plain_name(name: str) -> str:
    """A file's name without what has a meaning in paths."""
    plain = re.sub(r"[^\w.() -]", "_", name).strip(". ")[-120:]
    return plain or "video"
