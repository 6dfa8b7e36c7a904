"""COCO 2017 as a `ClipSource` of still images; its masks are polygons and run lengths in one JSON file.

<root>/<split>/000000000009.jpg ...              split: train2017 or val2017
<root>/annotations/instances_<split>.json
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.data.clips import Video
from munet_jax.data.images import read_image
from munet_jax.data.masks import IGNORE
from munet_jax.data.trees import is_unsafe
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError

MAX_OBJECTS = 254


class CocoSource:
    """The images of a COCO split that show at least one object; every image is a still.

    Of each object, the category and the compressed run lengths are held, in two arrays.
    """

    def __init__(self, root: Path | str, split: str = "train2017", *, name: str | None = None) -> None:
        """Reads the annotations.

        Raises:
          InputError: pycocotools is not installed, no such folder or file, annotations of another form or with unsafe
            names, an image that is not there.
        """
        if is_unsafe(split):
            raise InputError(f"the split {split!r} is not a plain name; try train2017 or val2017")
        root = Path(root).expanduser()
        self.name = name or f"coco-{split}"
        self._images = root / split
        self._path = root / "annotations" / f"instances_{split}.json"
        if not self._images.is_dir():
            raise InputError(
                f"{self._images}: there is no such folder; give the folder that holds {split}, annotations"
            )
        content = read_json(self._path, "unpack the annotations archive again")
        try:
            self._index(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self._path}: not COCO instances ({error!r}); unpack the archive again") from error

    def _index(self, content: dict[str, Any]) -> None:
        by_image: dict[int, list[dict[str, Any]]] = collections.defaultdict(list)
        for annotation in content["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        images = [image for image in content["images"] if image["id"] in by_image]
        self._names = tuple(self._checked_name(image["file_name"]) for image in images)
        if not images:
            raise InputError(f"{self._path}: no image has an object; unpack the archive again")
        self._sizes = np.array([(image["height"], image["width"]) for image in images], np.int32)
        self._category_names = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
        counts: list[bytes] = []
        categories: list[int] = []
        first = [0]
        for image in images:
            for annotation in _back_to_front(by_image[image["id"]]):
                counts.append(self._run_lengths(annotation, int(image["height"]), int(image["width"])))
                categories.append(0 if annotation.get("iscrowd") else int(annotation["category_id"]))
            first.append(len(counts))
        self._first = np.array(first, np.int64)
        self._categories = np.array(categories, np.int32)
        self._ends = np.cumsum([len(count) for count in counts], dtype=np.int64)
        self._counts = b"".join(counts)

    def _run_lengths(self, annotation: dict[str, Any], height: int, width: int) -> bytes:
        """Compressed run lengths of one object, whatever form they have in the file."""
        api = _mask_api()
        try:
            return encode(api, annotation["segmentation"], height, width)
        # pycocotools raises plain exceptions, of any kind.
        except Exception as error:
            called = f"annotation {annotation.get('id')} of image {annotation['image_id']}"
            raise InputError(f"{self._path}: {called} has no usable segmentation ({error}); unpack it again") from error

    def _checked_name(self, name: str) -> str:
        if is_unsafe(name):
            raise InputError(
                f"{self._path}: the image {name!r} is not a plain file name; nothing outside the root is read"
            )
        if not (self._images / name).is_file():
            raise InputError(f"{self._images / name}: listed, but there is no such image; unpack the archive again")
        return name

    def __len__(self) -> int:
        """The number of images with objects."""
        return len(self._names)

    def video(self, index: int) -> Video:
        """One image, as a video of one frame; categories by id."""
        name = Path(self._names[index]).stem
        things = [int(c) for c in self._categories[self._first[index] : self._first[index + 1]] if c]
        categories = {slot: self._category_names.get(category, "") for slot, category in enumerate(things, 1)}
        return Video(name, (name,), (0,), categories, still=True)

    def frame(self, index: int, frame: int) -> Image:
        """The image, RGB uint8 [h, w, 3]; `frame` is 0. Raises InputError for an unreadable file."""
        path = self.frame_file(index, frame)
        height, width = self._sizes[index]
        # COCO's own annotations are of the pixels as they lie in the file, those of most labelling tools of the turned ones.
        image = read_image(path, upright=False)
        if image.shape[:2] != (height, width):
            image = read_image(path)
        if image.shape[:2] != (height, width):
            sizes = f"{image.shape[1]} x {image.shape[0]}, but {self._path.name} says {width} x {height}"
            raise InputError(f"{path}: the image is {sizes} (width x height); unpack the archive again")
        return image

    def frame_file(self, index: int, frame: int) -> Path:
        """The file of an image, as it lies there."""
        return self._images / self._names[index]

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map, uint8 [h, w]: ids 1, 2, ... from the largest object to the smallest; crowds are 255, 'ignore'."""
        height, width = (int(side) for side in self._sizes[index])
        labels = np.zeros((height, width), np.uint8)
        slot = 0
        for number in range(self._first[index], self._first[index + 1]):
            start = int(self._ends[number - 1]) if number else 0
            counts = self._counts[start : int(self._ends[number])]
            crowd = not self._categories[number]
            slot += not crowd
            try:
                covered = _mask_api().decode({"size": [height, width], "counts": counts}) > 0
            except ValueError as error:  # a polygon far outside the image
                called = f"an object of image {self._names[index]}"
                raise InputError(f"{self._path}: {called} cannot be drawn ({error}); unpack it again") from error
            labels[covered] = IGNORE if crowd else slot
        return labels


def _mask_api() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError("COCO masks need pycocotools: pip install 'munet_jax[coco]'") from error
    return mask


def _back_to_front(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Crowds first, then from large to small, so that what lies on top is drawn last; at most 254 objects."""
    crowds = [annotation for annotation in annotations if annotation.get("iscrowd")]
    objects = [annotation for annotation in annotations if not annotation.get("iscrowd")]
    objects.sort(key=lambda annotation: -float(annotation["area"]))
    return crowds + objects[:MAX_OBJECTS]


def encode(api: Any, segmentation: Any, height: int, width: int) -> bytes:
    """Compressed run lengths of polygons (all parts of one object) or of run lengths in either form.

    Raises:
      ValueError: polygons of fewer than three points, run lengths that do not fill the image; or what pycocotools raises.
    """
    if isinstance(segmentation, list):
        if not segmentation or any(len(polygon) < 6 for polygon in segmentation):
            raise ValueError("a polygon has at least three points")
        return api.merge(api.frPyObjects(segmentation, height, width))["counts"]
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"run lengths of {segmentation['size']}, but the image is {[height, width]}")
    runs = segmentation["counts"]
    if isinstance(runs, list):
        counts = api.frPyObjects(segmentation, height, width)["counts"]
    else:
        counts = runs if isinstance(runs, bytes) else runs.encode("ascii")
    # Runs that end too early leave pixels of a decoded mask unset, without a word.
    decoded = api.decode({"size": [height, width], "counts": counts})
    if api.encode(np.asfortranarray(decoded))["counts"] != counts:
        raise ValueError("run lengths that do not fill the image")
    return counts
