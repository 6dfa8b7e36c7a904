"""A run in pieces on one device, with its state in small files, is the run in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.gpu.pieces import INDEX, load_pieces, save_pieces
from munet_jax.checkpoints.weight_file import read_weights
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("grain", "tensorflow_datasets"):
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
from absl import flags
from benchmarks import gpu_train
from munet_jax.commands.scripts import run
sys.argv = ["gpu_train.py", *sys.argv[3:]]
run(gpu_train.main)
"""


def train(out: Path, *options: str) -> int:
    command = [sys.executable, "-c", PROGRAM, str(ROOT), os.environ["MUNET_TEST_PROGRAMS"], "--config"]
    command += [str(ROOT / "configs/testing.py"), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 3), result.stderr
    return result.returncode


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_pieces_are_one_run(tmp_path: Path) -> None:
    common = ["--config.train.ema_decay=0.9", "--minutes=5", "--config.data.augmentation.crop_scale_min=0.9"]
    assert train(tmp_path / "whole", *common, "--config.train.steps=4") == 0
    assert train(tmp_path / "one", *common, "--config.train.steps=4", "--minutes=0") == 3  # a step, whatever it takes
    assert json.loads((tmp_path / "one" / INDEX).read_text())["files"]
    options = [*common, "--config.train.steps=4", "--state"]
    assert train(tmp_path / "two", *options, str(tmp_path / "one"), "--workers=1") == 0
    steps = [[row["step"] for row in rows(tmp_path / name)] for name in ("whole", "one", "two")]
    assert steps == [[1, 2, 3, 4], [1], [2, 3, 4]]
    whole, parts = (read_weights(tmp_path / name / "weights.safetensors") for name in ("whole", "two"))
    assert whole[2] == parts[2] == 4
    for name, x in flatten(whole[0]).items():
        np.testing.assert_array_equal(x, flatten(parts[0])[name])


def test_files_are_small_and_whole(tmp_path: Path) -> None:
    state = {"a": np.arange(300, dtype=np.float32).reshape(3, 100), "b": np.asarray(jnp.ones((5,), jnp.bfloat16))}
    state["c"] = np.asarray(7, np.int32)
    paths = save_pieces(state, tmp_path, most=500)
    assert max(path.stat().st_size for path in paths) <= 500
    assert len(paths) == 4
    found = load_pieces(state, tmp_path)
    for name, x in state.items():
        np.testing.assert_array_equal(found[name], x)
        assert found[name].dtype == x.dtype
    with pytest.raises(InputError, match="of another network"):
        load_pieces({"a": state["a"]}, tmp_path)
    content = bytearray(paths[1].read_bytes())
    content[3] ^= 1
    paths[1].write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_pieces(state, tmp_path)
    paths[1].unlink()
    with pytest.raises(InputError, match="no whole state .* fetch all of its files"):
        load_pieces(state, tmp_path)
