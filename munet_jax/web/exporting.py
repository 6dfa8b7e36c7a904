"""What is made of a session: the tree of `munet segment`, overlays, COCO JSON, a zip."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.data.masks import davis_palette
from munet_jax.data.video_files import require_av, write_video
from munet_jax.host_types import Image, LabelMap, UInt8
from munet_jax.inference.files.job import FASTEST, GIF_FRAMES, GIF_WIDTH, SLOWEST
from munet_jax.inference.files.output_folder import GIF, VIDEO
from munet_jax.inference.files.results import MASKS, OBJECTS, describe_labels, write_objects
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import told_of
from munet_jax.visualization.overlays import overlay_labels, save_gif, shrink_to_width
from munet_jax.web.events import Hub
from munet_jax.web.session import Session
from munet_jax.web.store import Version

FILES = {"objects": OBJECTS, "video": VIDEO, "gif": GIF, "coco": "coco.json", "zip": "export.zip"}
READER = 3  # a place in the video of its own
Step = Callable[[], None]


class Exporter:
    """Makes one export at a time, beside everything else."""

    def __init__(self, hub: Hub) -> None:
        """Nothing is made yet."""
        self.hub = hub
        self.status: dict[str, Any] = {"state": "none"}

    def start(self, session: Session, kinds: list[Any]) -> None:
        """Begin.

        Raises:
          InputError: unknown kinds, no mask yet, an export that runs, or a missing extra.
        """
        if not kinds or any(kind not in FILES for kind in kinds):
            raise InputError(f"cannot export that; choose of {', '.join(FILES)}")
        if self.status["state"] == "making":
            raise InputError("an export is being made already; wait for it")
        if not session.store.timeline():
            raise InputError("there is no mask to export yet; paint an object first")
        if "video" in kinds:
            require_av()
        self._tell(state="making", done=0, total=1)
        threading.Thread(target=self._make, args=(session, kinds), name="export", daemon=True).start()

    def _make(self, session: Session, kinds: list[str]) -> None:
        count = session.footage.count
        made, total = [0], sum(-(-count // _every(count)) if kind == "gif" else count for kind in kinds)

        def step() -> None:
            made[0] += 1
            if made[0] % 5 == 0:
                self._tell(state="making", done=made[0], total=total)

        try:
            export(session, [kind for kind in FILES if kind in kinds], step)
        except Exception as error:
            message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self._tell(state="failed", problem=message)
            return
        self._tell(state="made", files=[FILES[kind] for kind in FILES if kind in kinds], folder=str(session.out))

    def _tell(self, **status: Any) -> None:
        self.status = status
        self.hub.send("export", status)


def export(session: Session, kinds: list[str], step: Step = lambda: None) -> None:
    """Write files of these kinds into the results folder; masks/ is there already.

    Args:
      session: whose frames without a mask are background.
      kinds: keys of `FILES`; 'zip' holds the masks and what else was asked for, so it comes last.
      step: is called once a frame.

    Raises:
      InputError: the folder cannot be written to.
    """
    out = session.out
    session.write_files()
    with told_of(out):
        for kind in kinds:
            path = out / FILES[kind]
            if kind == "objects":
                write_objects(path, _rows(session, step), _described(session))
            elif kind == "video":
                write_video(path, _overlaid(session, 1, step), _rate(session))
            elif kind == "gif":
                every = _every(session.footage.count)
                small = (shrink_to_width(picture, GIF_WIDTH) for picture in _overlaid(session, every, step))
                save_gif(path, small, _rate(session) / every)
            elif kind == "coco":
                _write_coco(path, session, step)
            else:
                _write_zip(path, session, [FILES[name] for name in kinds if name != "zip"], step)


def _every(count: int) -> int:
    """Of how many frames a GIF shows one."""
    return -(-count // GIF_FRAMES)


def _rate(session: Session) -> float:
    return min(max(session.footage.rate, SLOWEST), FASTEST)


def _labels(session: Session, version: Version) -> LabelMap:
    return np.zeros(session.footage.size, np.uint8) if version.number is None else version.labels


def _described(session: Session) -> dict[str, Any]:
    objects = [{key: entry[key] for key in ("id", "name", "colour")} for entry in session.store.objects()]
    return {"direction": "web", "frame_rate": session.footage.rate, "marked": session.store.marks(), "objects": objects}


def _rows(session: Session, step: Step) -> Iterator[str]:
    for frame in range(session.footage.count):
        version = session.store.current(frame)
        confidence = {int(key): values[1] for key, values in version.stats.items()}
        row = describe_labels(session.footage.name(frame), frame, _labels(session, version), confidence)
        yield json.dumps(row, separators=(",", ":"))
        step()


def palette(session: Session) -> UInt8[np.ndarray, "256 3"]:
    """The objects' colours as the page shows them."""
    colours = davis_palette()
    for entry in session.store.objects():
        colours[entry["id"]] = list(bytes.fromhex(entry["colour"][1:]))
    return colours


def _overlaid(session: Session, every: int, step: Step) -> Iterator[Image]:
    colours = palette(session)
    for frame in range(0, session.footage.count, every):
        labels = _labels(session, session.store.current(frame))
        yield overlay_labels(session.footage.frame(frame, READER), labels, palette=colours)
        step()


def _write_coco(path: Path, session: Session, step: Step) -> None:
    """COCO's instances: an image a frame, a category an object, run lengths as masks."""
    height, width = session.footage.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(map(json.loads, _rows(session, step)), start=1):
        images.append({"id": number, "file_name": row["name"], "width": width, "height": height})
        for entry in row["objects"]:
            if entry["area"]:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": entry["id"],
                        "iscrowd": 0,
                        **{key: entry[key] for key in ("area", "bbox", "segmentation")},
                    }
                )
    categories = [{"id": entry["id"], "name": entry["name"]} for entry in session.store.objects()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":")))


def _write_zip(path: Path, session: Session, files: list[str], step: Step) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for frame in range(session.footage.count):
            version = session.store.current(frame)
            if version.number is not None:
                archive.writestr(f"{MASKS}/{session.footage.name(frame)}.png", version.png)
            step()
        for name in files:
            archive.write(
                session.out / name, name, zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            )
