"""`munet segment` after its last mask: overlays that cannot be made, names, rates and terminals cost nothing that is done."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from munet_jax.cli import main
from munet_jax.data.masks import write_mask
from munet_jax.data.video_files import VideoFile
from munet_jax.inference.files import job
from munet_jax.visualization.overlays import save_gif
from tests.inference.segmenting import Create, masks_of, segment

ROOT = Path(__file__).parents[2]
pytest.importorskip("av")


def strip(folder: Path, size: tuple[int, int], names: tuple[str, ...] = ("0", "1", "2")) -> tuple[Path, Path]:
    """Frames and a first mask of a size."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        PIL.Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    labels = np.zeros(size, np.uint8)
    labels.ravel()[:3] = 1
    write_mask(folder.parent / "mask.png", labels)
    return folder, folder.parent / "mask.png"


@pytest.mark.parametrize("size", [(1, 17), (17, 1)])
def test_frames_of_one_row_or_column(segmenter: Create, tree: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    frames, mask = strip(tmp_path / "frames", size)
    result = segment(segmenter, tree, tmp_path / "out", str(mask), source=str(frames))
    assert [path.name for path in result["paths"]] == ["masks", "overlay.mp4", "overlay.gif", "objects.json"]
    assert [mask.shape for mask in masks_of(tmp_path / "out").values()] == [size] * 3


@pytest.mark.parametrize("error", [ValueError("of an encoder"), OSError(errno.ENOSPC, "No space left"), IndexError()])
def test_an_overlay_that_cannot_be_made_costs_nothing_else(
    segmenter: Create, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:  # fmt: skip
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(job, "write_video", fail)
    with caplog.at_level(logging.WARNING, "munet_jax"):
        result = segment(segmenter, tree, tmp_path / "out")
    assert [path.name for path in result["paths"]] == ["masks", "overlay.gif", "objects.json"]
    assert f"{tmp_path / 'out' / 'overlay.mp4'}: cannot be made (" in caplog.text
    assert len(json.loads((tmp_path / "out" / "objects.json").read_text())["frames"]) == 12
    assert segment(segmenter, tree, tmp_path / "out", existing="continue") is None


@pytest.mark.parametrize("rate", [1 / 86_400, 1e-12, 90_000.0])
def test_videos_of_any_rate(
    segmenter: Create, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    opened = job.open_input

    def with_rate(*given: Any) -> Any:
        frames = opened(*given)
        frames.rate = rate
        return frames

    monkeypatch.setattr(job, "open_input", with_rate)
    result = segment(segmenter, tree, tmp_path / "out")
    assert [path.name for path in result["paths"]] == ["masks", "overlay.mp4", "overlay.gif", "objects.json"]
    assert json.loads((tmp_path / "out" / "objects.json").read_text())["frame_rate"] == rate
    assert job.SLOWEST <= VideoFile(tmp_path / "out" / "overlay.mp4").rate <= job.FASTEST


def test_a_gif_of_one_frame_a_day(tmp_path: Path) -> None:
    frames = [np.full((4, 4, 3), value, np.uint8) for value in (0, 255)]
    save_gif(tmp_path / "slow.gif", frames, 1 / 86_400)
    with PIL.Image.open(tmp_path / "slow.gif") as gif:
        assert gif.info["duration"] == 655_350


def test_frames_whose_names_are_as_long_as_names_can_be(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    names = tuple("v" * 250 + str(number) for number in range(3))
    frames, mask = strip(tmp_path / "frames", (16, 32), names)
    segment(segmenter, tree, tmp_path / "out", str(mask), source=str(frames), overlays=(), probabilities=True)
    assert tuple(masks_of(tmp_path / "out")) == names
    rows = json.loads((tmp_path / "out" / "objects.json").read_text())["frames"]
    assert [row["name"] for row in rows] == list(names)


def command(tree: Path, out: str, *more: str) -> list[str]:
    given = [str(tree / "frames"), "--mask", str(tree / "first.png"), "--weights", str(tree / "weights.safetensors")]
    return ["segment", *given, "--out", out, "--overlay", *more]


def test_terminals_without_unicode(tree: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    out = tmp_path / "ü"
    program = [sys.executable, "-m", "munet_jax.cli", *command(tree, str(out))]
    result = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert f"written:  {tmp_path}/\\xfc/objects.json" in result.stdout
    again = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 2
    assert f"error: {tmp_path}/\\xfc: has results already" in again.stderr
    # Whoever read the first line has gone.
    piped = " ".join(f"'{word}'" for word in [*program, "--overwrite"])
    shell = f"set -o pipefail; {piped} | true"
    gone = subprocess.run(
        ["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert gone.returncode == 0, gone.stderr
    assert "Traceback" not in gone.stderr
    assert "Broken" not in gone.stderr


def test_a_command_in_a_thread(tree: Path, tmp_path: Path) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(command(tree, str(tmp_path / "out")))))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("name", ["/proc/nope", "file", "file/below", "n" * 300])
def test_places_that_cannot_be_written_to(
    tree: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / name)
    assert main(command(tree, out)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {out}: cannot be written to (")
    assert "name another folder with --out" in lines[0]


def test_a_full_disk_at_the_last_save_of_the_state_costs_no_list_of_objects(
    segmenter: Create, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job.Job, "_save", full)
    result = segment(segmenter, tree, tmp_path / "out", overlays=())
    assert result["frames"] == 12
    assert (tmp_path / "out" / "objects.json").exists()
