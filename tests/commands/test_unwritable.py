"""Every command that writes, to places that cannot be written to: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.cli import main
from munet_jax.convert.tensor_files import write_safetensors
from munet_jax.data.masks import write_mask
from tests.data.test_static import make_static
from tests.data.trees import label_map, make_davis

ROOT = Path(__file__).parents[2]
TESTING = str(ROOT / "configs/testing.py")
FULL = Path("/dev/full")
NOWHERE = "/proc/nope"

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where nobody can make anything")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, variables: Any) -> Path:
    """Something for every command to read."""
    root = tmp_path_factory.mktemp("made")
    make_davis(root / "davis", ("cat",), frames=4)
    make_static(root / "ECSSD", "ecssd")
    write_mask(root / "first.png", label_map((1, 2), (48, 64)))
    (root / "map.json").write_text('{"#800000": 1, "#008000": 2}')
    write_weights(root / "w.safetensors", {"params": variables["params"], "batch_stats": {}}, testing.get_config(), 1)
    resnet = {"format": "munet_jax resnet", "depth": "18"}
    write_safetensors(root / "backbone.safetensors", resnet, {"params/a": np.zeros(1, np.float32)})
    save_file({"a": np.zeros(1, np.float32)}, root / "state.safetensors")
    masks = str(root / "davis/Annotations/480p")
    score = ["score", "--annotations", masks, "--results", masks, "--protocol", "davis2017", "--out"]
    assert main([*score, str(root / "scores")]) == 0
    return root


def commands(made: Path, out: str) -> dict[str, list[str]]:
    """Every command that writes, with what it needs to come to the point."""
    frames, masks = str(made / "davis/JPEGImages/480p"), str(made / "davis/Annotations/480p")
    weights = ["--weights", str(made / "w.safetensors")]
    truth = ["--annotations", masks, "--protocol", "davis2017"]
    davis = ["--config.data.kind=davis", f"--data-root={made / 'davis'}", "--config.evaluation.synthetic.videos=1"]
    scores = str(made / "scores")
    return {
        "segment": ["segment", f"{frames}/cat", "--mask", str(made / "first.png"), *weights, "--out", out],
        "demo": ["demo", f"{frames}/cat", "--mask", str(made / "first.png"), *weights, "--out", out],
        "score": ["score", *truth, "--results", masks, "--out", out],
        "compare": ["compare", scores, f"other={scores}", "--json", f"{out}/c.json"],
        "report": ["report", *truth, "--results", f"m={masks}", "--frames", frames, "--out", out],
        "prepare": ["prepare", "munet_davis/2017", "--source", str(made / "davis"), "--data-dir", out],
        "check-data": ["check-data", "--config", TESTING, *davis, "--sheet", f"{out}/sheet.png"],
        "convert-masks": ["convert-masks", masks, out, "--colours", str(made / "map.json")],
        "convert": ["convert", "--to-pytorch", str(made / "backbone.safetensors"), f"{out}/b.safetensors"],
        "export-weights": ["export-weights", str(made / "davis"), f"{out}/w.safetensors"],
        "export-step": ["export-step", str(made / "w.safetensors"), out, "--size", "64x48", "--objects", "1"],
    }


WRITERS = list(commands(Path(), ""))


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("place", [NOWHERE, "file/below"])
def test_places_where_nothing_can_be_made(
    made: Path, tmp_path: Path, command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file")
    out = str(tmp_path / place)
    assert main(commands(made, out)[command]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_where_nothing_can_be_made(script: str, tmp_path: Path, made: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    command = [sys.executable, script, "--config", TESTING, "--workdir", NOWHERE]
    command += ["--weights", str(made / "w.safetensors")] if script == "evaluate.py" else []
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert f"{NOWHERE}" in lines[0]
    assert "cannot be written to" in lines[0]
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
def test_a_full_disk_under_standard_output(made: Path) -> None:
    """Everything was done before it was told."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "munet_jax.cli",
        *commands(made, str(made / "told"))["segment"],
        "--overlay",
    ]
    with FULL.open("w") as full:
        result = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300
        )
    assert (made / "told/objects.json").is_file()
    assert "Traceback" not in result.stderr
    assert result.returncode == 0, result.stderr
