"""Segmenting and evaluating a split: devices, going on where it stopped, speed, and splits without public masks."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import testing
from munet_jax.data.masks import read_mask
from munet_jax.data.sources import create_source
from munet_jax.errors import InputError
from munet_jax.evaluation import run
from munet_jax.evaluation.protocols import DAVIS2016, DAVIS2017, GENERIC, YOUTUBE_VOS
from munet_jax.evaluation.split import DONE, MASKS, Timing, segment_split, speed
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from tests.data.trees import make_davis, make_youtube_vos, memory_source


@pytest.fixture
def create(variables: Any) -> Callable[[], VideoSegmenter]:
    config = testing.get_config()
    model = create_model(config.model)
    return lambda: VideoSegmenter(model, variables, config)


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): read_mask(path) for path in sorted((folder / MASKS).rglob("*.png"))}


def test_devices_share_the_videos_and_change_nothing(create: Callable[[], VideoSegmenter], tmp_path: Path) -> None:
    source = memory_source(videos=5, frames=4)
    used: dict[str, set[Any]] = {}

    def watched() -> VideoSegmenter:
        segmenter = create()
        used[threading.current_thread().name] = jax.tree.leaves(segmenter.variables)[0].devices()
        return segmenter

    segment_split(source, create, tmp_path / "one", "a", jax.devices()[:1])
    timings = segment_split(source, watched, tmp_path / "three", "a", jax.devices()[:3])
    assert sorted(used.values(), key=str) == [{device} for device in jax.devices()[:3]]
    assert list(timings) == [f"video{k}" for k in range(5)]
    one, three = masks_in(tmp_path / "one"), masks_in(tmp_path / "three")
    assert one.keys() == three.keys()
    assert len(one) == 20
    for name, labels in one.items():
        np.testing.assert_array_equal(labels, three[name])


def test_it_goes_on_where_it_stopped(create: Callable[[], VideoSegmenter], tmp_path: Path) -> None:
    broken = memory_source(videos=3, frames=4, broken=(1,))
    with pytest.raises(InputError, match="memory/video1, frame 00000: video1: cannot be read"):
        segment_split(broken, create, tmp_path, "a", jax.devices()[:1])
    assert (tmp_path / DONE / "video0.json").is_file()
    first = tmp_path / MASKS / "video0/00001.png"
    before = first.stat().st_mtime_ns
    stray = tmp_path / MASKS / "video1/00099.png"
    shutil.copy(first, stray)
    timings = segment_split(memory_source(videos=3, frames=4), create, tmp_path, "a", jax.devices()[:2])
    assert first.stat().st_mtime_ns == before
    assert not stray.exists()
    assert sorted(timings) == ["video0", "video1", "video2"]
    assert len(masks_in(tmp_path)) == 12
    # Made with something else, everything is done again.
    segment_split(memory_source(videos=3, frames=4), create, tmp_path, "b", jax.devices()[:1])
    assert first.stat().st_mtime_ns > before
    # A mark that a kill left behind half written is no mark.
    (tmp_path / DONE / "with.json").write_text("{")
    segment_split(memory_source(videos=3, frames=4), create, tmp_path, "b", jax.devices()[:1])


def test_speed_is_of_frames_without_compilation() -> None:
    devices = jax.devices()[:2]
    timings = [Timing(10, 2.0, 4.0, objects=1), Timing(30, 3.0, 4.0, objects=3), Timing()]
    assert speed(timings, devices) == {
        "fps": pytest.approx(40 / 5),
        "fps_mean_of_sequences": pytest.approx((5 + 10) / 2),
        "fps_with_files": pytest.approx(40 / 8),
        "fps_frames": 40,
        "fps_objects": pytest.approx((10 * 1 + 30 * 3) / 40),
        "device": "cpu",
        "devices": 2,
    }
    assert speed([Timing()], devices) == {"device": "cpu", "devices": 2}


def evaluation(kind: str, root: Path, **fields: str) -> ConfigDict:
    config = testing.get_config()
    config.evaluation.kind = kind
    config.evaluation[kind].root = str(root)
    config.evaluation[kind].update(fields)
    config.evaluation.pictures = 1
    return config


@pytest.fixture
def trained(variables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose checkpoint has random parameters."""
    monkeypatch.setattr(run, "trained_variables", lambda config, workdir, step: (jax.device_get(variables), 7))


