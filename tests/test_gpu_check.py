"""The check of a GPU, on what is here: CPU against CPU in one process, with small networks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import gpu_check
from benchmarks.gpu import parity
from benchmarks.gpu.record import FAILED, INCOMPLETE, PASSED, Record
from benchmarks.gpu.table import TABLE
from tests.quick_compile import QUICK

ROOT = Path(__file__).parents[1]
# The command where a machine with a GPU has no more than its docstring says.
PROGRAM = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("grain", "tensorflow_datasets", "tensorflow", "orbax", "av", "tqdm", "matplotlib"):
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_everything_tiny_without_what_reads_data(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "benchmarks/gpu_check.py", "--tiny", "--out", str(tmp_path)]
    environment = {**os.environ, "XLA_FLAGS": f"{QUICK} --xla_force_host_platform_device_count=1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == PASSED, result.stdout + result.stderr
    found = json.loads((tmp_path / "check.json").read_text())
    assert set(found) == {"exit_code", "environment", *gpu_check.PARTS}
    assert set(found["parity"]) == {f"tiny, {part}" for part in parity.PARTS}
    for name, case in found["parity"].items():
        assert case["highest"] == case["default"] == 0, name  # the same device
        assert 1e-5 < case["half"] < 0.1 or "losses" in name
        assert (case["half"] > 3e-2) == ("half_of_the_cpu" in case)
    for case in found["training"].values():
        assert case["same_bits_twice"]
        assert case["finite"]
        assert case["tflop_per_second"] > 0
    assert len(found["inference"]) == 4
    assert found["accuracy"]["float32"]["differing_pixels"] == 0
    table = (tmp_path / TABLE).read_text()
    assert table.count("\n| tiny, ") == len(parity.PARTS) + 4


@pytest.mark.usefixtures("standard_promotion")
def test_a_part_that_computes_something_else_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a device would whose products are wrong in one place."""
    whole = parity.Parity.run

    def broken(self: parity.Parity, part: str, device: Any, precision: str) -> Any:
        found = whole(self, part, device, precision)
        wrong = part == "memory read" and device == jax.devices()[1]
        return found * np.float32(1 + 2e-4) if wrong else found

    def other_device(model: Any, size: Any, _: Any, variables: Any) -> parity.Parity:
        return plain(model, size, jax.devices()[1], variables)

    plain = parity.Parity
    monkeypatch.setattr(parity.Parity, "run", broken)
    monkeypatch.setattr(gpu_check.parity, "Parity", other_device)
    monkeypatch.setattr(parity, "PARTS", {name: parity.PARTS[name] for name in ("Enc-Q", "memory read")})
    assert gpu_check.main(["--out", str(tmp_path), "--tiny", "--parts", "parity"]) == FAILED
    found = json.loads((tmp_path / "check.json").read_text())["parity"]
    assert found["tiny, Enc-Q"]["passed"]
    assert not found["tiny, memory read"]["passed"]
    assert found["tiny, memory read"]["highest"] == pytest.approx(2e-4, rel=0.05)
    assert "| tiny, memory read | 0.0002 |" in (tmp_path / TABLE).read_text()


def test_what_does_not_fit_or_fails_is_incomplete(tmp_path: Path) -> None:
    record = Record(tmp_path, minutes=1.0)
    record.add("one", "quick", lambda: {"passed": True})
    assert record.exit_code == PASSED
    record.add("one", "broken", lambda: {"value": 1 // 0})
    assert record.exit_code == INCOMPLETE
    late = Record(tmp_path, minutes=0.0)
    late.add("one", "quick", lambda: {"passed": True})
    assert late.exit_code == INCOMPLETE
    assert "skipped" in json.loads(late.path.read_text())["one"]["quick"]
    record.add("one", "wrong", lambda: {"passed": False})
    found = json.loads(record.path.read_text())
    assert (record.exit_code, found["exit_code"]) == (FAILED, FAILED)
    assert found["one"]["broken"]["error"] == "ZeroDivisionError: integer division or modulo by zero"
    assert parity.largest_error(np.float32([1.0, np.nan]), np.float32([1.0, 2.0])) == np.inf
