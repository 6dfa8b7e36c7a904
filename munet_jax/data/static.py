"""Sets of still images with masks as a `ClipSource` (paper Fig. 4: MSRA10K, VOC, ECSSD, COCO, PASCAL-S).

Every image is a video of one frame, marked as still; training moves it. Below is where the archives of each set put
their files, relative to the folder they were unpacked into. COCO keeps its masks in JSON: munet_jax/data/coco.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from munet_jax.data.clips import Video
from munet_jax.data.images import list_images, read_image
from munet_jax.data.masks import read_mask, read_soft_mask
from munet_jax.data.sizes import require_size
from munet_jax.data.trees import is_unsafe
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.content import read_lines
from munet_jax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a set keeps its files, and how its masks are to be read.

    Attributes:
      folders: (images, masks) relative to the root; the first pair that exists is taken.
      image_suffixes: of images, where they share a folder with the masks.
      masks: 'binary' (one object, 0/1 or 0/255), 'soft' (one object, grey, halved in the middle) or 'ids'.
      images_without_masks: whether the set has images of which only some have a mask.
      listed: a file of image names relative to the root, one per line; those that are taken. '{split}' is filled in.
    """

    folders: tuple[tuple[str, str], ...]
    masks: str
    image_suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")
    images_without_masks: bool = False
    listed: str = ""


def _with_parents(images: str, masks: str, *parents: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{parent}{images}", f"{parent}{masks}") for parent in ("", *parents))


_VOC_PARENTS = ("VOCdevkit/VOC2012/", "VOC2012/")

LAYOUTS = {
    "msra10k": Layout(_with_parents("Imgs", "Imgs", "MSRA10K_Imgs_GT/"), "binary", (".jpg", ".jpeg")),
    "ecssd": Layout((*_with_parents("images", "ground_truth_mask", "ECSSD/"), ("JPEGImages", "Annotations")), "binary"),
    "hku_is": Layout(_with_parents("imgs", "gt", "HKU-IS/"), "binary"),
    "pascal_s": Layout(
        _with_parents("datasets/imgs/pascal", "datasets/masks/pascal", "PASCAL-S/", "salObj/"),
        "soft",
        (".jpg", ".jpeg"),
    ),
    "voc2012_objects": Layout(
        _with_parents("JPEGImages", "SegmentationObject", *_VOC_PARENTS),
        "ids",
        images_without_masks=True,
        listed="ImageSets/Segmentation/{split}.txt",
    ),
    "voc2012_classes": Layout(
        _with_parents("JPEGImages", "SegmentationClass", *_VOC_PARENTS),
        "ids",
        images_without_masks=True,
        listed="ImageSets/Segmentation/{split}.txt",
    ),
    "images": Layout((("JPEGImages", "Annotations"), ("images", "masks")), "ids"),
}


class StaticSource:
    """The images of one set; only names are held, files are read when asked for."""

    def __init__(self, root: Path | str, layout: str, *, split: str = "train", name: str | None = None) -> None:
        """Lists the images.

        Args:
          root: the folder that the set was unpacked into.
          layout: a name of `LAYOUTS`; 'images' is any folder of JPEGImages and Annotations (or images and masks).
          split: for sets that have lists of their own (VOC: train, val, trainval).
          name: of the source; the layout's if not given.

        Raises:
          InputError: unknown layout; a folder, list, image or mask that is missing.
        """
        if layout not in LAYOUTS:
            raise InputError(f"there is no static set {layout!r}; choose one of {', '.join(LAYOUTS)}, coco")
        self.name = name or layout
        self._layout = LAYOUTS[layout]
        root = Path(root).expanduser()
        self._images, self._masks, parent = _find_folders(root, self._layout)
        self._names = _list_pairs(self._images, self._masks, self._layout)
        if self._layout.listed:
            self._names = _only_listed(self._names, parent, self._layout.listed, split)
        self._stems = tuple(Path(file).stem for file in self._names)

    def __len__(self) -> int:
        return len(self._names)

    def video(self, index: int) -> Video:
        """One image, as a video of one frame."""
        name = self._stems[index]
        return Video(name, (name,), (0,), still=True)

    def frame(self, index: int, frame: int) -> Image:
        """The image, RGB uint8 [h, w, 3]; `frame` is 0. Raises InputError for an unreadable file."""
        return read_image(self.frame_file(index, frame))

    def frame_file(self, index: int, frame: int) -> Path:
        """The file of an image, as it lies there."""
        return self._images / self._names[index]

    def labels(self, index: int, frame: int) -> LabelMap:
        """Its label map, uint8 [h, w]; `frame` is 0. Raises InputError: unreadable, or of another size than the image."""
        path = self._masks / f"{self._stems[index]}.png"
        labels = _read(path, self._layout.masks)
        require_size(path, labels.shape, self.frame_file(index, frame))
        return labels


def _read(path: Path, masks: str) -> LabelMap:
    if masks == "soft":
        return read_soft_mask(path)
    return read_mask(path, objects=1 if masks == "binary" else None)


def _find_folders(root: Path, layout: Layout) -> tuple[Path, Path, Path]:
    """Images, masks, and the folder that the list of names is relative to."""
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; give the folder that the set was unpacked into")
    for images, masks in layout.folders:
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks, (root / images).parent
    expected = " and ".join(dict.fromkeys(layout.folders[0]))
    raise InputError(f"{root}: has no {expected}; give the folder that the set was unpacked into")


def _list_pairs(images: Path, masks: Path, layout: Layout) -> tuple[str, ...]:
    """File names of the images that have a mask. Raises InputError for one without the other, unless the set has such."""
    found = list_images(images, layout.image_suffixes)
    with_mask = list_images(masks, (".png",))
    if not found:
        raise InputError(f"{images}: holds no images ({', '.join(layout.image_suffixes)}); unpack the set again")
    missing = [name for name in found if name not in with_mask]
    if missing and not layout.images_without_masks:
        count = f"{len(missing)} of {len(found)} images have none"
        raise InputError(f"{masks / missing[0]}.png: there is no such mask ({count}); unpack the set again")
    lonely = next((name for name in with_mask if name not in found), None)
    if lonely is not None:
        raise InputError(f"{with_mask[lonely]}: there is no image {lonely} in {images}; unpack the set again")
    return tuple(path.name for name, path in found.items() if name in with_mask)


def _only_listed(names: tuple[str, ...], parent: Path, listed: str, split: str) -> tuple[str, ...]:
    """The images of a list file, in its order."""
    if is_unsafe(split):
        raise InputError(f"the split {split!r} is not a plain name; try train or trainval")
    path = parent / listed.format(split=split)
    if not path.is_file():
        raise InputError(f"{path}: there is no such list; unpack the set again")
    wanted = " ".join(read_lines(path)).split()
    by_stem = {Path(name).stem: name for name in names}
    missing = next((stem for stem in wanted if stem not in by_stem), None)
    if not wanted or missing is not None:
        what = f"lists {missing!r}, which has no image and mask" if wanted else "lists nothing"
        raise InputError(f"{path}: {what}; unpack the set again")
    return tuple(by_stem[stem] for stem in wanted)
