"""A video with its objects and masks: what is painted, imported, undone; the files in the results folder follow."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.data.masks import IGNORE, read_mask
from munet_jax.data.sizes import explain_size
from munet_jax.host_types import LabelMap
from munet_jax.inference.files.results import MASKS
from munet_jax.inference.prediction import Prediction
from munet_jax.runtime.atomic_files import atomic_path, exclusive, remove_temporaries, writing_to
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import told_of
from munet_jax.web.events import Hub
from munet_jax.web.footage import Footage
from munet_jax.web.frame_stats import Stats, areas, given_stats
from munet_jax.web.store import Store, Version

FILE, UNPACKED = ".web.sqlite", ".unpacked"
MOST_OBJECTS = 254
# Told apart on video by hue and brightness; objects take them in turn.
COLOURS = (
    "#ff5a5f", "#2fbf71", "#3d8bfd", "#ffb020", "#b06ef3", "#19c3c9", "#ff7ac6", "#a3c615",
    "#ff8a3d", "#6c7bff", "#00a87e", "#d9566b", "#8fd3ff", "#c9a227", "#7c4dff", "#5fd068",
)  # fmt: skip
_NAME = 60  # letters


class Session:
    """One video's work, in its results folder, which no other process uses meanwhile."""

    def __init__(self, source: str, out: Path, hub: Hub) -> None:
        """Open a video, and what was done with it before.

        Raises:
          InputError: the video cannot be opened, or the folder cannot be used or is of another video.
        """
        self.out, self.hub = out, hub
        with contextlib.ExitStack() as stack:
            stack.enter_context(writing_to(out))
            stack.enter_context(exclusive(out))
            remove_temporaries(out)
            known = (out / FILE).exists()
            if not known and (out / MASKS).exists():
                raise InputError(f"{out}: has {MASKS}, which is not of munet web; name another folder with --out")
            self.footage = Footage(source, out / UNPACKED)
            stack.callback(self.footage.close)
            self.store = Store(out / FILE)
            stack.callback(self.store.close)
            found = self.footage.fingerprint()
            if (self.store.get("footage") or found) != found:
                raise InputError(
                    f"{out}: is of another video ({self.store.get('source')}); name another folder with --out"
                )
            self.store.put("footage", found)
            self.store.put("source", str(Path(source).absolute()))
            if self.store.get("key") is None:
                self.store.put("key", secrets.token_hex(8))
            self._opened = stack.pop_all()
        self.key: str = self.store.get("key")
        self._writing = threading.Lock()  # of files
        self.write_files()

    def close(self) -> None:
        """Write what is not written yet, and let go of everything."""
        with contextlib.suppress(InputError):
            self.write_files()
        self._opened.close()

    # What the page shows.

    def describe(self) -> dict[str, Any]:
        """All that the page needs to begin."""
        height, width = self.footage.size
        return {
            "key": self.key,
            "name": Path(self.footage.source).name or self.footage.source,
            "out": str(self.out),
            "frames": self.footage.count,
            "width": width,
            "height": height,
            "rate": self.footage.rate,
            "objects": self.store.objects(),
            "timeline": [self._row(*entry) for entry in self.store.timeline()],
            "history": self.store.history(),
        }

    @staticmethod
    def _row(frame: int, version: int | None, marked: Sequence[int] | None, stats: Stats) -> dict[str, Any]:
        return {"frame": frame, "version": version, "marked": marked is not None, "stats": stats}

    def tell(self, frames: Iterable[int], by: str = "") -> None:
        """Tell all pages of frames that changed; `by` is the page that did it."""
        rows = []
        for frame in frames:
            version = self.store.current(frame)
            rows.append(self._row(frame, version.number, version.marked, version.stats))
        self.hub.send("frames", {"rows": rows, "by": by})

    def tell_all(self) -> None:
        """Tell all pages of the objects, and of what can be undone."""
        self.hub.send("session", {"objects": self.store.objects(), "history": self.store.history()})

    # What a person does.

    def paint(self, frame: int, runs: np.ndarray, label: str, by: str = "") -> tuple[Version, Version]:
        """Change pixels of a frame and mark it; a mask that came from elsewhere meanwhile is kept around them.

        Args:
          frame: its number.
          runs: int [n, 3]: first pixel (row by row), number of pixels, id that they get.
          label: what undo calls it.
          by: the page that does it.

        Returns:
          The frame's mask before and after.

        Raises:
          InputError: no such frame, runs that lie outside or have unknown ids, or it cannot be saved.
        """
        known = {entry["id"] for entry in self.store.objects()}
        self._check_runs(frame, runs, known)
        with self.store.transaction():
            before = self.store.current(frame)
            labels = self._empty() if before.number is None else before.labels
            flat, locked = labels.reshape(-1), self._locked()
            touched = set(runs[:, 2].tolist())
            for start, length, identity in runs.tolist():
                part = flat[start : start + length]
                touched |= set(np.unique(part).tolist())
                part[...] = np.where(np.isin(part, locked), part, identity)
            version = self._mark(frame, labels, before, touched & known, label)
        self._after([frame], by)
        return before, version

    def _check_runs(self, frame: int, runs: np.ndarray, known: set[int]) -> None:
        if not 0 <= frame < self.footage.count:
            raise InputError(f"there is no frame {frame}; the video has {self.footage.count}, counted from 0")
        pixels = self.footage.size[0] * self.footage.size[1]
        starts, lengths = runs[:, 0], runs[:, 1]
        if (starts < 0).any() or (lengths < 1).any() or (starts + lengths > pixels).any():
            raise InputError(f"pixels outside the frame, which has {pixels}; load the page again")
        unknown = set(runs[:, 2].tolist()) - known - {0}
        if unknown:
            raise InputError(f"there is no object {min(unknown)} any more; choose another one")

    def import_labels(self, frame: int, content: bytes, called: str) -> Version:
        """Take a label map that a person has as a file; unknown ids become objects.

        Raises:
          InputError: it is no label map, shows no object, or has another size than the frame.
        """
        labels = read_mask(called, content=content)
        if labels.shape != self.footage.size:
            others = self.footage.other_sizes()
            raise InputError(f"{called}: the mask is {explain_size(labels.shape, self.footage.size, others)}")
        labels[labels == IGNORE] = 0
        found = areas(labels)
        if not found:
            raise InputError(f"{called}: shows no object: every pixel is background; give its pixels an id from 1 on")
        with self.store.transaction():
            step = self.store.begin(f"Import {called}")
            objects = self.store.objects()
            new = sorted(set(found) - {entry["id"] for entry in objects})
            if new:
                self.store.set_objects(step, [*objects, *(self._new_object(i) for i in new)])
            version = self.store.write(step, frame, labels, list(found), given_stats(found))
            self.store.end(step)
        self._after([frame])
        return version

    def unmark(self, frame: int) -> None:
        """Keep a frame's mask, but not as one that a person gave."""
        before = self.store.current(frame)
        if before.marked is None:
            raise InputError(f"frame {frame} is not marked")
        with self.store.transaction():
            step = self.store.begin("Unmark")
            self.store.write(step, frame, before.labels, None, before.stats)
            self.store.end(step)
        self._after([frame])

    def add_object(self) -> int:
        """A new object; its id."""
        objects = self.store.objects()
        identity = max((entry["id"] for entry in objects), default=0) + 1
        if identity > MOST_OBJECTS:
            raise InputError(f"a label map holds {MOST_OBJECTS} objects; begin another session for more")
        with self.store.transaction():
            step = self.store.begin("Add object")
            self.store.set_objects(step, [*objects, self._new_object(identity)])
            self.store.end(step)
        self.tell_all()
        return identity

    def change_object(self, identity: int, changes: Mapping[str, Any]) -> None:
        """Give an object another name or colour, show, hide, lock or release it."""
        objects = self.store.objects()
        entry = next((entry for entry in objects if entry["id"] == identity), None)
        if entry is None:
            raise InputError(f"there is no object {identity}")
        checks = {
            "name": lambda x: isinstance(x, str) and 0 < len(x.strip()) <= _NAME,
            "colour": lambda x: isinstance(x, str) and bool(re.fullmatch(r"#[0-9a-f]{6}", x)),
            "visible": lambda x: isinstance(x, bool),
            "locked": lambda x: isinstance(x, bool),
        }
        wrong = [key for key, value in changes.items() if key not in checks or not checks[key](value)]
        if wrong or not changes:
            raise InputError(f"{', '.join(wrong) or 'nothing'} cannot be set to that; a name has 1 to {_NAME} letters")
        entry.update(changes)
        undoable = {"name", "colour"} & set(changes)
        with self.store.transaction():
            step = self.store.begin(f"Change {' and '.join(sorted(undoable))}") if undoable else None
            self.store.set_objects(step, objects)
            if step is not None:
                self.store.end(step)
        self.tell_all()

    def remove_object(self, identity: int) -> None:
        """Take an object out of the list and out of every mask."""
        objects = self.store.objects()
        if identity not in [entry["id"] for entry in objects]:
            raise InputError(f"there is no object {identity}")
        frames = []
        with self.store.transaction():
            step = self.store.begin("Remove object")
            self.store.set_objects(step, [entry for entry in objects if entry["id"] != identity])
            for frame, _, marked, stats in self.store.timeline():
                if str(identity) in stats or identity in (marked or ()):
                    labels = self.store.current(frame).labels
                    labels[labels == identity] = 0
                    stats.pop(str(identity), None)
                    ids = None if marked is None else [i for i in marked if i != identity]
                    self.store.write(step, frame, labels, ids or None, stats)
                    frames.append(frame)
            self.store.end(step)
        self._after(frames)

    def undo(self, *, again: bool = False) -> str | None:
        """Take the last step back, or make it anew; what it was, or None where there is none."""
        done = self.store.redo() if again else self.store.undo()
        if done is None:
            return None
        self._after(done[1])
        return done[0]

    # What the network does.

    def follow(
        self, step: int, prediction: Prediction, given: Sequence[int] | None, seen: int | None, stats: Stats
    ) -> None:
        """Keep the network's mask of a frame; locked objects stay as they are, and so does what was painted meanwhile.

        Args:
          step: of the store.
          prediction: its labels are of the session's ids.
          given: the objects that a person marked in this frame; None where it is not marked.
          seen: the version of the frame that the network was given.
          stats: of the prediction.
        """
        frame, labels = prediction.frame_index, prediction.labels.astype(np.uint8)
        with self.store.transaction():
            before = self.store.current(frame)
            if before.marked is not None and before.number != seen:
                return
            locked = self._locked()
            if before.number is not None and len(locked):
                old = before.labels
                labels[np.isin(labels, locked)] = 0
                labels = np.where(np.isin(old, locked), old, labels)
                stats |= {str(i): before.stats[str(i)] for i in locked.tolist() if str(i) in before.stats}
            counts = areas(labels)
            for key, values in stats.items():
                values[0] = counts.get(int(key), 0)
            self.store.write(step, frame, labels, given, stats)
        self._after([frame], quiet=True)

    # Files.

    def write_files(self) -> None:
        """Bring masks/FRAME.png up to date with what is stored."""
        folder = self.out / MASKS
        with self._writing, told_of(self.out):
            while rows := self.store.unwritten(64):
                folder.mkdir(exist_ok=True)
                for frame, version, png in rows:
                    path = folder / f"{self.footage.name(frame)}.png"
                    if png is None:
                        path.unlink(missing_ok=True)
                    else:
                        with atomic_path(path) as temporary:
                            temporary.write_bytes(png)
                    self.store.set_written(frame, version)

    def _after(self, frames: Sequence[int], by: str = "", *, quiet: bool = False) -> None:
        """Files and pages follow what was stored."""
        self.tell(frames, by)
        if not quiet:
            self.tell_all()
        try:
            self.write_files()
        except InputError as error:  # it is stored, and the file is written with the next one
            self.hub.send("problem", {"message": str(error)})

    def _mark(self, frame: int, labels: LabelMap, before: Version, touched: set[int], label: str) -> Version:
        counts = areas(labels)
        marked = sorted({*counts, *touched, *(before.marked or ())})
        if not marked:
            return before
        step = self.store.begin(label)
        version = self.store.write(step, frame, labels, marked, given_stats({i: counts.get(i, 0) for i in marked}))
        self.store.end(step)
        return version

    def _empty(self) -> LabelMap:
        return np.zeros(self.footage.size, np.uint8)

    def _locked(self) -> np.ndarray:
        return np.array([entry["id"] for entry in self.store.objects() if entry["locked"]], np.uint8)

    @staticmethod
    def _new_object(identity: int) -> dict[str, Any]:
        colour = COLOURS[(identity - 1) % len(COLOURS)]
        return {"id": identity, "name": f"Object {identity}", "colour": colour, "visible": True, "locked": False}
