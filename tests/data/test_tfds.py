"""Prepared TFDS datasets: the same clips as from the trees they were made of, all or nothing, no TensorFlow."""

from __future__ import annotations

import io
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image as PILImage

from configs import common
from munet_jax.data.clips import ClipOptions, ClipSource
from munet_jax.data.davis import DavisSource
from munet_jax.data.folder import FolderSource
from munet_jax.data.loader import Part, make_loader
from munet_jax.data.sources import create_source
from munet_jax.data.static import StaticSource
from munet_jax.data.tfds.builders import encode_labels
from munet_jax.data.tfds.prepare import prepare
from munet_jax.data.tfds.source import CatalogueDavisSource, PreparedSource
from munet_jax.data.youtube_vos import YouTubeVosSource
from munet_jax.runtime.errors import InputError
from tests.data.test_static import make_coco, make_static
from tests.data.trees import coloured, label_map, make_davis, make_youtube_vos
from tests.shared_data import shared


def assert_same(prepared: ClipSource, plain: ClipSource) -> None:
    """Both doors lead to the same videos, frames and label maps."""
    assert isinstance(prepared, ClipSource)
    assert len(prepared) == len(plain)
    for index in range(len(plain)):
        assert prepared.video(index) == plain.video(index)
        for frame in range(len(plain.video(index).frame_names)):
            np.testing.assert_array_equal(prepared.frame(index, frame), plain.frame(index, frame))
        for frame in plain.video(index).annotated:
            np.testing.assert_array_equal(prepared.labels(index, frame), plain.labels(index, frame))


def assert_same_clips(prepared: ClipSource, plain: ClipSource, length: int) -> None:
    """Batches of both are identical for one seed."""
    options = ClipOptions(length, (32, 32), 2)
    loaders = [make_loader([Part(source)], options, batch_size=3, seed=1, threads=0) for source in (prepared, plain)]
    for _ in range(2):
        first, second = map(next, loaders)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_davis(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis")
    (root / "ImageSets/2017/test-dev.txt").write_text("dog\n")
    for path in (root / "Annotations/480p/dog").glob("0000[1-9].png"):
        path.unlink()
    folder, new = prepare("munet_davis/2017", root, tmp_path / "tfds")
    assert new
    assert folder.is_relative_to(tmp_path / "tfds/munet_davis/2017")
    source = PreparedSource(tmp_path / "tfds", "munet_davis/2017", "test_dev")
    assert_same(source, DavisSource(root, "test-dev"))
    with pytest.raises(InputError, match="dog/00003: this frame has no label map"):
        source.labels(0, 3)
    train = PreparedSource(tmp_path / "tfds", "munet_davis/2017", "train")
    assert_same_clips(train, DavisSource(root), 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(train)).frame(0, 1), train.frame(0, 1))

    config = common.get_config().data
    config.kind = "tfds"
    config.tfds.update(data_dir=str(tmp_path / "tfds"), dataset="munet_davis/2017")
    assert create_source(config).name == "munet_davis/2017-train"
    assert "tensorflow" not in sys.modules


def test_youtube_vos(tmp_path: Path) -> None:
    root = make_youtube_vos(tmp_path / "yt", every=1)
    make_youtube_vos(root, "valid", every=1)
    for frames in ("annotated", "all"):
        prepare(f"munet_youtube_vos/{frames}", root, tmp_path / "tfds")
        for split in ("train", "valid"):
            source = PreparedSource(tmp_path / "tfds", f"munet_youtube_vos/{frames}", split)
            assert_same(source, YouTubeVosSource(root, split, frames=frames))


@pytest.mark.parametrize("layout", ["voc2012_objects", "pascal_s", "coco"])
def test_static_sets(layout: str, tmp_path: Path) -> None:
    if layout == "coco":
        make_coco(tmp_path / "set")
        from munet_jax.data.coco import CocoSource

        plain: ClipSource = CocoSource(tmp_path / "set")
    else:
        make_static(tmp_path / "set", layout)
        plain = StaticSource(tmp_path / "set", layout, split="trainval")
    prepare(f"munet_static/{layout}", tmp_path / "set", tmp_path / "tfds")
    prepared = PreparedSource(tmp_path / "tfds", f"munet_static/{layout}", "train")
    assert_same(prepared, plain)
    assert_same_clips(prepared, plain, 4)


