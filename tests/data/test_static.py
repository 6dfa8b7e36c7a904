"""Sets of still images in their published layouts, whole and broken."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.data.clips import ClipSource
from munet_jax.data.coco import CocoSource
from munet_jax.data.masks import read_soft_mask, write_mask
from munet_jax.data.static import LAYOUTS, StaticSource
from munet_jax.runtime.errors import InputError
from tests.data.trees import coloured, label_map
from tests.shared_data import shared

# Where each archive puts its files: images, masks, suffix of images.
PUBLISHED = {
    "msra10k": ("MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs", ".jpg"),
    "ecssd": ("images", "ground_truth_mask", ".jpg"),
    "hku_is": ("HKU-IS/imgs", "HKU-IS/gt", ".png"),
    "pascal_s": ("datasets/imgs/pascal", "datasets/masks/pascal", ".jpg"),
    "voc2012_objects": ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/SegmentationObject", ".jpg"),
    "voc2012_classes": ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/SegmentationClass", ".jpg"),
    "images": ("JPEGImages", "Annotations", ".JPG"),
}


def make_static(root: Path, layout: str, count: int = 3) -> tuple[Path, Path]:
    """A set of `count` images as it is published; gives the folders of images and masks."""
    images, masks, suffix = PUBLISHED[layout]
    (root / images).mkdir(parents=True)
    (root / masks).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        labels = label_map((1,) if LAYOUTS[layout].masks != "ids" else (1, 2), shift=index)
        PILImage.fromarray(coloured(labels)).save(root / images / f"{index:04}{suffix}", format="JPEG")
        path = root / masks / f"{index:04}.png"
        if LAYOUTS[layout].masks == "ids":
            write_mask(path, labels)
        elif LAYOUTS[layout].masks == "soft":
            soft = labels * np.uint8(200) + np.roll(labels, 1, axis=1) * np.uint8(30)
            PILImage.fromarray(soft).save(path)
        else:
            PILImage.fromarray(labels * np.uint8(255)).save(path)
    if layout.startswith("voc"):
        PILImage.fromarray(coloured(label_map())).save(root / images / "no_mask.jpg")
        lists = (root / images).parent / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("0002\n0000\n")
        (lists / "trainval.txt").write_text("0000\n0001\n0002\n")
    return root / images, root / masks


@pytest.mark.parametrize("layout", PUBLISHED)
def test_published_layouts(layout: str, tmp_path: Path) -> None:
    make_static(tmp_path, layout)
    source = StaticSource(tmp_path, layout, split="trainval")
    assert isinstance(source, ClipSource)
    assert (source.name, len(source)) == (layout, 3)
    ids = (1, 2) if LAYOUTS[layout].masks == "ids" else (1,)
    for index in range(3):
        video = source.video(index)
        assert (video.name, video.still, video.annotated) == (f"{index:04}", True, (0,))
        expected = label_map(ids, shift=index)
        np.testing.assert_array_equal(source.labels(index, 0), expected)
        assert np.abs(source.frame(index, 0).astype(int) - coloured(expected)).mean() < 10
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.labels(2, 0), source.labels(2, 0))


def test_voc_takes_the_images_of_its_list_and_keeps_ignore(tmp_path: Path) -> None:
    _, masks = make_static(tmp_path, "voc2012_objects")
    labels = label_map()
    labels[:3] = 255
    write_mask(masks / "0002.png", labels)
    source = StaticSource(tmp_path, "voc2012_objects")
    assert [source.video(index).name for index in range(len(source))] == ["0002", "0000"]
    assert (source.labels(0, 0)[:3] == 255).all()


def test_soft_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    PILImage.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "soft.png")
    assert read_soft_mask(tmp_path / "soft.png").tolist() == [[0, 0, 1, 1]]
    PILImage.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(InputError, match="colour.png: a grey mask is expected"):
        read_soft_mask(tmp_path / "colour.png")


def _small_mask(images: Path, masks: Path) -> None:
    write_mask(masks / "0001.png", label_map((1,), (20, 30)))


def _anti_aliased(images: Path, masks: Path) -> None:
    PILImage.fromarray(np.arange(48 * 64, dtype=np.uint32).reshape(48, 64).astype(np.uint8)).save(masks / "0001.png")


BREAKS = {
    "missing mask": (lambda i, m: (m / "0001.png").unlink(), r"0001.png: there is no such mask \(1 of 3"),
    "missing image": (lambda i, m: (i / "0001.jpg").unlink(), r"0001.png: there is no image 0001 in"),
    "no images": (lambda i, m: [path.unlink() for path in i.glob("*.jpg")], "holds no images"),
    "no masks folder": (lambda i, m: m.rename(m.with_name("other")), "has no images and ground_truth_mask"),
}
UNREADABLE = {
    "size": (_small_mask, r"0001.png: the label map is 30 x 20, but its frame .*0001.jpg is 64 x 48"),
    "anti-aliased": (_anti_aliased, "0001.png: 256 distinct grey values"),
    "cut off": (lambda i, m: (m / "0001.png").write_bytes((m / "0001.png").read_bytes()[:60]), "0001.png: is damaged or cut"),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKS)
def test_broken_sets_are_refused_when_opened(case: str, tmp_path: Path) -> None:
    damage, message = BREAKS[case]
    damage(*make_static(tmp_path, "ecssd"))
    with pytest.raises(InputError, match=message):
        StaticSource(tmp_path, "ecssd")


@pytest.mark.parametrize("case", UNREADABLE)
def test_broken_masks_are_refused_when_read(case: str, tmp_path: Path) -> None:
    damage, message = UNREADABLE[case]
    damage(*make_static(tmp_path, "ecssd"))
    with pytest.raises(InputError, match=message):
        StaticSource(tmp_path, "ecssd").labels(1, 0)


def test_names_and_lists_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no static set 'mnist'; choose one of msra10k"):
        StaticSource(tmp_path, "mnist")
    with pytest.raises(InputError, match="there is no such folder"):
        StaticSource(tmp_path / "nowhere", "ecssd")
    make_static(tmp_path, "voc2012_objects")
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    for text, message in {"no_mask\n": "lists 'no_mask', which has no image and mask", "": "lists nothing"}.items():
        (lists / "train.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            StaticSource(tmp_path, "voc2012_objects")
    with pytest.raises(InputError, match="test.txt: there is no such list"):
        StaticSource(tmp_path, "voc2012_objects", split="test")
    with pytest.raises(InputError, match="not a plain name"):
        StaticSource(tmp_path, "voc2012_objects", split="../x")


# COCO


def square(left: int, top: int, side: int) -> list[int]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def make_coco(root: Path) -> dict:
    """Two images with objects and one without; polygons of two parts, a crowd in run lengths."""
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in (9, 25, 30):
        PILImage.new("RGB", (64, 48), (number, 0, 0)).save(root / f"train2017/{number:012}.jpg")
    crowd = {"size": [48, 64], "counts": [0, 48 * 4, 48 * 60]}  # column by column: the first 4 columns
    annotations = [
        {"image_id": 9, "category_id": 3, "area": 100, "iscrowd": 0, "segmentation": [square(20, 20, 10)]},
        {"image_id": 9, "category_id": 7, "area": 500, "iscrowd": 0,
         "segmentation": [square(10, 10, 20), square(40, 5, 10)]},
        {"image_id": 9, "category_id": 7, "area": 900, "iscrowd": 1, "segmentation": crowd},
        {"image_id": 25, "category_id": 3, "area": 16, "iscrowd": 0, "segmentation": [square(1, 1, 4)]},
    ]  # fmt: skip
    content = {
        "images": [{"id": n, "file_name": f"{n:012}.jpg", "height": 48, "width": 64} for n in (9, 25, 30)],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    write_coco(root, content)
    return content


def write_coco(root: Path, content: object) -> None:
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))


def test_coco_draws_large_objects_first_and_ignores_crowds(tmp_path: Path) -> None:
    make_coco(tmp_path)
    source = CocoSource(tmp_path)
    assert isinstance(source, ClipSource)
    assert (source.name, len(source)) == ("coco-train2017", 2)
    video = source.video(0)
    assert (video.name, video.still, dict(video.categories)) == ("000000000009", True, {1: "dog", 2: "cat"})
    expected = np.zeros((48, 64), np.uint8)
    expected[:, :4] = 255
    expected[10:30, 10:30] = expected[5:15, 40:50] = 1
    expected[20:30, 20:30] = 2
    np.testing.assert_array_equal(source.labels(0, 0), expected)
    assert source.labels(1, 0).sum() == 16
    assert source.frame(1, 0).shape == (48, 64, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).labels(1, 0), source.labels(1, 0))


def _segmentation(segmentation: object) -> Callable[[Path, dict], None]:
    def damage(root: Path, content: dict) -> None:
        content["annotations"][3] |= {"segmentation": segmentation, "id": 77}
        write_coco(root, content)

    return damage


COCO_BREAKS = {
    "no polygon": (_segmentation([]), "annotation 77 of image 25 has no usable segmentation"),
    "empty polygon": (_segmentation([[]]), "annotation 77 of image 25 has no usable segmentation"),
    "two points": (_segmentation([[1, 1, 5, 5]]), "a polygon has at least three points"),
    "other size": (_segmentation({"size": [30, 30], "counts": [0, 900]}), r"run lengths of \[30, 30\]"),
    "short runs": (_segmentation({"size": [48, 64], "counts": [3, 4]}), "do not fill the image"),
    "runs that end early": (_segmentation({"size": [48, 64], "counts": "0P1"}), "do not fill the image"),
    "damaged runs": (_segmentation({"size": [48, 64], "counts": "nnnnnn"}), "annotation 77 of image 25"),
    "image gone": (lambda root, c: (root / "train2017/000000000025.jpg").unlink(), "000000000025.jpg: listed, but there"),
    "no json": (lambda root, c: (root / "annotations/instances_train2017.json").unlink(), "there is no such file"),
    "not json": (lambda root, c: (root / "annotations/instances_train2017.json").write_text("{"), "cannot be read as JSON"),
    "other form": (lambda root, c: write_coco(root, {"images": []}), "not COCO instances"),
    "no objects": (lambda root, c: write_coco(root, c | {"annotations": []}), "no image has an object"),
    "path": (lambda root, c: write_coco(root, json.loads(json.dumps(c).replace("000000000009.jpg", "../9.jpg"))),
             "'../9.jpg' is not a plain file name"),
}  # fmt: skip


@pytest.mark.parametrize("case", COCO_BREAKS)
def test_broken_coco_is_refused(case: str, tmp_path: Path) -> None:
    damage, message = COCO_BREAKS[case]
    damage(tmp_path, make_coco(tmp_path))
    with pytest.raises(InputError, match=message):
        CocoSource(tmp_path)


def test_coco_sizes_splits_and_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_coco(tmp_path)
    content["images"][1]["height"] = 40
    write_coco(tmp_path, content)
    with pytest.raises(
        InputError, match="000000000025.jpg: the image is 64 x 48, but instances_train2017.json says 64 x 40"
    ):
        CocoSource(tmp_path).frame(1, 0)
    with pytest.raises(InputError, match="val2017: there is no such folder"):
        CocoSource(tmp_path, "val2017")
    with pytest.raises(InputError, match="not a plain name"):
        CocoSource(tmp_path, "../train2017")
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(InputError, match=r"pip install 'munet_jax\[coco\]'"):
        CocoSource(tmp_path)


@pytest.mark.parametrize(
    ("folder", "count"), [("ECSSD", 1000), ("COCO128", 126), ("WeizmannHorse", 327), ("DAVIS2017_firstframes", 30)]
)
def test_real_sets(folder: str, count: int) -> None:
    source = StaticSource(shared("static") / folder, "ecssd" if folder == "ECSSD" else "images")
    assert len(source) == count
    for index in range(0, count, count // 10):
        labels = source.labels(index, 0)
        assert labels.shape == source.frame(index, 0).shape[:2]
        assert 1 <= labels.max() <= 20
