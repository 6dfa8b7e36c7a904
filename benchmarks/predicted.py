"""What GPUs should take, from the FLOPs and bytes of the compiled steps: a prediction, of which nothing was measured.

    python benchmarks/predicted.py [--size 854x480] [--config protocol1_davis] [--clips 4]

A step takes the longer of its arithmetic at SHARE of a device's peak and its memory traffic at full bandwidth. Training adds the
reduction of all gradients by a ring, not overlapped with anything. FLOPs and bytes are those of XLA's CPU program in f32 with
direct convolutions; bf16 halves the bytes. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import lowered_steps, training_parts
from configs import common
from munet_jax.commands.weights import frame_size
from munet_jax.models import create_model
from munet_jax.models.memory import create_policy
from munet_jax.runtime.jit import CPU_OPTIONS
from munet_jax.training.options import TrainConfig
from munet_jax.training.step import abstract_batch, make_train_step

SHARE = 0.4  # of the peak, that convolutions of this size reach


class Device(NamedTuple):
    """By its maker's data sheet."""

    f32: float  # TFLOP/s without tensor cores
    half: float  # TFLOP/s of bf16 (RTX 2080 Ti: f16) products with sums in f32, dense
    memory: float  # GB/s
    link: float  # GB/s in each direction, to the other devices of a machine


class Cost(NamedTuple):
    """Of one step."""

    gflop: float
    gbyte: float


DEVICES = {
    "RTX 2080 Ti": Device(13.4, 53.8, 616, 16),
    "A100 SXM 80 GB": Device(19.5, 312, 2039, 300),
    "H100 SXM": Device(67, 989, 3350, 450),
    "H200 SXM": Device(67, 989, 4800, 450),
}
# What this program says of the paper's network at 480 x 854 with five frames in memory and the previous one, by objects.
PAPER_FRAMES = {1: (Cost(302, 3.7), Cost(74, 2.1)), 3: (Cost(517, 6.0), Cost(217, 6.0))}
NETWORK = 25.0  # GB/s from machine to machine, for each device
PER_MACHINE = 8


def seconds(cost: Cost, device: Device, *, half: bool) -> float:
    """Arithmetic or memory, whichever is longer."""
    peak, gbyte = (device.half, cost.gbyte / 2) if half else (device.f32, cost.gbyte)
    return max(cost.gflop / (1000 * SHARE * peak), gbyte / device.memory)


def reduction_seconds(gbyte: float, device: Device, devices: int) -> float:
    """A ring's all-reduce."""
    slowest = device.link if devices <= PER_MACHINE else min(device.link, NETWORK)
    return 2 * (devices - 1) / devices * gbyte / slowest


def cost_of(lowered: Any) -> Cost:
    """As XLA counts its compiled program."""
    analysis = lowered.compile(CPU_OPTIONS).cost_analysis()
    return Cost(analysis["flops"] / 1e9, analysis["bytes accessed"] / 1e9)


def frame_costs(size: tuple[int, int], objects: int, kept: int = 5) -> dict[str, Cost]:
    """Both halves of a step of the paper's network with `kept` frames in memory and the previous one."""
    config = common.get_config()
    config.inference.update(memory_capacity=kept + 1, read_chunk=0)
    predict, remember, _ = lowered_steps(create_model(config.model), create_policy(config.inference), size, objects)
    return {"predict": cost_of(predict), "remember": cost_of(remember)}


def training_cost(name: str, clips: int) -> tuple[Cost, float]:
    """A step of `clips` clips on one device, and the gigabytes of its gradients."""
    config, model, optimizer, state = training_parts(name)
    step = make_train_step(model, optimizer, TrainConfig(memory=config.train.memory))
    lowered = jax.jit(step).lower(state, abstract_batch(config, 1))
    one, gradients = cost_of(lowered), 4e-9 * sum(x.size for x in jax.tree.leaves(state.params))
    return Cost(clips * one.gflop, clips * one.gbyte), gradients


def main() -> None:
    """Predict and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=frame_size, default=(480, 854))
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--config", default="protocol1_davis")
    parser.add_argument("--clips", type=int, default=4, help="of a training step, on each device")
    options = parser.parse_args()
    result: dict[str, Any] = {"share_of_peak": SHARE, "frames": {}, "training": {}}
    for objects in options.objects:
        costs = frame_costs(options.size, objects)
        predicted = {
            name: {
                kind: round(1 / sum(seconds(cost, device, half=kind == "half") for cost in costs.values()), 1)
                for kind in ("f32", "half")
            }
            for name, device in DEVICES.items()
        }
        totals = {name: {"gflop": round(c.gflop, 1), "gbyte": round(c.gbyte, 2)} for name, c in costs.items()}
        result["frames"][objects] = totals | {"frames_per_second": predicted}
    cost, gradients = training_cost(options.config, options.clips)
    result["training"] = {
        "gflop": round(cost.gflop),
        "gbyte": round(cost.gbyte, 1),
        "gradients_gb": round(gradients, 3),
    }
    for name, device in DEVICES.items():
        for kind in ("f32", "half"):
            alone = seconds(cost, device, half=kind == "half")
            row: dict[str, Any] = {"seconds": round(alone, 3)}
            for devices in (8, 64):
                together = alone + reduction_seconds(gradients, device, devices)
                row[f"scaling to {devices}"] = round(alone / together, 3)
            result["training"][f"{name}, {kind}"] = row
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
