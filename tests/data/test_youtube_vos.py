"""YouTube-VOS trees, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import common
from munet_jax.data.clips import ClipSource
from munet_jax.data.sampling import ClipIndex
from munet_jax.data.sources import create_source
from munet_jax.data.youtube_vos import YouTubeVosSource
from munet_jax.evaluation.given import GivenObjects
from munet_jax.evaluation.protocols import YOUTUBE_VOS
from munet_jax.runtime.errors import InputError
from tests.data.trees import make_youtube_vos
from tests.shared_data import shared


def test_train_takes_annotated_or_all_frames(tmp_path: Path) -> None:
    root = make_youtube_vos(tmp_path, every=1)
    source = YouTubeVosSource(root, frames="annotated")
    assert isinstance(source, ClipSource)
    assert source.name == "youtube_vos-train-annotated"
    video = source.video(0)
    assert (video.name, video.frame_names, video.annotated) == (
        "late",
        ("00000", "00005", "00010", "00015"),
        (0, 1, 2, 3),
    )
    assert video.categories == {1: "cat", 2: "cat"}
    assert video.first_frames == {1: 0, 2: 2}
    assert set(np.unique(source.labels(0, 1))) == {0, 1}
    assert set(np.unique(source.labels(0, 2))) == {0, 1, 2}
    everything = YouTubeVosSource(root, frames="all").video(0)
    assert len(everything.frame_names) == 16
    assert everything.annotated == (0, 5, 10, 15)
    assert everything.first_frames == {1: 0, 2: 10}
    # Consecutive frames of a training clip are consecutive annotated ones.
    assert len(ClipIndex(source, 4)) == 2


def test_valid_gives_each_object_where_it_appears(tmp_path: Path) -> None:
    source = YouTubeVosSource(make_youtube_vos(tmp_path, "valid"), "valid", frames="annotated")
    assert source.video(0).annotated == (0, 2)
    given = list(map(GivenObjects(source, 0, YOUTUBE_VOS).at, range(4)))
    assert [ids for _, ids in given] == [[1], None, [2], None]
    assert [mask is not None for mask, _ in given] == [True, False, True, False]
    with pytest.raises(InputError, match=r"00005\.png.*no label map \(2 of 4"):
        source.labels(0, 1)


def test_all_frames_begin_at_the_first_label_map(tmp_path: Path) -> None:
    root = make_youtube_vos(tmp_path, every=1)
    (root / "train/Annotations/pair/00000.png").unlink()
    meta = json.loads((root / "train/meta.json").read_text())
    for entry in meta["videos"]["pair"]["objects"].values():
        entry["frames"].remove("00000")
    (root / "train/meta.json").write_text(json.dumps(meta))
    video = YouTubeVosSource(root, frames="all").video(1)
    assert (video.frame_names[0], len(video.frame_names), video.annotated) == ("00005", 11, (0, 5, 10))


def test_a_config_section_opens_it(tmp_path: Path) -> None:
    section = common.get_config().evaluation
    section.kind = "youtube_vos"
    with pytest.raises(InputError, match="--data-root"):
        create_source(section)
    section.youtube_vos.root = str(make_youtube_vos(tmp_path, "valid"))
    assert create_source(section).name == "youtube_vos-valid-annotated"


def _meta(change):  # noqa: ANN001, ANN202
    def spoil(root: Path) -> None:
        path = root / "train/meta.json"
        content: dict[str, Any] = json.loads(path.read_text())
        change(content["videos"])
        path.write_text(json.dumps(content))

    return spoil


def _text(text: str):  # noqa: ANN202
    return lambda root: (root / "train/meta.json").write_text(text)


def _rename_object(videos: dict[str, Any], name: str) -> None:
    videos["late"]["objects"][name] = videos["late"]["objects"].pop("2")


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda root: None, {"frames": "every"}, "'annotated' or 'all', not 'every'"),
        (lambda root: None, {"split": "test"}, "test: there is no such folder.*train and valid"),
        (lambda root: None, {"split": "../train"}, "not a plain name"),
        (lambda root: (root / "train/meta.json").unlink(), {}, r"meta\.json: there is no such file"),
        (_text("{"), {}, "cannot be read as JSON"),
        (_text("[]"), {}, "lists no videos"),
        (_text('{"videos": {"late": 3}}'), {}, "late has no 'objects'"),
        (_text('{"videos": {"late": {"objects": {"1": {"frames": []}}}}}'), {}, "no list of frame names"),
        (_meta(lambda videos: videos.update({"../late": videos.pop("late")})), {}, "'../late' is not a plain folder"),
        (_meta(lambda videos: _rename_object(videos, "255")), {}, "object '255'; ids are 1 to 254"),
        (_meta(lambda videos: _rename_object(videos, "cat")), {}, "object 'cat'"),
        (
            _meta(lambda videos: videos["late"]["objects"]["1"]["frames"].append("../../x")),
            {},
            "names a frame '../../x'",
        ),
        (
            _meta(lambda videos: videos["late"]["objects"]["1"]["frames"].append("00090")),
            {},
            r"00090: listed, but there is no such frame \(1 of 5",
        ),
        (lambda root: (root / "train/Annotations/late/00010.png").unlink(), {}, r"00010\.png: object 2 appears here"),
        (lambda root: (root / "train/Annotations/late/00000.png").unlink(), {}, r"00000\.png: object 1 appears here"),
    ],
)
def test_broken_trees(tmp_path: Path, spoil, options: dict[str, str], message: str) -> None:  # noqa: ANN001
    root = make_youtube_vos(tmp_path)
    spoil(root)
    with pytest.raises(InputError, match=message):
        YouTubeVosSource(root, **{"frames": "annotated", **options})


def test_the_real_video() -> None:
    source = YouTubeVosSource(shared("ytvos_sample"), "valid", frames="annotated")
    video = source.video(0)
    assert (len(source), len(video.frame_names), len(video.categories)) == (1, 15, 5)
    assert set(video.categories.values()) == {"penguin"}
    assert source.labels(0, 0).shape == source.frame(0, 0).shape[:2] == (180, 320)
    assert set(np.unique(source.labels(0, 0))) <= {0, 1, 2, 3, 4, 5}
