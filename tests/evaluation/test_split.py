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
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.sources import create_source
from munet_jax.evaluation import run
from munet_jax.evaluation.given import GivenObjects
from munet_jax.evaluation.protocols import DAVIS2016, DAVIS2017, GENERIC, YOUTUBE_VOS, Protocol
from munet_jax.evaluation.split import DONE, MASKS, segment_split
from munet_jax.evaluation.timing import Timing, speed
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.runtime.atomic_files import exclusive
from munet_jax.runtime.errors import InputError
from tests.data.trees import MemorySource, label_map, make_davis, make_youtube_vos, memory_source


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

    segment_split(source, create, tmp_path / "one", "a", jax.devices()[:1], DAVIS2017)
    timings = segment_split(source, watched, tmp_path / "three", "a", jax.devices()[:3], DAVIS2017)
    assert sorted(used.values(), key=str) == [{device} for device in jax.devices()[:3]]
    assert list(timings) == [f"video{k}" for k in range(5)]
    one, three = masks_in(tmp_path / "one"), masks_in(tmp_path / "three")
    assert one.keys() == three.keys()
    assert len(one) == 20
    for name, labels in one.items():
        np.testing.assert_array_equal(labels, three[name])


def test_it_goes_on_where_it_stopped(create: Callable[[], VideoSegmenter], tmp_path: Path) -> None:
    def segment(made_with: str = "a", devices: int = 1, broken: tuple[int, ...] = ()) -> dict[str, Timing]:
        source = memory_source(videos=3, frames=4, broken=broken)
        return segment_split(source, create, tmp_path, made_with, jax.devices()[:devices], DAVIS2017)

    def times() -> list[int]:
        return [(tmp_path / MASKS / f"video{k}/00001.png").stat().st_mtime_ns for k in range(3)]

    with pytest.raises(InputError, match="memory/video1, frame 00000: video1: cannot be read"):
        segment(broken=(1,))
    assert (tmp_path / DONE / "video0.json").is_file()
    first = tmp_path / MASKS / "video0/00001.png"
    before = first.stat().st_mtime_ns
    stray = tmp_path / MASKS / "video1/00099.png"
    shutil.copy(first, stray)
    timings = segment(devices=2)
    assert first.stat().st_mtime_ns == before
    assert not stray.exists()
    assert sorted(timings) == ["video0", "video1", "video2"]
    assert len(masks_in(tmp_path)) == 12
    # A mark that is damaged, or whose masks have gone, is none; the others stand.
    old = times()
    (tmp_path / DONE / "video0.json").write_text("{")
    (tmp_path / MASKS / "video1/00003.png").unlink()
    (tmp_path / DONE / "._video2.json").write_bytes(b"\xff\xfe")
    assert sorted(segment()) == ["video0", "video1", "video2"]
    assert [new > then for new, then in zip(times(), old, strict=True)] == [True, True, False]
    # Made with something else, everything is done again.
    old = times()
    segment("b")
    assert all(new > then for new, then in zip(times(), old, strict=True))


def test_speed_is_of_frames_without_compilation() -> None:
    timings = [Timing(10, 2.0, 4.0, objects=1, device="cpu"), Timing(30, 3.0, 4.0, objects=3, device="cpu")]
    assert speed([*timings, Timing(device="cpu")], 2) == {
        "fps": pytest.approx(40 / 5),
        "fps_mean_of_sequences": pytest.approx((5 + 10) / 2),
        "fps_with_files": pytest.approx(40 / 8),
        "fps_frames": 40,
        "fps_objects": pytest.approx((10 * 1 + 30 * 3) / 40),
        "device": "cpu",
        "devices": 2,
    }
    assert speed([Timing(device="cpu")], 2) == {"device": "cpu", "devices": 2}
    assert speed([*timings, Timing(1, 1.0, 1.0, 1, "gpu")], 1)["device"] == "cpu + gpu"


