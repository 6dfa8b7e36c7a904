"""What a session holds: every frame's mask with what it replaced, and the objects; in one file that survives a kill.

SQLite keeps it: each change is one transaction. A frame's masks are versions that never change; what is current is a number.
A step is what undo takes back: the frames that it changed, each with the version before and after.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from munet_jax.data.masks import mask_image, read_mask
from munet_jax.host_types import LabelMap
from munet_jax.runtime.errors import InputError
from munet_jax.web.footage import encode
from munet_jax.web.frame_stats import Stats

FORM = 1  # of the file
MOST_STEPS = 200  # that can be taken back
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE versions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, frame INTEGER NOT NULL, labels BLOB NOT NULL, marked TEXT, stats TEXT NOT NULL
);
CREATE TABLE current (frame INTEGER PRIMARY KEY, version INTEGER, written INTEGER);
CREATE TABLE steps (
  id INTEGER PRIMARY KEY AUTOINCREMENT, place INTEGER NOT NULL, label TEXT NOT NULL, state TEXT NOT NULL,
  objects_before TEXT, objects_after TEXT
);
CREATE TABLE changes (
  step INTEGER NOT NULL, frame INTEGER NOT NULL, before INTEGER, after INTEGER, PRIMARY KEY (step, frame)
) WITHOUT ROWID;
CREATE INDEX changes_by_frame ON changes (frame);
"""
OPEN, DONE, UNDONE = "open", "done", "undone"


class NotStoredError(InputError):
    """What was asked for is right, and cannot be stored now."""


class Version(NamedTuple):
    """A frame's mask.

    Attributes:
      number: of the version; None where the frame has no mask.
      png: the label map as a palette PNG.
      marked: the objects that a person says are as shown here; None where the network made it all.
      stats: see `Stats`.
    """

    number: int | None
    png: bytes
    marked: tuple[int, ...] | None
    stats: Stats

    @property
    def labels(self) -> LabelMap:
        """The label map, which may be changed."""
        return read_mask(f"version {self.number}", content=self.png)


NOTHING = Version(None, b"", None, {})


