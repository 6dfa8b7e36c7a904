"""From config sections to sources: kinds, mixes, sets of still images, and where their folders are."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import (
    common,
    protocol1_davis,
    protocol2_davis_youtube,
    protocol3_static,
    protocol31_davis,
    protocol32_davis_youtube,
)
from munet_jax.commands.scripts import read_config
from munet_jax.data.folder import FolderSource
from munet_jax.data.loader import count_clips, make_loader
from munet_jax.data.sources import create_parts, create_source
from munet_jax.data.static import LAYOUTS
from munet_jax.runtime.errors import InputError
from munet_jax.training.setup import clip_options
from tests.data.test_static import PUBLISHED, make_coco, make_static
from tests.data.trees import label_map, make_davis, make_youtube_vos

SET_FOLDERS = {"msra10k": "MSRA10K", "voc2012_objects": "VOC2012", "ecssd": "ECSSD", "pascal_s": "PASCAL-S"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """All data sets of the protocols, small, in the folders of a mix."""
    make_davis(tmp_path / "DAVIS", frames=12)
    make_davis(tmp_path / "val", split="val")
    (tmp_path / "val/ImageSets/2017/val.txt").rename(tmp_path / "DAVIS/ImageSets/2017/val.txt")
    make_youtube_vos(tmp_path / "YouTube-VOS")
    for layout, folder in SET_FOLDERS.items():
        make_static(tmp_path / "static" / folder, layout)
    make_coco(tmp_path / "static/COCO")
    return tmp_path


def _config(module: types.ModuleType, root: Path) -> ConfigDict:
    return read_config(types.SimpleNamespace(value=module.get_config()), str(root))


@pytest.mark.parametrize(
    ("module", "folder", "clip_length", "expected"),
    [
        (protocol1_davis, "DAVIS", 6, {"davis2017-train": (2, 1.0)}),
        (protocol31_davis, "DAVIS", 6, {"davis2017-train": (2, 1.0)}),
        (protocol2_davis_youtube, "", 4, {"davis2017-train": (2, 0.5), "youtube_vos-train-annotated": (2, 0.5)}),
        (protocol32_davis_youtube, "", 4, {"davis2017-train": (2, 0.5), "youtube_vos-train-annotated": (2, 0.5)}),
        (protocol3_static, "static", 6,
         {"msra10k": (3, 3 / 14), "ecssd": (3, 3 / 14), "pascal_s": (3, 3 / 14), "voc2012_objects": (3, 3 / 14),
          "coco-train2017": (2, 2 / 14)}),
    ],
)  # fmt: skip
def test_every_protocol_loads(
    module: types.ModuleType, folder: str, clip_length: int, expected: dict[str, tuple[int, float]], data: Path
) -> None:
    config = _config(module, data / folder)
    parts = create_parts(config.data)
    found = {part.source.name: (len(part.source), part.weight) for part in parts}
    assert {name: (count, pytest.approx(weight)) for name, (count, weight) in expected.items()} == found
    config.data.update(size=(32, 32), clip_length=clip_length)  # the trees of the tests are short
    options = clip_options(config.data)
    assert count_clips(parts, options, stride=config.data.clip_stride) > 0
    batch = next(make_loader(parts, options, batch_size=4, seed=0, threads=0))
    assert batch["frames"].shape == (4, clip_length, 32, 32, 3)
    assert batch["objects"].any(axis=1).all()
    if folder != "static":
        assert create_source(config.evaluation).name == "davis2017-val"


def test_stills_of_videos_take_their_share(data: Path) -> None:
    config = _config(common, data / "DAVIS")
    config.data.still_share = 0.25
    parts = create_parts(config.data)
    assert [(part.source.name, part.weight) for part in parts] == [
        ("davis2017-train", 0.75),
        ("davis2017-train-stills", 0.25),
    ]
    config.data.still_share = 1.5
    with pytest.raises(InputError, match=r"still_share is 1.5; a share lies between"):
        create_parts(config.data)


def test_clips_of_videos_start_where_the_config_says(data: Path) -> None:
    config = _config(protocol1_davis, data / "DAVIS")
    assert [part.phase for part in create_parts(config.data)] == ["random"]
    config.data.update(clip_phase="fixed", still_share=0.5)
    assert create_parts(config.data)[0].phase == "fixed"
    config.data.clip_phase = "moving"
    with pytest.raises(InputError, match="config.data.clip_phase is 'moving'"):
        count_clips(create_parts(config.data), clip_options(config.data))


def test_a_set_may_have_several_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        make_static(tmp_path / folder, "images")
    config = common.get_config()
    config.data.kind = "static"
    config.data.static.update(root=str(tmp_path))
    config.data.static.sets.images = "one, two"
    parts = create_parts(config.data)
    assert [part.weight for part in parts] == [0.5, 0.5]
    folders = [part.source.frame_file(0, 0).parents[1].name for part in parts]  # type: ignore[attr-defined]
    assert folders == ["one", "two"]
    config.data.static.sets.images = "one,three"
    with pytest.raises(InputError, match="three: there is no such folder"):
        create_parts(config.data)


def test_what_cannot_be_opened(data: Path) -> None:
    config = common.get_config()
    with pytest.raises(InputError, match="no data root.*JPEGImages and Annotations by --data-root"):
        create_parts(config.data)
    config.data.kind = "mix"
    with pytest.raises(InputError, match="config.data.mix is .*at least one kind a weight above 0"):
        create_parts(config.data)
    config.data.mix.update(davis=-1.0, synthetic=1.0)
    with pytest.raises(InputError, match="none below"):
        create_parts(config.data)
    config.data.kind = "static"
    with pytest.raises(InputError, match="no set of still images: name the folder of one"):
        create_parts(config.data)
    config.data.static.sets.ecssd = "ECSSD"
    with pytest.raises(InputError, match="no data root.*static.root"):
        create_parts(config.data)
    config.evaluation.kind = "static"
    with pytest.raises(InputError, match="data kind is 'static'; videos are read of the kinds synthetic, davis"):
        create_source(config.evaluation)


@pytest.mark.parametrize("names", [("JPEGImages", "Annotations"), ("images", "masks")])
def test_any_folder_of_videos(names: tuple[str, str], tmp_path: Path) -> None:
    make_davis(tmp_path / "davis", ("video10", "video9"))
    root = tmp_path / "mine"
    for name, kind in zip(names, ("JPEGImages", "Annotations"), strict=True):
        root.mkdir(exist_ok=True)
        (tmp_path / "davis" / kind / "480p").rename(root / name)
    config = common.get_config().data
    config.kind = "folder"
    config.folder.root = str(root)
    source = create_source(config)
    assert [source.video(index).name for index in range(2)] == ["video9", "video10"]
    np.testing.assert_array_equal(source.labels(0, 3), label_map(shift=3))


def test_folders_without_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no JPEGImages and Annotations"):
        FolderSource(tmp_path)
    make_static(tmp_path, "images")
    with pytest.raises(InputError, match="JPEGImages: holds no folders"):
        FolderSource(tmp_path)


def test_every_layout_has_a_field_and_a_test() -> None:
    assert set(common.get_config().data.static.sets) == {*LAYOUTS, "coco"}
    assert set(PUBLISHED) == set(LAYOUTS)


def test_the_data_root_fills_in_what_the_config_does_not_name(tmp_path: Path) -> None:
    def read(config: ConfigDict, root: str = "/D", **options: bool) -> ConfigDict:
        return read_config(types.SimpleNamespace(value=config), root, **options)

    config = protocol2_davis_youtube.get_config()
    config.data.youtube_vos.root = "/elsewhere"
    config = read(config)
    roots = (config.data.davis.root, config.data.youtube_vos.root, config.evaluation.davis.root)
    assert roots == ("/D/DAVIS", "/elsewhere", "/D/DAVIS")

    still = read(protocol3_static.get_config())  # the evaluation is of another kind: it is not under that folder
    assert (still.data.static.root, still.evaluation.davis.root) == ("/D", "")
    scored = read(protocol3_static.get_config(), training=False)
    assert (scored.data.static.root, scored.evaluation.davis.root) == ("", "/D")
    # Of a mix's config: the folder of the mix, or the data set itself.
    for place in (tmp_path, tmp_path / "DAVIS"):
        place.mkdir(exist_ok=True)
        scored = read(protocol2_davis_youtube.get_config(), str(tmp_path), training=False)
        assert scored.evaluation.davis.root == str(place)
