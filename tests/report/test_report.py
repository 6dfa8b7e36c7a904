"""`munet report` and `evaluate.py --report`: the right frames in the right figures, and a page with all of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image as PILImage

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.cli import main
from munet_jax.commands.report import read_attributes
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.trees import some_labelled
from munet_jax.evaluation import run
from munet_jax.report.make import draw_evaluation
from munet_jax.report.page import page_frames
from munet_jax.report.sequences import ReportSequence, report_sequences
from munet_jax.runtime.errors import InputError
from tests.data.trees import make_davis


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """Two videos of 6 frames, a method that is right and one that lags a frame behind."""
    root = make_davis(tmp_path / "data")
    shutil.copytree(root / "Annotations/480p", tmp_path / "right")
    for path in (root / "Annotations/480p").rglob("*.png"):
        number = max(int(path.stem) - 1, 0)
        labels = read_mask(path.with_name(f"{number:05}.png"))
        write_mask(tmp_path / "late" / path.parent.name / path.name, labels)
    return tmp_path


def report(trees: Path, *more: str) -> int:
    data = trees / "data"
    arguments = ["--annotations", str(data / "Annotations/480p"), "--frames", str(data / "JPEGImages/480p")]
    arguments += ["--results", f"ours={trees / 'right'}", "--results", str(trees / "late"), "--out", str(trees / "out")]
    return main(["report", *arguments, "--protocol", "davis2017", *more])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_figures_and_page_of_two_methods(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attributes = trees / "attributes.json"
    attributes.write_text(json.dumps({"cat": ["fast", "small"], "dog": ["fast"], "cow": ["slow"]}))
    assert report(trees, "--attributes", str(attributes), "--formats", "png", "--title", "My <title>") == 0
    expected = ["bars/attributes.png", "bars/sequences.png", "index.html"]
    expected += [f"{folder}/{video}.png" for folder in ("iou", "strips") for video in ("cat", "dog")]
    assert files(trees / "out") == sorted(expected)
    page = (trees / "out/index.html").read_text()
    assert "My &lt;title&gt;" in page
    assert page.count("data:image/jpeg") == 12
    assert re.search(r"ours.*late", page, re.DOTALL)
    assert str(trees / "out/index.html") in capsys.readouterr().out


def test_what_the_network_sees(trees: Path, variables: Any) -> None:
    config = testing.get_config()
    weights = trees / "weights.safetensors"
    write_weights(weights, jax.device_get(variables), config, 7)
    assert report(trees, "--weights", str(weights), "--formats", "pdf", "--page-frames", "2", "--pixel", "20,16") == 0
    found = files(trees / "out")
    assert {"motion/cat.pdf", "matching/dog.pdf"} <= set(found)
    page = (trees / "out/index.html").read_text()
    assert "displacement" in page
    assert "attention" in page
    assert report(trees, "--weights", str(weights), "--pixel", "64,0") == 2


def test_bad_input_is_one_line(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(said: str, *more: str, code: int = 2) -> None:
        assert report(trees, *more) == code
        assert said in capsys.readouterr().err
        assert not (trees / "out").exists()

    refused("a method cannot be called 'truth'", "--results", f"truth={trees / 'right'}")
    refused("--pixel says whose matching is drawn, and that needs the network", "--pixel", "1,1")
    refused("two results are called 'late'", "--results", f"late={trees / 'right'}")
    refused("--page-frames is 0", "--page-frames", "0")
    (trees / "attributes.json").write_text('{"cat": "fast"}')
    refused('should hold {"sequence": ["attribute", ...]}', "--attributes", str(trees / "attributes.json"))
    refused("none.json: there is no such file", "--attributes", str(trees / "none.json"))
    (trees / "late/dog/00002.png").unlink()
    refused("late/dog/00002.png: there is no such file", code=1)
    shutil.copy(trees / "right/dog/00002.png", trees / "late/dog/00002.png")
    shutil.rmtree(trees / "data/JPEGImages/480p/dog")
    refused("JPEGImages/480p/dog: listed, but there is no such folder")
    with pytest.raises(SystemExit):
        report(trees, "--pixel", "12")


def test_a_mask_of_another_size_is_told_by_its_file(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mask(trees / "late/dog/00000.png", np.ones((8, 8), np.uint8))  # as given, so it is not scored
    assert report(trees, "--formats", "png") == 2
    assert "late/dog/00000.png: the label map is 8 x 8, but its frame" in capsys.readouterr().err
    assert not (trees / "out/index.html").exists()


def test_the_page_has_evenly_spread_frames_and_the_worst(trees: Path) -> None:
    frames = trees / "data/JPEGImages/480p"
    scores = {"m": {"cat": {f"{k:05}": (0.1 * k, 0.1 * k) for k in range(1, 5)}}}
    long = ReportSequence(
        "long",
        [f"{k:05}" for k in range(101)],
        frame=lambda number: np.zeros((4, 4, 3), np.uint8),
        annotation=lambda number: None,
        masks={},
        scores={"m": {f"{k:05}": (k / 100, k / 100) for k in range(1, 100)}},
    )
    assert page_frames(long, 5) == [0, *range(1, 11), 25, 50, 75, 100]
    source = some_labelled(["cat"], frames, trees / "data/Annotations/480p")
    (sequence,) = report_sequences(source, {"m": trees / "late"}, scores)
    assert page_frames(sequence, 10) == list(range(6))
    chosen = page_frames(sequence, 2)
    assert {0, 5} <= set(chosen)
    assert set(chosen) == {0, 1, 2, 3, 4, 5}  # fewer than ten scored frames: all of them are among the worst
    assert page_frames(sequence, 1)[0] == 0
    assert sequence.scores == {"m": {f"{k:05}": pytest.approx((0.1 * k, 0.1 * k)) for k in range(1, 5)}}
    assert list(sequence.frame_names) == [f"{k:05}" for k in range(6)]
    np.testing.assert_array_equal(sequence.masks["m"](3), sequence.annotation(2))


def test_results_that_belong_to_nothing_are_told(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trees / "late/dog", trees / "late/cow")
    assert report(trees, "--formats", "png") == 1
    assert "late/cow: there is no such sequence" in capsys.readouterr().err
    assert (trees / "out/index.html").exists()


def test_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"cat": ["fast"]}')
    assert read_attributes(path) == {"cat": ["fast"]}
    path.write_text("[]")
    with pytest.raises(InputError, match="a.json: should hold"):
        read_attributes(path)


def test_the_report_of_an_evaluation(tmp_path: Path, variables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "trained_variables", lambda config, workdir, step: (jax.device_get(variables), 7))
    config = testing.get_config()
    config.evaluation.pictures = 0
    config.evaluation.synthetic.update(videos=1, frames=3)
    run.evaluate(config, tmp_path, report=draw_evaluation)
    folder = tmp_path / "evaluation" / "report"
    kinds = {path.split("/")[0] for path in files(folder)}
    assert kinds == {"bars", "index.html", "iou", "matching", "motion", "strips"}
    with PILImage.open(next((folder / "motion").glob("*.png"))) as image:
        assert image.width > image.height / 2
    assert "MUNet, step 7" in (folder / "index.html").read_text()
