"""The exported step: it runs without the package, and gives what the segmenter gives."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jax import export

from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.cli import main
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.export import PLATFORMS, export_step
from munet_jax.runtime.errors import InputError
from tests.inference.conftest import settings

# What docs/library.md shows, with the package out of reach.
PROGRAM = """
import sys
sys.modules["munet_jax"] = None
import json, pathlib
import jax.numpy as jnp, numpy as np
from jax import export
folder, clip = pathlib.Path(sys.argv[1]), np.load(sys.argv[2])
step = export.deserialize((folder / "step.stablehlo").read_bytes()).call
shapes = json.loads((folder / "step.json").read_text())
state = {name: jnp.zeros(x["shape"], x["dtype"]) for name, x in shapes["state"].items()}
nothing = [jnp.zeros(shapes[name]["shape"], shapes[name]["dtype"]) for name in ("labels", "named")]
given = [jnp.asarray(clip["labels"], jnp.int32)[None], jnp.ones_like(nothing[1])]
found = []
for number, frame in enumerate(clip["frames"]):
    after = step(state, jnp.asarray(frame)[None], *(nothing if number else given))
    state = {name: after[name] for name in state}
    found.append(np.asarray(after["probabilities"]))
np.save(sys.argv[3], np.stack(found))
"""


@pytest.mark.parametrize("policy", ["every_k", "adaptive"])
def test_the_step_runs_without_the_package(
    segmenter: Callable[..., VideoSegmenter], variables: Any, video: Any, tmp_path: Path, policy: str
) -> None:
    frames, labels = video
    weights = tmp_path / "weights.safetensors"
    options = {"memory_interval": 2, "memory_capacity": 8, "memory_policy": policy}
    write_weights(weights, {"params": variables["params"], "batch_stats": {}}, settings(**options), 1)
    command = ["export-step", str(weights), str(tmp_path / "step"), "--size", "72x56", "--objects", "2"]
    assert main([*command, "--platforms", "cpu"]) == 0
    np.savez(tmp_path / "clip.npz", frames=np.stack(frames), labels=labels[0])
    arguments = [str(tmp_path / name) for name in ("step", "clip.npz", "found.npy")]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    stream = segmenter(**options)
    for number, (frame, found) in enumerate(zip(frames, np.load(tmp_path / "found.npy"), strict=True)):
        expected = stream.step(frame, None if number else labels[0], outputs=("probabilities",)).probabilities
        np.testing.assert_allclose(np.moveaxis(found[0], 0, -1), expected[..., 1:], atol=1e-4)


def test_one_file_serves_all_platforms(segmenter: Callable[..., VideoSegmenter], tmp_path: Path) -> None:
    stream = segmenter()
    paths = export_step(*stream.network[:2], stream.config, tmp_path, size=(40, 56), objects=3)
    assert json.loads(paths[-1].read_text())["platforms"] == list(PLATFORMS)
    for path in paths[:-1]:
        exported = export.deserialize(path.read_bytes())
        assert exported.platforms == PLATFORMS
        program = exported.mlir_module()
        assert "f64" not in program
        assert "callback" not in program
        assert "stablehlo.convolution" in program
    for changes, options, reason in (
        ({}, {"platforms": ["metal"]}, "metal: choose of cpu, cuda, tpu"),
        ({}, {"size": (8, 40)}, "give at least 16 pixels"),
        ({}, {"objects": 17}, "1 to 16 objects"),
        ({"max_size": 32}, {}, "max_size works on frames of 56 x 40 at 45 x 32: export that size"),
        ({"min_size": 80}, {}, "min_size works on frames of 56 x 40 at 112 x 80: export that size"),
        ({"flip": True}, {}, "flip and scales are not part"),
    ):
        stream = segmenter(**changes)
        arguments = {"size": (40, 56), "objects": 1} | options
        with pytest.raises(InputError, match=reason):
            export_step(*stream.network[:2], stream.config, tmp_path, **arguments)


def test_a_program_that_cannot_be_written_leaves_no_description_of_an_older_one(
    segmenter: Callable[..., VideoSegmenter], tmp_path: Path
) -> None:
    (tmp_path / "step.stablehlo").mkdir()
    (tmp_path / "step.json").write_text("{}")
    stream = segmenter()
    with pytest.raises(InputError, match="a folder is where a file would have to be"):
        export_step(*stream.network[:2], stream.config, tmp_path, size=(40, 56), objects=1, platforms=["cpu"])
    assert not (tmp_path / "step.json").exists()


def test_a_size_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export-step", "x.safetensors", str(tmp_path), "--size", "big", "--objects", "1"])
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
