"""DAVIS trees, whole and broken."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.data.clips import ClipSource
from munet_jax.data.davis import DavisSource
from munet_jax.data.masks import write_mask
from munet_jax.runtime.errors import InputError
from tests.data.trees import label_map, make_davis
from tests.shared_data import shared


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_davis(tmp_path / "davis")


def test_videos_frames_and_labels(tree: Path) -> None:
    source = DavisSource(tree)
    assert isinstance(source, ClipSource)
    assert source.name == "davis2017-train"
    assert DavisSource(tree, name="mine").name == "mine"
    assert [source.video(index).name for index in range(len(source))] == ["cat", "dog"]
    assert source.video(1).frame_names == tuple(f"{frame:05}" for frame in range(6))
    assert source.video(1).annotated == tuple(range(6))
    assert source.frame(0, 2).shape == (48, 64, 3)
    np.testing.assert_array_equal(source.labels(0, 2), label_map(shift=2))
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.labels(0, 2), label_map(shift=2))


def test_2016_merges_all_objects(tree: Path) -> None:
    shutil.copytree(tree / "ImageSets/2017", tree / "ImageSets/2016")
    source = DavisSource(tree, year="2016")
    np.testing.assert_array_equal(source.labels(0, 0), label_map() > 0)


def test_2016_lists_of_paths(tree: Path) -> None:
    lines = [
        f"/JPEGImages/480p/{video}/{frame:05}.jpg /Annotations/480p/{video}/{frame:05}.png\n"
        for video in ("dog", "cat")
        for frame in range(6)
    ]
    (tree / "ImageSets/480p").mkdir()
    (tree / "ImageSets/480p/train.txt").write_text("".join(lines))
    source = DavisSource(tree, year="2016")
    assert [source.video(index).name for index in range(len(source))] == ["dog", "cat"]


def test_frames_are_in_natural_order_and_stray_files_are_left_alone(tree: Path) -> None:
    folder = tree / "JPEGImages/480p/cat"
    for old, new in [("00003.jpg", "100.jpg"), ("00004.jpg", "99.jpg")]:
        (folder / old).rename(folder / new)
    (folder / "Thumbs.db").touch()
    (folder / "._00000.jpg").touch()
    video = DavisSource(tree).video(0)
    assert video.frame_names == ("00000", "00001", "00002", "00005", "99", "100")
    assert video.annotated == (0, 1, 2, 3)


def test_only_first_masks(tree: Path) -> None:
    for path in tree.glob("Annotations/480p/*/*.png"):
        if path.stem != "00000":
            path.unlink()
    source = DavisSource(tree)
    assert source.video(0).annotated == (0,)
    source.labels(0, 0)
    with pytest.raises(InputError, match=r"00003\.png.*no label map \(1 of 6 frames"):
        source.labels(0, 3)


def _remove(path: str):  # noqa: ANN202
    return lambda tree: shutil.rmtree(tree / path)


def _list(text: str):  # noqa: ANN202
    return lambda tree: (tree / "ImageSets/2017/train.txt").write_text(text)


def _empty(path: str):  # noqa: ANN202
    return lambda tree: [file.unlink() for file in (tree / path).iterdir()]


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (_remove("."), {}, "davis: there is no such folder.*JPEGImages"),
        (_remove("JPEGImages"), {}, "no folder JPEGImages"),
        (_remove("Annotations"), {}, "no folder Annotations"),
        (_remove("ImageSets"), {}, r"2017/train\.txt.*found.*none"),
        (lambda tree: None, {"split": "val"}, r"2017/val\.txt.*2017/train"),
        (lambda tree: None, {"split": "../train"}, "not a plain name"),
        (lambda tree: None, {"year": "2018"}, "2016 and 2017, not '2018'"),
        (lambda tree: None, {"resolution": "1080p"}, "1080p.*found: 480p"),
        (_list("cat\nfox\n"), {}, "480p/fox.*no such folder.*off the list"),
        (_list("cat\n../dog\n"), {}, "'../dog' does not name a video folder"),
        (_list("cat/../dog\n"), {}, "does not name a video folder"),
        (_list("..\n"), {}, "does not name a video folder"),
        (_list("c:\\cat\n"), {}, "does not name a video folder"),
        (_list("/JPEGImages/480p/../00000.jpg x\n"), {}, "does not name a video folder"),
        (_list("\n \n"), {}, "lists no video"),
        (lambda tree: (tree / "ImageSets/2017/train.txt").write_bytes(b"\xff\x80"), {}, "cannot be read as text"),
        (_empty("JPEGImages/480p/dog"), {}, "480p/dog: holds no frames"),
        (_empty("Annotations/480p/dog"), {}, "480p/dog: holds no label map"),
        (_remove("Annotations/480p/dog"), {}, "480p/dog: holds no label map"),
        (lambda tree: (tree / "Annotations/480p/dog/00000.png").unlink(), {}, r"dog/00000\.png: the first frame"),
    ],
)
def test_broken_trees(tree: Path, spoil, options: dict[str, str], message: str) -> None:  # noqa: ANN001
    spoil(tree)
    with pytest.raises(InputError, match=message):
        DavisSource(tree, **options)


def test_label_map_of_another_size(tree: Path) -> None:
    write_mask(tree / "Annotations/480p/cat/00001.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(InputError, match=r"cat/00001\.png.*32 x 24.*64 x 48"):
        DavisSource(tree).labels(0, 1)


def test_frame_that_is_cut_off(tree: Path) -> None:
    path = tree / "JPEGImages/480p/cat/00001.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"cat/00001\.jpg"):
        DavisSource(tree).frame(0, 1)


def test_png_frames(tree: Path) -> None:
    path = tree / "JPEGImages/480p/cat/00001.jpg"
    with PILImage.open(path) as image:
        image.save(path.with_suffix(".png"))
    path.unlink()
    assert DavisSource(tree).frame(0, 1).shape == (48, 64, 3)


def test_real_davis_2016() -> None:
    train = DavisSource(shared("davis2016"), "train", "2016")
    val = DavisSource(shared("davis2016"), "val", "2016")
    assert (len(train), len(val)) == (24, 6)
    assert train.video(0).name == "bear"
    assert np.unique(train.labels(0, 77)).tolist() == [0, 1]
    assert train.frame(0, 77).shape == (360, 640, 3)
    assert val.video(0).name == "bmx-bumps"
    areas = [int(val.labels(0, frame).sum()) for frame in val.video(0).annotated]
    assert areas.count(0) == 14


def test_real_davis_2017() -> None:
    folder = shared("davis2017_multi")
    split = next(iter(sorted((folder / "ImageSets/2017").glob("*.txt")))).stem
    source = DavisSource(folder, split, "2017")
    assert [source.video(index).name for index in range(len(source))] == ["schoolgirls"]
    assert np.unique(source.labels(0, 0)).tolist() == list(range(8))
