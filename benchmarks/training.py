"""What a training step costs: seconds per clip, FLOPs, memory, on one CPU device and on two that share the cores.

    python benchmarks/training.py [--config protocol1_davis] [--devices 1 2] [--batch 2] [--steps 3]

Random clips and parameters. Each number of devices has a process of its own (it is fixed when jax starts), which also measures
the machine's ceiling between its steps; the processes take turns, --rounds times. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Ceiling, median, peak_bytes, training_parts
from munet_jax.runtime.malloc import tune_malloc
from munet_jax.training.options import TrainConfig
from munet_jax.training.parallel import AXIS, compile_step, replicate, split_batch
from munet_jax.training.step import abstract_batch, make_train_step


def measure(name: str, devices: int, batch: int, steps: int) -> dict[str, Any]:
    """In this process: medians of `steps` steps after the first."""
    tune_malloc()
    config, model, optimizer, state = training_parts(name)
    shapes = abstract_batch(config, batch)
    rng = np.random.default_rng(0)
    clips = {
        "frames": rng.integers(0, 256, shapes.frames.shape, np.uint8),
        "labels": rng.integers(0, 1 + shapes.objects.shape[1], shapes.labels.shape, np.uint8),
        "valid": np.ones(shapes.valid.shape, bool),
        "objects": np.ones(shapes.objects.shape, bool),
    }
    step = make_train_step(model, optimizer, TrainConfig(memory=config.train.memory), axis_name=AXIS)
    state, clips = replicate(state, devices), split_batch(clips, devices)
    start = time.perf_counter()
    compiled = compile_step(step, state, clips)
    compiling, ceiling, seconds = time.perf_counter() - start, Ceiling(), []
    for number in range(steps + 1):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, clips))
        if number:
            seconds.append(time.perf_counter() - start)
        ceiling.measure()
    gflop = devices * compiled.cost_analysis()["flops"] / 1e9
    return {
        "devices": devices,
        "seconds": median(seconds),
        "seconds_per_clip": median([s / batch for s in seconds]),
        "compile_seconds": round(compiling, 1),
        "gflop": round(gflop, 1),
        "share_of_ceiling": round(gflop / median(seconds) / ceiling.best["convolution"], 3),
        "ceiling_gflops": ceiling.best,
        "peak_gb": round(peak_bytes() / 1e9, 2),
        "loss": round(float(metrics["loss"][0]), 4),
    }


def in_process(options: argparse.Namespace, devices: int) -> dict[str, Any]:
    """`measure` in a process that has that many CPU devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, __file__, "--one", str(devices), "--config", options.config]
    command += ["--batch", str(options.batch), "--steps", str(options.steps)]
    environment = {**os.environ, "XLA_FLAGS": flags.strip()}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Take turns and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="protocol1_davis", help="of configs/, NAME or NAME:FORM")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=2, help="clips of a step, on all devices together")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        result: Any = measure(options.config, options.one, options.batch, options.steps)
    else:
        result = [in_process(options, devices) for _ in range(options.rounds) for devices in options.devices]
    json.dump(result, sys.stdout, indent=None if options.one else 2)
    print()


if __name__ == "__main__":
    main()
