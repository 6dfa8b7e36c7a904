"""What `munet segment` leaves: masks as they come, and at the end the objects' list and the overlays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from munet_jax.array_types import BinaryMask
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.inference.prediction import Prediction
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.system_errors import told_of

MASKS, PROBABILITIES, OBJECTS = "masks", "probabilities", "objects.json"
ROWS = ".frames"  # one JSON file a frame, so that a run which is cut off loses none


class Results:
    """The files of one segmented video.

    masks/FRAME.png are palette PNGs; probabilities/ID/FRAME.png are grey, 255 is certain; objects.json has for each frame and
    object its area, box, confidence and mask.
    """

    def __init__(self, folder: Path, *, probabilities: bool, no_space: str = "") -> None:
        """Nothing is written yet; `no_space` is what to do about a full disk."""
        self.folder, self.probabilities, self.no_space = folder, probabilities, no_space
        self.rows = folder / ROWS

    def add(self, name: str, prediction: Prediction) -> None:
        """Write one frame's; the prediction has its probabilities."""
        assert prediction.probabilities is not None
        with told_of(self.folder, no_space=self.no_space):
            if self.probabilities:
                for channel, identity in enumerate(prediction.object_ids, start=1):
                    grey = np.round(prediction.probabilities[..., channel] * 255).astype(np.uint8)
                    self._write_grey(self.folder / PROBABILITIES / str(identity) / f"{name}.png", grey)
            self.rows.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.row(prediction.frame_index)) as temporary:
                temporary.write_text(json.dumps(describe_frame(name, prediction), separators=(",", ":")))
            write_mask(self.mask(name), prediction.labels)

    def row(self, index: int) -> Path:
        """Where a frame's part of objects.json waits; its name may be as long as names can be, so it is called by its number."""
        return self.rows / f"{index}.json"

    def mask(self, name: str) -> Path:
        """Where a frame's label map is."""
        return self.folder / MASKS / f"{name}.png"

    def labels(self, name: str) -> np.ndarray:
        """A frame's label map."""
        return read_mask(self.mask(name))

    def finish(self, count: int, described: dict[str, Any]) -> Path:
        """Put the frames' rows into objects.json, one at a time."""
        with told_of(self.folder, no_space=self.no_space):
            return write_objects(
                self.folder / OBJECTS, (self.row(number).read_text() for number in range(count)), described
            )

    def _write_grey(self, path: Path, grey: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            PILImage.fromarray(grey).save(temporary, format="PNG")


def write_objects(path: Path, rows: Iterable[str], described: Mapping[str, Any]) -> Path:
    """Write objects.json: what is said of the whole video, then a row a frame, each JSON."""
    with atomic_path(path) as temporary, temporary.open("w") as file:
        file.write(json.dumps(described)[:-1] + ', "frames": [')
        for number, row in enumerate(rows):
            file.write(("," if number else "") + "\n" + row)
        file.write("\n]}\n")
    return path


def describe_frame(name: str, prediction: Prediction) -> dict[str, Any]:
    """`describe_labels` of a prediction with its probabilities."""
    return describe_labels(name, prediction.frame_index, prediction.labels, confidences(prediction))


def confidences(prediction: Prediction) -> dict[int, float | None]:
    """By id, the mean probability of the pixels that an object has; None where it has none."""
    assert prediction.probabilities is not None
    found: dict[int, float | None] = {}
    for channel, identity in enumerate(prediction.object_ids, start=1):
        mask = prediction.labels == identity
        found[identity] = round(float(prediction.probabilities[..., channel][mask].mean()), 4) if mask.any() else None
    return found


def describe_labels(
    name: str, index: int, labels: np.ndarray, confidence: Mapping[int, float | None]
) -> dict[str, Any]:
    """A frame's objects: id, area in pixels, box [x, y, width, height], confidence (mean probability), COCO RLE mask.

    An object that is not in the frame has area 0 and neither box nor confidence.
    """
    objects = []
    for identity in confidence:
        mask = labels == identity
        area = int(mask.sum())
        objects.append(
            {
                "id": identity,
                "area": area,
                "bbox": bounding_box(mask) if area else None,
                "confidence": confidence[identity] if area else None,
                "segmentation": run_lengths(mask),
            }
        )
    return {"name": name, "index": index, "objects": objects}


def bounding_box(mask: BinaryMask) -> list[int]:
    """[x, y, width, height] of a mask that is not empty, as COCO counts."""
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1)]


def run_lengths(mask: BinaryMask) -> dict[str, list[int]]:
    """COCO's uncompressed RLE: lengths of runs down the columns, of zeros first; pycocotools reads it."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    first = [0] if flat[0] else []
    return {"size": list(mask.shape), "counts": [*first, *counts.tolist()]}