def test_objects_are_given_where_the_protocol_says() -> None:
    """Object 2 is in the data from frame 2 on."""
    frames = [label_map((1,)), label_map((1,)), label_map((1, 2)), label_map((1, 2))]
    source = MemorySource([frames])

    def given(protocol: Protocol) -> list[tuple[bool, list[int] | None]]:
        rules = GivenObjects(source, 0, protocol)
        return [(mask is not None, new) for mask, new in map(rules.at, range(4))]

    assert given(DAVIS2017) == [(True, None), (False, None), (False, None), (False, None)]
    assert given(GENERIC) == [(True, None), (False, None), (True, [2]), (False, None)]


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
    mask = tmp_path / "work/evaluation/masks/late/00005.png"
    before = mask.stat().st_mtime_ns
    again = run.evaluate(config, tmp_path / "work")
    assert mask.stat().st_mtime_ns == before  # nothing is segmented twice
    assert again["fps_frames"] == results["fps_frames"]
    assert again["J_seen"] == pytest.approx(again["J"])  # every category is seen
    written = json.loads((tmp_path / "work/evaluation/results.json").read_text())
    assert written["G"] is None
    assert written["J_unseen"] is None
    assert written["matmul_precision"] == "default"
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
def test_again_and_other_configs_segment_again_and_leave_nothing_old(tmp_path: Path) -> None:
    config = evaluation("davis", make_davis(tmp_path / "data", split="val", frames=3), split="val")
    folder = tmp_path / "work/evaluation"

    def evaluate(**options: bool) -> int:
        run.evaluate(config, tmp_path / "work", **options)
        return (folder / "masks/cat/00001.png").stat().st_mtime_ns

    first = evaluate()
    assert evaluate() == first
    again = evaluate(again=True)
    assert again > first
    assert evaluate() == again
    (folder / "submission.zip").touch()
    (folder / "masks/bird").mkdir()
    config.inference.memory_interval += 1
    changed = evaluate()
    assert changed > again
    assert not (folder / "submission.zip").exists()
    assert not (folder / "masks/bird").exists()
    write_mask(tmp_path / "data/Annotations/480p/cat/00000.png", label_map((1,)))  # another mask is given
    assert evaluate() > changed
    assert run.evaluate(config, tmp_path / "work", folder="other")["step"] == 7
    assert (tmp_path / "work/other/results.json").is_file()


@pytest.mark.usefixtures("trained")
def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    config = evaluation("davis", make_davis(tmp_path / "data", split="val", frames=3), split="val")
    (tmp_path / "work/evaluation").mkdir(parents=True)
    with exclusive(tmp_path / "work/evaluation"), pytest.raises(InputError, match="another run is working here"):
        run.evaluate(config, tmp_path / "work")
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(InputError, match="cannot be written to"):
        run.evaluate(config, blocked)


@pytest.mark.usefixtures("trained")
def test_a_video_that_cannot_be_scored_costs_no_other_its_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "data", split="val", frames=3)
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (root / kind / "480p/cat" / f"00002.{suffix}").unlink()  # two frames: the first and the last
    results = run.evaluate(evaluation("davis", root, split="val"), tmp_path / "work")
    assert list(results["sequences"]) == ["dog"]
    assert "2 frames, of which none is left to score" in results["not_scored"]["cat"]
    assert "not scored: davis2017-val/cat" in capsys.readouterr().out


@pytest.mark.usefixtures("trained")
def test_objects_that_appear_later_in_a_folder_are_given_and_scored(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data", frames=4)
    for name in ("JPEGImages", "Annotations"):
        for path in (root / name / "480p").iterdir():
            path.rename(root / name / path.name)
        (root / name / "480p").rmdir()
    for number in (0, 1):  # object 2 is not there yet
        write_mask(root / f"Annotations/cat/{number:05}.png", label_map((1, 0), shift=number))
    results = run.evaluate(evaluation("folder", root), tmp_path / "work")
    rows = [(r["object"], r["frame"]) for r in results["frames"] if r["sequence"] == "cat"]
    assert rows == [(1, "00001"), (1, "00002"), (1, "00003"), (2, "00003")]
    shown = np.unique(read_mask(tmp_path / "work/evaluation/masks/cat/00002.png"))
    assert 2 in shown  # as given


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
    given = list(run.given_masks(source, 0, YOUTUBE_VOS))
    assert [sorted(set(np.unique(labels)) - {0}) for labels in given] == [[1], [1], [1, 2], [1, 2]]
    np.testing.assert_array_equal(given[1], source.labels(0, 0))
    np.testing.assert_array_equal(given[3] == 2, source.labels(0, 2) == 2)
