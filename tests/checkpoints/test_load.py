"""What loading a network brings into a program."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import munet_jax
munet_jax.load("lite")
print(sorted(name for name in ("orbax", "grain", "optax", "tensorflow_datasets", "munet_jax.training") if name in sys.modules))
"""


def test_a_file_of_weights_needs_neither_training_nor_orbax() -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