@pytest.mark.usefixtures("trained")
def test_youtube_vos_with_masks_is_scored_over_seen_and_unseen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_youtube_vos(tmp_path / "data", "valid")
    for path in (root / "valid/Annotations").rglob("*.png"):
        path.unlink()
    make = make_youtube_vos(tmp_path / "train")
    shutil.copytree(make / "train/Annotations", root / "valid/Annotations", dirs_exist_ok=True)
    config = evaluation("youtube_vos", root, split="valid", frames="annotated")
    results = run.evaluate(config, tmp_path / "work")
    assert results["protocol"] == "youtube_vos"
    assert results["G"] is None
    assert "there is no train/meta.json" in capsys.readouterr().out
    shutil.copytree(make / "train", root / "train")
    again = run.evaluate(config, tmp_path / "work")  # nothing is segmented twice
    assert again["fps_frames"] == results["fps_frames"]
    assert again["J_seen"] == pytest.approx(again["J"])  # every category is seen
    written = json.loads((tmp_path / "work/evaluation/results.json").read_text())
    assert written["G"] is None
    assert written["J_unseen"] is None
    assert {"fps", "fps_objects", "device", "config", "step", "frames", "first_mask_copy"} <= written.keys()


@pytest.mark.usefixtures("trained")
def test_a_split_without_public_masks_ends_with_a_zip_and_no_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "data", split="test-dev", frames=3, size=(48, 64))
    for video in ("cat", "dog"):
        for number in (1, 2):
            (root / f"Annotations/480p/{video}/{number:05}.png").unlink()
    config = evaluation("davis", root, split="test-dev")
    results = run.evaluate(config, tmp_path / "work", submission=True)
    assert results["scored"] is False
    told = capsys.readouterr().out
    assert "no score exists" in told
    assert "(verified)" in told
    written = json.loads((tmp_path / "work/evaluation/results.json").read_text())
    assert (written["J"], written["J&F"], written["sequences"]) == (None, None, {})
    assert (tmp_path / "work/evaluation/submission.zip").is_file()


@pytest.mark.usefixtures("trained")
def test_again_segments_again(tmp_path: Path) -> None:
    config = evaluation("davis", make_davis(tmp_path / "data", split="val", frames=3), split="val")
    mask = tmp_path / "work/evaluation/masks/cat/00001.png"
    run.evaluate(config, tmp_path / "work")
    first = mask.stat().st_mtime_ns
    run.evaluate(config, tmp_path / "work")
    assert mask.stat().st_mtime_ns == first
    run.evaluate(config, tmp_path / "work", again=True)
    second = mask.stat().st_mtime_ns
    assert second > first
    config.inference.memory_interval += 1
    run.evaluate(config, tmp_path / "work")
    assert mask.stat().st_mtime_ns > second


def test_protocols_of_configs() -> None:
    config = testing.get_config()
    found = {}
    for kind, dataset in (("synthetic", ""), ("folder", ""), ("youtube_vos", ""), ("tfds", "munet_youtube_vos/2018")):
        config.evaluation.kind = kind
        config.evaluation.tfds.dataset = dataset
        found[kind] = run.protocol_of(config)
    assert found == {"synthetic": DAVIS2017, "folder": GENERIC, "youtube_vos": YOUTUBE_VOS, "tfds": YOUTUBE_VOS}
    config.evaluation.merge_objects = True
    assert run.protocol_of(config) == DAVIS2016


def test_the_copied_mask_knows_later_objects(tmp_path: Path) -> None:
    config = evaluation("youtube_vos", make_youtube_vos(tmp_path), split="train")
    source = create_source(config.evaluation)
    given = list(run.given_masks(source, 0))
    assert [sorted(set(np.unique(labels)) - {0}) for labels in given] == [[1], [1], [1, 2], [1, 2]]
    np.testing.assert_array_equal(given[1], source.labels(0, 0))
    np.testing.assert_array_equal(given[3] == 2, source.labels(0, 2) == 2)
