"""Exported steps: they run without the package, and give what the segmenter gives."""

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
from munet_jax.commands.cli import main
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.export import PLATFORMS, export_steps
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
steps = json.loads((folder / "steps.json").read_text())
first, query, memorise = (export.deserialize((folder / f"{name}.stablehlo").read_bytes()).call
                          for name in ("first", "query", "memorise"))
bank = [jnp.zeros(x["shape"], x["dtype"]) for x in steps["query"][3:6]]
masks, objects = jnp.asarray(clip["masks"]), jnp.asarray(clip["objects"])
left, kept, found = None, 0, []
for number, frame in enumerate(clip["frames"]):
    frame = jnp.asarray(frame)[None]
    if number == 0:
        left = first(frame)
    else:
        left = query(frame, left["reduced"], masks, *bank, objects)
        masks = left["probabilities"]
        found.append(np.asarray(masks))
    stays = number % steps["memory_interval"] == 0
    slot = steps["first_slot"] + kept if stays else steps["previous_slot"]
    kept += stays
    bank = memorise(frame, masks, left["key"], *bank, objects, jnp.int32(slot))
    bank = [bank[name] for name in ("keys", "values", "occupied")]
np.save(sys.argv[3], np.stack(found))
"""


def test_the_steps_run_without_the_package(
    segmenter: Callable[..., VideoSegmenter], variables: Any, video: Any, tmp_path: Path
) -> None:
    frames, labels = video
    weights = tmp_path / "weights.safetensors"
    config = settings(memory_interval=2, memory_capacity=8)
    write_weights(weights, {"params": variables["params"], "batch_stats": {}}, config, 1)
    command = ["export-steps", str(weights), str(tmp_path / "steps"), "--size", "72x56", "--objects", "2"]
    assert main([*command, "--platforms", "cpu"]) == 0
    masks = np.stack([labels[0] == 1, labels[0] == 2]).astype(np.float32)[None]
    np.savez(tmp_path / "clip.npz", frames=np.stack(frames), masks=masks, objects=np.ones((1, 2), bool))
    arguments = [str(tmp_path / name) for name in ("steps", "clip.npz", "found.npy")]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    stream = segmenter(memory_interval=2, memory_capacity=8)
    stream.step(frames[0], labels[0])
    for frame, found in zip(frames[1:], np.load(tmp_path / "found.npy"), strict=True):
        expected = stream.step(frame, outputs=("probabilities",)).probabilities
        np.testing.assert_allclose(np.moveaxis(found[0], 0, -1), expected[..., 1:], atol=1e-4)


def test_one_file_serves_all_platforms(segmenter: Callable[..., VideoSegmenter], tmp_path: Path) -> None:
    stream = segmenter()
    paths = export_steps(stream.model, stream.variables, stream.config, tmp_path, size=(40, 56), objects=3)
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
        ({"max_size": 32}, {}, "works on frames of 56 x 40 at 45 x 32: export that size"),
        ({"flip": True}, {}, "flip and scales are not part"),
        ({"memory_policy": "adaptive"}, {}, "must be 'every_k' here"),
    ):
        stream = segmenter(**changes)
        arguments = {"size": (40, 56), "objects": 1} | options
        with pytest.raises(InputError, match=reason):
            export_steps(stream.model, stream.variables, stream.config, tmp_path, **arguments)


def test_a_size_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export-steps", "x.safetensors", str(tmp_path), "--size", "big", "--objects", "1"])
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
