"""Whether a GPU computes the right numbers, and how fast: one command, eight minutes.

    python benchmarks/gpu_check.py --out DIR [--minutes 8] [--parts parity training inference accuracy] [--tiny]

DIR/check.json is written after each case, DIR/table.md (for docs/performance.md) at the end. What does not fit into the minutes
is recorded as skipped. Exit code 1: a part of the network differs from the CPU's by more than its bar; 2: something was skipped
or ended in an error. --tiny tries everything out on small networks, on any device. Needs a checkout, jax, flax, optax,
safetensors, Pillow, jaxtyping and ml_collections. The CPU's backend must be there too (JAX_PLATFORMS unset, or 'cuda,cpu').
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import machine
from benchmarks.gpu import accuracy, parity, speed
from benchmarks.gpu.record import Record
from benchmarks.gpu.table import write_table
from benchmarks.inference import load
from munet_jax.runtime.devices import matmul_precision

PARTS = ("parity", "training", "inference", "accuracy")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cudnn-cu12")
VARIABLES = ("XLA_FLAGS", "JAX_PLATFORMS", "NVIDIA_TF32_OVERRIDE", "XLA_PYTHON_CLIENT_MEM_FRACTION")
DTYPES = ("float32", "bfloat16", "float16")
TINY_CLIP = dataclasses.replace(accuracy.CLIP, frames=3, height=48, width=64)
TINY = speed.Work("testing", ("bfloat16",), 1, 2, (("tiny", "float32"), ("tiny", "bfloat16")), (1,), (4,), (48, 64), 3)


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = jax.local_devices()
    stats = devices[0].memory_stats() or {}
    return machine() | {
        "devices": [device.device_kind for device in devices],
        "platform": f"{devices[0].platform} {' '.join(devices[0].client.platform_version.split())}",
        "memory_gb": round(stats["bytes_limit"] / 1e9, 1) if "bytes_limit" in stats else None,
        "matmul_precision": matmul_precision(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "versions": versions,
    }


def check_parity(record: Record, *, tiny: bool) -> None:
    """Part by part; the inputs of a network's parts are made in its first case."""
    size = (48, 64) if tiny else (112, 144)
    for network in ("tiny",) if tiny else ("paper", "lite"):
        made = functools.cache(functools.partial(_parity, network, size))
        for part in parity.PARTS:
            record.add("parity", f"{network}, {part}", lambda made=made, part=part: made().case(part))


def _parity(network: str, size: tuple[int, int]) -> parity.Parity:
    model, variables, _ = load(network)
    return parity.Parity(model, size, jax.devices()[0], variables)


def check_accuracy(record: Record, *, tiny: bool) -> None:
    """Each type on the same clip."""
    made = functools.cache(lambda: accuracy.Accuracy(*(("tiny", TINY_CLIP) if tiny else ("lite", accuracy.CLIP))))
    for dtype in DTYPES:
        record.add("accuracy", dtype, lambda dtype=dtype: made().case(dtype))


def main(arguments: list[str] | None = None) -> int:
    """Check, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for check.json and table.md")
    parser.add_argument("--minutes", type=float, default=8.0, help="that it may take (default: 8)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the check (default: all)")
    parser.add_argument("--tiny", action="store_true", help="small networks: does the check itself work?")
    options = parser.parse_args(arguments)
    record, tiny = Record(options.out, options.minutes), options.tiny
    record.add("environment", "machine", environment)
    trained, segmented = speed.cases(TINY if tiny else speed.Work())
    if "parity" in options.parts:
        check_parity(record, tiny=tiny)
    for part, cases in (("training", trained), ("inference", segmented)):
        for name, work in cases.items() if part in options.parts else ():
            record.add(part, name, work)
    if "accuracy" in options.parts:
        check_accuracy(record, tiny=tiny)
    write_table(options.out, record.parts)
    print(f"written:  {record.path} and the table beside it; exit code {record.exit_code}")
    return record.exit_code


if __name__ == "__main__":
    sys.exit(main())
