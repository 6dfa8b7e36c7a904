"""What a method is given of a folder of one's own: objects that appear later, too many of them, and data that changes."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image as PILImage

from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.cli import main
from munet_jax.data.folder import FolderSource
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.evaluation import run
from munet_jax.evaluation.given import check_given
from munet_jax.evaluation.protocols import DAVIS2017, GENERIC
from munet_jax.evaluation.run import evaluate, fingerprint, has_truth
from munet_jax.runtime.errors import InputError
from tests.data.trees import coloured, label_map

TESTING = str(Path(__file__).parents[2] / "configs/testing.py")
SIZE = (48, 64)
NOTHING = np.zeros(SIZE, np.uint8)


def write_video(root: Path, name: str, labels: dict[int, np.ndarray], frames: int = 6) -> None:
    """A video of one's own with label maps of some frames."""
    for number in range(frames):
        path = root / f"JPEGImages/{name}/{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(coloured(label_map((1, 2), SIZE, number))).save(path)
    for number, found in labels.items():
        write_mask(root / f"Annotations/{name}/{number:05d}.png", found)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Videos whose objects appear in frame 2: in `empty` the label maps before are empty, in `none` there are none."""
    shown = {number: label_map((1, 2), SIZE, number) for number in range(2, 6)}
    write_video(tmp_path / "data", "empty", {0: NOTHING, 1: NOTHING, **shown})
    write_video(tmp_path / "data", "none", shown)
    return tmp_path / "data"


def config_of(root: Path, **inference: Any) -> ConfigDict:
    config = testing.get_config()
    config.evaluation.kind = "folder"
    config.evaluation.folder.root = str(root)
    config.evaluation.pictures = 0
    config.inference.update(inference)
    return config


@pytest.fixture
def weights(variables: Any, tmp_path: Path) -> str:
    path = tmp_path / "weights.safetensors"
    write_weights(path, variables, testing.get_config(), 1)
    return str(path)


def test_frames_before_the_first_object_are_background(root: Path, weights: str, tmp_path: Path) -> None:
    results = evaluate(config_of(root), tmp_path / "out", weights=weights)
    masks = tmp_path / "out/evaluation/masks"
    for name in ("empty", "none"):
        written = [read_mask(masks / name / f"{number:05d}.png") for number in range(6)]
        assert [bool(labels.any()) for labels in written[:3]] == [False, False, True]
        np.testing.assert_array_equal(written[2], label_map((1, 2), SIZE, 2))
        assert set(results["sequences"][name]["objects"]) == {"1", "2"}
    assert results["not_scored"] == {}


def test_it_is_what_segment_does(root: Path, weights: str, tmp_path: Path) -> None:
    evaluate(config_of(root), tmp_path / "out", weights=weights)
    given = [str(root / "JPEGImages/none"), "--mask", f"2={root / 'Annotations/none/00002.png'}", "--weights", weights]
    assert main(["segment", *given, "--out", str(tmp_path / "alone"), "--overlay"]) == 0
    for number in range(6):
        alone, together = (
            read_mask(folder / f"{number:05d}.png")
            for folder in (tmp_path / "alone/masks", tmp_path / "out/evaluation/masks/none")
        )
        np.testing.assert_array_equal(alone, together)


def check_data(root: Path, *more: str) -> int:
    kinds = ["--config.data.kind=folder", "--config.evaluation.kind=folder"]
    roots = [f"--config.{part}.folder.root={root}" for part in ("data", "evaluation")]
    return main(["check-data", "--config", TESTING, *kinds, *roots, *more])


def test_such_data_has_no_problem_but_what_shows_nothing_has(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_data(root) == 0
    write_video(root, "nothing", {3: NOTHING})
    capsys.readouterr()
    assert check_data(root) == 1
    assert "/nothing: no label map shows an object" in capsys.readouterr().err


def test_a_video_with_one_label_map_is_not_scored(root: Path) -> None:
    write_video(root, "one", {3: label_map((1,), SIZE)})
    source = FolderSource(root)
    assert [has_truth(source.video(index)) for index in range(3)] == [True, True, False]


def test_too_many_objects_are_told_before_the_first_video(
    root: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "segment_split", None)
    expected = (
        r"data/empty: has 2 objects, and config.inference.max_objects is 1; give --config.inference.max_objects=2"
    )
    with pytest.raises(InputError, match=expected):
        evaluate(config_of(root, max_objects=1), tmp_path / "out", weights=weights)
    assert check_data(root, "--config.inference.max_objects=1") == 1
    assert re.search(f"problem: {expected}", capsys.readouterr().err)


def test_davis_gives_nothing_later(root: Path) -> None:
    source = FolderSource(root)
    assert check_given(source, GENERIC, 2) == check_given(source, GENERIC, 16)
    write_mask(root / "Annotations/none/00000.png", NOTHING)
    assert check_given(FolderSource(root), DAVIS2017, 0) != check_given(FolderSource(root), GENERIC, 2)


@pytest.mark.parametrize("changed", ["later mask", "first frame", "names"])
def test_masks_of_other_data_under_the_same_names_are_not_kept(root: Path, changed: str) -> None:
    config = config_of(root)
    before = fingerprint(config, {}, FolderSource(root))
    assert fingerprint(config, {}, FolderSource(root)) == before
    if changed == "later mask":
        write_mask(root / "Annotations/none/00002.png", label_map((1, 2), SIZE, 4))
    elif changed == "first frame":
        PILImage.fromarray(coloured(label_map((2, 1), SIZE))).save(root / "JPEGImages/none/00000.jpg")
    else:
        shutil.copy(root / "JPEGImages/none/00005.jpg", root / "JPEGImages/none/00006.jpg")
    assert fingerprint(config, {}, FolderSource(root)) != before


def test_names_as_long_as_names_can_be(weights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "v" * 255
    write_video(tmp_path / "data", name, {0: label_map((1,), SIZE), 1: label_map((1,), SIZE)}, frames=2)
    config = config_of(tmp_path / "data")
    config.evaluation.pictures = 1
    with caplog.at_level(logging.WARNING, "munet_jax"):
        results = evaluate(config, tmp_path / "out", weights=weights)
    assert list(results["sequences"]) == [name]
    assert "cannot be made (" in caplog.text  # their names would be longer still
    assert "masks and scores are whole" in caplog.text
    assert evaluate(config, tmp_path / "out", weights=weights)["J"] == results["J"]


def test_system_folders_are_no_videos(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", ".ipynb_checkpoints"):
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / name).mkdir()
            (root / kind / name / "Thumbs.db").touch()
    assert [FolderSource(root).video(index).name for index in range(2)] == ["empty", "none"]
    assert check_data(root) == 0
    masks = str(root / "Annotations")
    (root / "Annotations/@eaDir/00000.png").write_text("no image")
    assert main(["check-masks", masks, "--frames", str(root / "JPEGImages")]) == 1  # the empty first mask
    assert "@eaDir" not in capsys.readouterr().err
    scored = [
        "score",
        "--annotations",
        masks,
        "--results",
        masks,
        "--protocol",
        "generic",
        "--out",
        str(root / "scores"),
    ]
    assert main(scored) == 0
    assert "@eaDir" not in capsys.readouterr().out
    (root / "JPEGImages/lost").mkdir()
    with pytest.raises(InputError, match="lost: holds no frames .*put its files there, or take the folder away"):
        FolderSource(root)
