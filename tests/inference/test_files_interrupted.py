"""`munet segment` that is stopped, killed, continued or run again, and a full disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from munet_jax.data.masks import read_mask, write_mask
from munet_jax.inference.files import job
from munet_jax.runtime.errors import InputError, Stopped
from tests.inference.segmenting import Create, masks_of, segment

ROOT = Path(__file__).parents[2]
pytest.importorskip("av")


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_run_that_is_stopped_goes_on_and_gives_the_same_files(
    segmenter: Create, tree: Path, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = (str(tree / "first.png"), f"shot 8={tree / 'later.png'}")
    segment(segmenter, tree, tmp_path / "whole", *masks, direction=direction, overlays=("gif",))
    written = job.Job._write
    stops = iter([3, 9, 14])
    stop_at, calls = [next(stops)], [0]

    def write(self: Any, prediction: Any, *, spilling: bool) -> None:
        written(self, prediction, spilling=spilling)
        calls[0] += 1
        if calls[0] == stop_at[0]:
            stop_at[0] = next(stops, -1)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job.Job, "_write", write)
    stopped = 0
    while True:
        try:
            existing = "continue" if stopped else "refuse"
            segment(
                segmenter, tree, tmp_path / "parts", *masks, direction=direction, overlays=("gif",), existing=existing
            )
            break
        except Stopped as told:
            assert "--continue" in str(told)  # noqa: PT017
            stopped += 1
    assert stopped == (3 if direction == "both" else 2)
    assert equal_folders(tmp_path / "whole", tmp_path / "parts")
    assert segment(segmenter, tree, tmp_path / "parts", *masks, direction=direction, existing="continue") is None


def equal_folders(one: Path, other: Path) -> bool:
    names = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def test_a_run_that_is_killed_goes_on_and_gives_the_same_files(tree: Path, tmp_path: Path) -> None:
    """The command itself, with kill -9."""

    def command(out: str, *more: str) -> list[str]:
        program = [
            sys.executable,
            "-m",
            "munet_jax.cli",
            "segment",
            str(tree / "frames"),
            "--mask",
            str(tree / "first.png"),
        ]
        options = ["--weights", str(tree / "weights.safetensors"), "--out", str(tmp_path / out), "--save-every", "0"]
        return [*program, *options, "--overlay", "gif", *more]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = subprocess.run(command("whole"), env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert whole.returncode == 0, whole.stderr
    assert f"written:  {tmp_path / 'whole' / 'objects.json'}" in whole.stdout
    assert "compiled" in whole.stderr
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "killed" / "masks").glob("shot*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    left = list((tmp_path / "killed" / "masks").glob("shot*.png"))
    assert 2 <= len(left) < 12
    for path in left:
        read_mask(path)  # whole
    with np.load(tmp_path / "killed" / ".state.npz") as state:
        assert {f"shot {number + 1}" for number in range(state["done"])} <= {path.stem for path in left}
    again = subprocess.run(command("killed"), env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 2
    assert "has results already (masks); --continue" in again.stderr
    more = subprocess.run(
        command("killed", "--continue"), env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert more.returncode == 0, more.stderr
    assert equal_folders(tmp_path / "whole", tmp_path / "killed")


def test_a_video_of_another_run_is_not_continued(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    segment(segmenter, tree, tmp_path / "out", overlays=())
    with pytest.raises(InputError, match="was begun with another masks; give the same"):
        segment(segmenter, tree, tmp_path / "out", "later.png", existing="continue")
    other = segmenter()
    other.network = other.network._replace(variables=jax.tree.map(lambda x: x + 1, other.network.variables))
    with pytest.raises(InputError, match="was begun with another weights"):
        segment(lambda: other, tree, tmp_path / "out", existing="continue")
    (tmp_path / "out" / "mine.txt").write_text("stays")
    segment(segmenter, tree, tmp_path / "out", "later.png", existing="overwrite", overlays=())
    assert (tmp_path / "out" / "mine.txt").exists()


def test_what_a_killed_writer_left_is_removed(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment(segmenter, tree, out, overlays=())
    for name in (".frames/.shot 1.0123456789ab.json", "masks/.shot 2.0123456789ab.png", "..state.0123456789ab.npz"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("half")
    assert segment(segmenter, tree, out, overlays=(), existing="continue") is None
    assert {path.name for path in out.iterdir()} == {".run.json", "masks", "objects.json"}
    assert not list((out / "masks").glob(".*"))


def test_overwriting_removes_nothing_before_everything_else_is_right(
    segmenter: Create, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment(segmenter, tree, out, overlays=())
    corrected = out / "masks" / "shot 4.png"
    with pytest.raises(InputError, match="is one of the results that --overwrite would remove; copy it"):
        segment(segmenter, tree, out, "first.png", f"shot 4={corrected}", existing="overwrite")
    with pytest.raises(InputError, match="no such file"):
        segment(segmenter, tree, out, "nothing.png", existing="overwrite")
    assert len(masks_of(out)) == 12
    dataset = tmp_path / "dataset"
    write_mask(dataset / "masks" / "0.png", read_mask(tree / "first.png"))
    for existing in ("refuse", "overwrite", "continue"):
        with pytest.raises(InputError, match="has masks, which is not of munet segment; name another folder"):
            segment(segmenter, tree, dataset, existing=existing)
    assert (dataset / "masks" / "0.png").exists()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="cannot be written to .*--out"):
        segment(segmenter, tree, file / "out")


def test_a_mask_that_was_repainted_is_another_run(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    write_mask(mask, read_mask(tree / "first.png"))
    segment(segmenter, tree, tmp_path / "out", str(mask), overlays=())
    write_mask(mask, read_mask(tree / "later.png"))
    with pytest.raises(InputError, match="begun with another masks"):
        segment(segmenter, tree, tmp_path / "out", str(mask), existing="continue")


@pytest.mark.parametrize("save_every", [0.0, 60.0])
def test_a_full_disk_leaves_what_was_written(
    segmenter: Create, tree: Path, tmp_path: Path, save_every: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from munet_jax.inference.files import results

    count = [0]

    def write(path: Path, labels: np.ndarray) -> None:
        count[0] += 1
        if count[0] == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_mask(path, labels)

    monkeypatch.setattr(results, "write_mask", write)
    with pytest.raises(InputError, match=r"\(no space left\); what was written stays readable.*--continue"):
        segment(segmenter, tree, tmp_path / "out", overlays=(), save_every=save_every)
    assert len(masks_of(tmp_path / "out")) == 4  # none of the frames that were segmented meanwhile
    monkeypatch.undo()
    segment(segmenter, tree, tmp_path / "out", overlays=(), existing="continue")
    segment(segmenter, tree, tmp_path / "whole", overlays=())
    for name, mask in masks_of(tmp_path / "whole").items():
        np.testing.assert_array_equal(masks_of(tmp_path / "out")[name], mask)