def test_a_folder_of_videos(tmp_path: Path) -> None:
    make_davis(tmp_path / "davis")
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "davis" / kind / "480p").rename(tmp_path / kind)
    prepare("munet_folder/videos", tmp_path, tmp_path / "tfds")
    assert_same(PreparedSource(tmp_path / "tfds", "munet_folder/videos", "train"), FolderSource(tmp_path))


def test_a_broken_file_leaves_nothing_that_looks_prepared(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis")
    broken = root / "JPEGImages/480p/dog/00004.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"00004\.jpg: cannot be read"):
        prepare("munet_davis/2017", root, tmp_path / "tfds")
    with pytest.raises(InputError, match="nothing is prepared here; run munet prepare munet_davis/2017"):
        PreparedSource(tmp_path / "tfds", "munet_davis/2017", "train")
    broken.write_bytes(whole)
    folder, _ = prepare("munet_davis/2017", root, tmp_path / "tfds")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare("munet_davis/2017", root, tmp_path / "tfds") == (folder, False)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_preparation_that_was_killed_is_not_taken_for_a_dataset(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis", frames=40)
    code = (
        "import os, pathlib; from munet_jax.data.davis import DavisSource; from munet_jax.data.tfds.prepare import prepare\n"
        "read = DavisSource.labels\n"
        "def labels(self, index, frame):\n"
        "    if (index, frame) == (1, 20): os.kill(os.getpid(), 9)\n"
        "    return read(self, index, frame)\n"
        "DavisSource.labels = labels\n"
        f"prepare('munet_davis/2017', pathlib.Path({str(root)!r}), pathlib.Path({str(tmp_path / 'tfds')!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == -9
    assert any((tmp_path / "tfds/munet_davis/2017").iterdir())
    with pytest.raises(InputError, match="nothing is prepared here"):
        PreparedSource(tmp_path / "tfds", "munet_davis/2017", "train")
    prepare("munet_davis/2017", root, tmp_path / "tfds")
    assert_same(PreparedSource(tmp_path / "tfds", "munet_davis/2017", "train"), DavisSource(root))


def test_what_cannot_be_prepared_or_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset 'mnist' to prepare; choose one of munet_davis/2016"):
        prepare("mnist", tmp_path, tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        prepare("munet_davis/2017", tmp_path / "nowhere", tmp_path)
    for dataset in ("munet_davis/2017", "munet_youtube_vos/all"):
        with pytest.raises(InputError, match="holds no list|neither train nor valid"):
            prepare(dataset, tmp_path, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()
    config = common.get_config().data
    config.kind = "tfds"
    with pytest.raises(InputError, match=r"give --config.data.tfds.data_dir=DIR and dataset"):
        create_source(config)
    root = make_davis(tmp_path / "davis")
    prepare("munet_davis/2017", root, tmp_path / "tfds")
    with pytest.raises(InputError, match="has no split 'val'; choose of train"):
        PreparedSource(tmp_path / "tfds", "munet_davis/2017", "val")
    with pytest.raises(InputError, match="davis/480p: nothing is prepared here$"):
        PreparedSource(tmp_path / "tfds", "davis/480p", "train")


def _blank(folder: Path) -> None:
    record = next(folder.glob("*.array_record*"))
    record.write_bytes(record.read_bytes()[:100] + b"\0" * (record.stat().st_size - 100))


def _cut_off(folder: Path) -> None:
    record = next(folder.glob("*.array_record*"))
    record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])


DAMAGES = {
    "blank records": _blank,
    "cut off": _cut_off,
    "info": lambda folder: (folder / "dataset_info.json").write_text("{"),
    "features": lambda folder: (folder / "features.json").write_text("{"),
    "no features": lambda folder: (folder / "features.json").unlink(),
    "metadata": lambda folder: (folder / "metadata.json").write_text("{"),
    "no videos": lambda folder: (folder / "metadata.json").write_text('{"videos": {}}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_says_what_to_delete(damage: str, tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis")
    folder, _ = prepare("munet_davis/2017", root, tmp_path / "tfds")
    shutil.copytree(folder, folder.with_name("1.0.0.bak"))  # no version: left alone
    DAMAGES[damage](folder)

    def read_all() -> None:
        source = PreparedSource(tmp_path / "tfds", "munet_davis/2017", "train")
        for frame in range(6):
            source.frame(1, frame)

    with pytest.raises(InputError, match="delete .*prepare it again"):
        read_all()


class Davis(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The catalogue's features, in array_record, so that no TensorFlow is needed."""

    VERSION = tfds.core.Version("2.1.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="480p")]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        video = {
            "frames": tfds.features.Image(shape=(None, None, 3)),
            "segmentations": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        }
        features = {"video": tfds.features.Sequence(video), "metadata": {"num_frames": np.int64, "video_name": np.str_}}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):  # noqa: ANN001, ANN202
        return {"train": self._generate_examples()}

    def _generate_examples(self):  # noqa: ANN202
        for name, count in (("cat", 3), ("dog", 5)):
            maps = [label_map(shift=frame) for frame in range(count)]
            frames = []
            for labels in maps:
                frames.append(io.BytesIO())
                PILImage.fromarray(coloured(labels)).save(frames[-1], format="PNG")
                frames[-1].seek(0)
            video = {"frames": frames, "segmentations": [encode_labels(labels) for labels in maps]}
            yield name, {"video": video, "metadata": {"num_frames": count, "video_name": name}}


def test_the_catalogues_own_davis(tmp_path: Path) -> None:
    Davis(data_dir=str(tmp_path), config="480p", file_format="array_record").download_and_prepare()
    config = common.get_config().data
    config.kind = "tfds"
    config.tfds.update(data_dir=str(tmp_path), dataset="davis/480p")
    source = create_source(config)
    assert isinstance(source, CatalogueDavisSource)
    by_name = {source.video(index).name: index for index in range(len(source))}
    assert len(source.video(by_name["dog"]).frame_names) == 5
    np.testing.assert_array_equal(source.labels(by_name["dog"], 4), label_map(shift=4))
    np.testing.assert_array_equal(source.frame(by_name["cat"], 2), coloured(label_map(shift=2)))
    with pytest.raises(InputError, match="was not prepared by this package"):
        PreparedSource(tmp_path, "davis/480p", "train")


@pytest.mark.parametrize(
    ("dataset", "folder", "split"),
    [
        ("munet_davis/2017", "davis2017_multi", None),
        ("munet_youtube_vos/annotated", "ytvos_sample", "valid"),
        ("munet_static/images", "static/DAVIS2017_firstframes", "train"),
    ],
)
def test_real_data_through_both_doors(dataset: str, folder: str, split: str | None, tmp_path: Path) -> None:
    root = shared(folder)
    prepare(dataset, root, tmp_path)
    if split is None:
        split = sorted((root / "ImageSets/2017").glob("*.txt"))[0].stem
        plain: ClipSource = DavisSource(root, split)
    else:
        youtube = dataset.startswith("munet_youtube")
        plain = YouTubeVosSource(root, split, frames="annotated") if youtube else StaticSource(root, "images")
    prepared = PreparedSource(tmp_path, dataset, split)
    assert_same(prepared, plain)
    assert_same_clips(prepared, plain, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "folder"), [("munet_davis/2016", "davis2016"), ("munet_static/ecssd", "static/ECSSD")]
)
def test_large_real_data_through_both_doors(dataset: str, folder: str, tmp_path: Path) -> None:
    root = shared(folder)
    prepare(dataset, root, tmp_path)
    for split in ("train", "val") if "davis" in dataset else ("train",):
        plain = DavisSource(root, split, "2016") if "davis" in dataset else StaticSource(root, "ecssd")
        prepared = PreparedSource(tmp_path, dataset, split)
        assert [prepared.video(index) for index in range(len(plain))] == [
            plain.video(index) for index in range(len(plain))
        ]
        assert_same_clips(prepared, plain, 4)