class Store:
    """The file of a session; every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
          InputError: it cannot be written, or is of another program or version.
        """
        self.path = path
        self._lock = threading.RLock()
        with self._told():
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            with contextlib.ExitStack() as failing:
                failing.callback(self._base.close)
                self._prepare()
                failing.pop_all()

    def _prepare(self) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        form = self._base.execute("PRAGMA user_version").fetchone()[0]
        if form not in (0, FORM):
            raise InputError(f"{self.path}: is of another version of munet_jax; name another folder with --out")
        if form == 0:
            self._base.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORM}; COMMIT;")
        # What a killed server was at: what it did is done.
        self._base.execute("UPDATE steps SET state = ? WHERE state = ?", (DONE, OPEN))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._base.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite refuses, in a line."""
        try:
            yield
        except sqlite3.Error as error:
            full = "full" in str(error)
            remedy = "free some space; nothing painted before is lost" if full else "name another folder with --out"
            raise NotStoredError(f"{self.path.parent}: cannot be written to ({error}); {remedy}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing; transactions may be nested."""
        with self._lock, self._told():
            if self._base.in_transaction:
                yield self._base
                return
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:  # SQLite has taken it back itself where the disk is full
                    self._base.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._told():
            return self._base.execute(query, values).fetchall()

    def get(self, key: str) -> Any:
        """A value that `put` has stored, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put(self, key: str, value: Any) -> None:
        """Store a value that JSON can hold."""
        with self.transaction() as base:
            base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def current(self, frame: int) -> Version:
        """A frame's mask."""
        return self._version("c.frame = ?", frame, "JOIN current c ON c.version = v.id")

    def version(self, number: int) -> Version:
        """A mask by its version's number, `NOTHING` where there is none."""
        return self._version("v.id = ?", number)

    def _version(self, condition: str, value: int, join: str = "") -> Version:
        query = f"SELECT v.id, v.labels, v.marked, v.stats FROM versions v {join} WHERE {condition}"
        for number, png, marked, stats in self._rows(query, value):
            return Version(number, png, None if marked is None else tuple(json.loads(marked)), json.loads(stats))
        return NOTHING

    def timeline(self) -> list[tuple[int, int, tuple[int, ...] | None, Stats]]:
        """Of every frame that has a mask: its number, version, marked objects and figures."""
        query = "SELECT v.frame, v.id, v.marked, v.stats FROM current c JOIN versions v ON c.version = v.id ORDER BY v.frame"
        return [
            (frame, number, None if marked is None else tuple(json.loads(marked)), json.loads(stats))
            for frame, number, marked, stats in self._rows(query)
        ]

    def marks(self) -> list[int]:
        """The frames that a person has marked, ascending."""
        query = "SELECT v.frame FROM current c JOIN versions v ON c.version = v.id WHERE v.marked IS NOT NULL ORDER BY v.frame"
        return [frame for (frame,) in self._rows(query)]

    def before(self, frame: int) -> int | None:
        """The version that the last change of a frame replaced."""
        query = (
            "SELECT before FROM changes x JOIN current c ON c.frame = x.frame AND c.version = x.after WHERE x.frame = ?"
        )
        rows = self._rows(query + " ORDER BY x.step DESC LIMIT 1", frame)
        return rows[0][0] if rows else None

    def begin(self, label: str) -> int:
        """Start a step; what was undone cannot be redone any more."""
        with self.transaction() as base:
            self._forget("state = ?", UNDONE)
            self._forget("state = ? AND place <= (SELECT MAX(place) FROM steps) - ?", DONE, MOST_STEPS)
            return int(
                base.execute(
                    "INSERT INTO steps (place, label, state) SELECT COALESCE(MAX(place), 0) + 1, ?, ? FROM steps",
                    (label, OPEN),
                ).lastrowid  # type: ignore[arg-type]
            )

    def end(self, step: int) -> None:
        """Finish a step, which undo then takes back before those that began after it; one that changed nothing is forgotten."""
        with self.transaction() as base:
            base.execute(
                "UPDATE steps SET state = ?, place = (SELECT MAX(place) + 1 FROM steps) WHERE id = ?", (DONE, step)
            )
            self._forget(
                "id = ? AND objects_after IS NULL AND NOT EXISTS (SELECT 1 FROM changes WHERE step = id)", step
            )

    def _forget(self, condition: str, *values: Any) -> None:
        """Remove steps, and the versions that only they know."""
        with self.transaction() as base:
            for (step,) in base.execute(f"SELECT id FROM steps WHERE {condition}", values).fetchall():
                known = base.execute("SELECT before, after FROM changes WHERE step = ?", (step,)).fetchall()
                base.execute("DELETE FROM changes WHERE step = ?", (step,))
                base.execute("DELETE FROM steps WHERE id = ?", (step,))
                self._drop([number for pair in known for number in pair if number is not None])

    def _drop(self, versions: Sequence[int]) -> None:
        """Remove those of these versions that nothing needs."""
        with self.transaction() as base:
            base.executemany(
                "DELETE FROM versions WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM current c WHERE c.version = ?1) AND NOT EXISTS "
                "(SELECT 1 FROM changes x WHERE x.frame = versions.frame AND (x.before = ?1 OR x.after = ?1))",
                [(number,) for number in versions],
            )

    def write(
        self, step: int, frame: int, labels: LabelMap, marked: Sequence[int] | None, stats: Mapping[str, Any]
    ) -> Version:
        """Give a frame another mask, as part of a step."""
        png = encode(mask_image(labels), "PNG")
        ids = None if marked is None else json.dumps(sorted(map(int, marked)))
        with self.transaction() as base:
            number = base.execute(
                "INSERT INTO versions (frame, labels, marked, stats) VALUES (?, ?, ?, ?)",
                (frame, png, ids, json.dumps(stats)),
            ).lastrowid
            base.execute(
                "INSERT INTO changes SELECT ?1, ?2, (SELECT version FROM current WHERE frame = ?2), ?3 WHERE true "
                "ON CONFLICT (step, frame) DO UPDATE SET after = excluded.after",
                (step, frame, number),
            )
            replaced = [
                v for (v,) in base.execute("SELECT version FROM current WHERE frame = ? AND version > 0", (frame,))
            ]
            self._point(frame, number)
            self._drop(replaced)
        return Version(number, png, None if marked is None else tuple(marked), dict(stats))

    def _point(self, frame: int, version: int | None) -> None:
        self._base.execute(
            "INSERT INTO current (frame, version) VALUES (?1, ?2) ON CONFLICT (frame) DO UPDATE SET version = ?2",
            (frame, version),
        )

    def objects(self) -> list[dict[str, Any]]:
        """The session's objects."""
        return self.get("objects") or []

    def set_objects(self, step: int | None, objects: Sequence[Mapping[str, Any]]) -> None:
        """Replace the list of objects; as part of a step it can be undone."""
        with self.transaction() as base:
            if step is not None:
                before, after = json.dumps(self.objects()), json.dumps(list(objects))
                base.execute(
                    "UPDATE steps SET objects_before = COALESCE(objects_before, ?), objects_after = ? WHERE id = ?",
                    (before, after, step),
                )
            self.put("objects", list(objects))

    def undo(self) -> tuple[str, list[int]] | None:
        """Take the last finished step back; its label and the frames that changed, or None where there is none."""
        return self._swap(DONE, UNDONE, "place DESC")

    def redo(self) -> tuple[str, list[int]] | None:
        """Make the step anew that was taken back last; as `undo`."""
        return self._swap(UNDONE, DONE, "place ASC")

    def _swap(self, state: str, then: str, order: str) -> tuple[str, list[int]] | None:
        with self.transaction() as base:
            found = base.execute(
                f"SELECT id, label, objects_before, objects_after FROM steps WHERE state = ? ORDER BY {order} LIMIT 1",
                (state,),
            ).fetchone()
            if found is None:
                return None
            step, label, *objects = found
            now, other = ("after", "before") if then == UNDONE else ("before", "after")
            # Where something else changed the frame since, that stays.
            frames = base.execute(
                f"SELECT x.frame, x.{other} FROM changes x JOIN current c ON c.frame = x.frame AND c.version IS x.{now} "
                "WHERE x.step = ?", (step,),
            ).fetchall()  # fmt: skip
            for frame, version in frames:
                self._point(frame, version)
            if objects[1] is not None:
                self.put("objects", json.loads(objects[0] if then == UNDONE else objects[1]))
            base.execute("UPDATE steps SET state = ? WHERE id = ?", (then, step))
            return label, [frame for frame, _ in frames]

    def history(self) -> dict[str, str | None]:
        """What undo and redo would do."""
        found: dict[str, str | None] = {}
        for name, state, order in (("undo", DONE, "DESC"), ("redo", UNDONE, "ASC")):
            rows = self._rows(f"SELECT label FROM steps WHERE state = ? ORDER BY place {order} LIMIT 1", state)
            found[name] = rows[0][0] if rows else None
        return found

    def unwritten(self, most: int) -> list[tuple[int, int | None, bytes | None]]:
        """Frames whose file is not of their current version: number, version and PNG, None where they have no mask."""
        return self._rows(
            "SELECT c.frame, c.version, v.labels FROM current c LEFT JOIN versions v ON v.id = c.version "
            "WHERE c.version IS NOT c.written LIMIT ?", most,
        )  # fmt: skip

    def set_written(self, frame: int, version: int | None) -> None:
        """Note of which version a frame's file is."""
        with self.transaction() as base:
            base.execute("UPDATE current SET written = ? WHERE frame = ?", (version, frame))
