"""`munet segment` on files: every kind of input and output."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from munet_jax.cli import main
from munet_jax.data.masks import read_mask
from munet_jax.data.video_files import VideoFile
from munet_jax.inference import propagate
from munet_jax.inference.files import job
from munet_jax.inference.files.given_masks import read_annotations
from munet_jax.inference.files.inputs import open_input
from munet_jax.inference.files.results import run_lengths
from munet_jax.runtime.errors import InputError
from tests.inference.segmenting import Create, masks_of, segment

pytest.importorskip("av")


def test_a_folder_of_frames_gives_masks_overlays_and_objects(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    result = segment(segmenter, tree, tmp_path / "out", probabilities=True)
    out = tmp_path / "out"
    assert result["frames"] == 12
    assert {path.name for path in out.iterdir()} == {
        ".run.json", "masks", "probabilities", "objects.json", "overlay.mp4", "overlay.gif",
    }  # fmt: skip
    frames = open_input(str(tree / "frames"))
    expected = propagate(
        segmenter(), frames, {0: read_mask(tree / "first.png")}, direction="forward", outputs=("probabilities",)
    )
    described = json.loads((out / "objects.json").read_text())
    masks = masks_of(out)
    for number, prediction in enumerate(expected):
        name = f"shot {number + 1}"
        np.testing.assert_array_equal(masks[name], prediction.labels)
        row = described["frames"][number]
        assert (row["name"], row["index"]) == (name, number)
        for channel, told in enumerate(row["objects"], start=1):
            mask = prediction.labels == told["id"]
            assert told["area"] == mask.sum()
            grey = np.asarray(PIL.Image.open(out / "probabilities" / str(told["id"]) / f"{name}.png"))
            np.testing.assert_allclose(grey / 255, prediction.probabilities[..., channel], atol=0.003)
            if told["area"]:
                x, y, width, height = told["bbox"]
                assert mask[y : y + height, x : x + width].sum() == mask.sum()
                assert mask[y].any()
                assert mask[:, x + width - 1].any()
                assert told["confidence"] == pytest.approx(
                    prediction.probabilities[..., channel][mask].mean(), abs=1e-3
                )
            else:
                assert told["bbox"] is None
    with PIL.Image.open(out / "overlay.gif") as gif:
        assert gif.size == (72, 56)
    assert len(list(VideoFile(out / "overlay.mp4"))) == 12


def test_run_lengths_are_cocos() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for mask in (rng.random((9, 7)) < 0.4, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        rle = run_lengths(mask)
        np.testing.assert_array_equal(coco.decode(coco.frPyObjects(rle, *rle["size"])), mask)


def test_a_video_file_gives_the_masks_of_its_frames(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    segment(segmenter, tree, tmp_path / "out", "double.png", source="clip.mp4", overlays=())
    decoded = list(VideoFile(tree / "clip.mp4"))
    expected = propagate(segmenter(), decoded, {0: read_mask(tree / "double.png")}, direction="forward")
    masks = masks_of(tmp_path / "out")
    assert list(masks) == [f"{number:05d}" for number in range(8)]
    for prediction, mask in zip(expected, masks.values(), strict=True):
        np.testing.assert_array_equal(mask, prediction.labels)


@pytest.mark.parametrize("direction", ["backward", "both"])
@pytest.mark.parametrize("source", ["frames", "clip.mp4"])
def test_other_directions(segmenter: Create, tree: Path, tmp_path: Path, direction: str, source: str) -> None:
    mask = tree / ("double.png" if source == "clip.mp4" else "first.png")
    annotated_frame = "5" if source == "clip.mp4" else "shot 6"
    given = ["=".join([annotated_frame, str(mask)])] if direction == "both" else [str(mask)]
    segment(segmenter, tree, tmp_path / "out", *given, source=source, direction=direction, overlays=("gif",))
    opened = open_input(str(tree / source))
    frames = [opened[index] for index in range(12)] if source == "frames" else list(opened)
    annotated = 5 if direction == "both" else len(frames) - 1
    expected = propagate(segmenter(), frames, {annotated: read_mask(mask)}, direction=direction)
    masks = masks_of(tmp_path / "out")
    assert len(masks) == len(frames)
    for prediction in expected:
        np.testing.assert_array_equal(masks[opened.name(prediction.frame_index)], prediction.labels)
    assert not list((tmp_path / "out").glob(".unpacked"))


def test_frames_before_the_first_mask_are_told(
    segmenter: Create, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="munet_jax"):
        segment(segmenter, tree, tmp_path / "out", f"shot 11={tree / 'first.png'}", overlays=())
    (said,) = [line for line in caplog.messages if "first mask" in line]
    assert (
        said
        == "the first mask is of frame shot 11; the 10 frames before it stay empty, unless --both follows it there, too"
    )
    masks = masks_of(tmp_path / "out")
    assert [name for name, mask in masks.items() if mask.any()] == ["shot 11", "shot 12"]


def test_masks_are_given_by_number_or_name(tree: Path) -> None:
    frames = open_input(str(tree / "frames"))
    later = str(tree / "later.png")
    assert list(read_annotations([str(tree / "first.png"), f"shot 4={later}", f"shot 12={later}"], frames, 0)) == [
        0,
        3,
        11,
    ]
    for text, reason in (
        (f"13={later}", "no frame '13'; frames are called shot 1 to"),
        (f"0={later}", "has a mask already"),
    ):
        with pytest.raises(InputError, match=reason):
            read_annotations([str(tree / "first.png"), text], frames, 0)


def test_the_command_passes_its_options_on(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", str(tree / "weights.safetensors")]
    common = ["segment", str(tree / "frames"), "--mask", str(tree / "first.png"), *weights, "--overlay"]
    options = [
        "--max-size",
        "48",
        "--memory-policy",
        "adaptive",
        "--flip",
        "--scales",
        "1",
        "0.75",
        "--object-chunk",
        "1",
    ]
    assert main([*common, "--out", str(tmp_path / "out"), *options]) == 0
    run = json.loads((tmp_path / "out" / ".run.json").read_text())["inference"]
    assert (run["max_size"], run["memory_policy"], run["flip"], run["scales"]) == (48, "adaptive", True, [1.0, 0.75])
    out = capsys.readouterr()
    assert "12 frames, " in out.out
    assert "worked on at 62 x 48 with 2 object slots need about" in out.err
    assert main([*common, "--out", str(tmp_path / "out")]) == 2
    assert "has results already" in capsys.readouterr().err
    assert main([*common, "--out", str(tmp_path / "out"), *options, "--continue"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*common, "--out", str(tmp_path / "out2"), "--memory-capacity", "1"]) == 2
    assert "capacity" in capsys.readouterr().err


def test_a_missing_extra_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"extra 'video': pip install 'munet_jax\[video\]'"):
        VideoFile(tree / "clip.mp4")
    with pytest.raises(InputError, match="extra 'video'"):
        job.check_overlays(("video",))
