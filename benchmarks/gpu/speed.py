"""How fast a device trains and segments: what a step and a frame take, from host to host."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.common import first_mask, median, moving_picture, training_parts
from benchmarks.inference import load, with_copies
from benchmarks.predicted import DEVICES, PAPER_FRAMES, seconds
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.half import in_dtype
from munet_jax.training.options import TrainConfig
from munet_jax.training.parallel import AXIS, compile_step, replicate, split_batch
from munet_jax.training.step import abstract_batch, make_train_step

GIGA = 1e9
NEVER = 10**6  # frames from one that stays to the next: the memory stays as it was filled


class Work(NamedTuple):
    """What is measured; a smaller one for trying the check out."""

    train: str = "protocol1_davis"
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    clips: int = 4  # on each device
    steps: int = 10
    networks: tuple[tuple[str, str], ...] = (("paper", "float32"), ("paper", "bfloat16"), ("lite", "float32"))
    objects: tuple[int, ...] = (1, 3)
    kept: tuple[int, ...] = (6, 24)
    size: tuple[int, int] = (480, 854)
    frames: int = 30


def device_counts() -> list[int]:
    """1, 2, 4, ... of the devices that there are."""
    counts = [1]
    while 2 * counts[-1] <= jax.local_device_count():
        counts.append(2 * counts[-1])
    return counts


def peak_gb() -> float | None:
    """Of the fullest device, since the process began; None where devices do not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    found = [entry["peak_bytes_in_use"] for entry in stats if "peak_bytes_in_use" in entry]
    return round(max(found) / GIGA, 2) if found else None


def random_clips(config: ConfigDict, count: int) -> dict[str, np.ndarray]:
    """As many clips as `config.data` describes them, of noise."""
    shapes, rng = abstract_batch(config, count), np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, shapes.frames.shape, np.uint8),
        "labels": rng.integers(0, 1 + shapes.objects.shape[1], shapes.labels.shape, np.uint8),
        "valid": np.ones(shapes.valid.shape, bool),
        "objects": np.ones(shapes.objects.shape, bool),
    }


def equal_bits(one: Any, other: Any) -> bool:
    """Whether all arrays of two trees are the same."""
    pairs = zip(jax.tree.leaves(jax.device_get(one)), jax.tree.leaves(jax.device_get(other)), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def training(work: Work, dtype: str, devices: int, alone: float | None = None) -> dict[str, Any]:
    """A training step on that many devices.

    Args:
      work: what is trained.
      dtype: of the network.
      devices: of this process, each with `work.clips` clips.
      alone: clips a second of one device, for the scaling.
    """
    config, model, optimizer, start = training_parts(work.train)
    model, options = in_dtype(model, dtype), TrainConfig(memory=config.train.memory)
    shapes = abstract_batch(config, work.clips)
    cost = jax.jit(make_train_step(model, optimizer, options)).lower(start, shapes).cost_analysis() or {}
    flops = cost.get("flops")  # as XLA counts them before it chooses kernels
    clips = work.clips * devices
    batch = split_batch(random_clips(config, clips), devices)
    step = compile_step(make_train_step(model, optimizer, options, axis_name=AXIS), replicate(start, devices), batch)
    repeated = [step(replicate(start, devices), batch) for _ in range(2)]  # a step gives up its state's memory
    repeatable, state = equal_bits(*repeated), repeated[0][0]
    del repeated
    handed, began = [], time.perf_counter()
    for _ in range(work.steps):
        before = time.perf_counter()
        state, metrics = step(state, batch)
        handed.append(time.perf_counter() - before)
    loss = float(np.asarray(jax.block_until_ready(metrics)["loss"])[0])
    taken, analysis = (time.perf_counter() - began) / work.steps, step.memory_analysis()
    return {
        "ms": round(1000 * taken, 2),
        "clips_per_second": round(clips / taken, 2),
        "scaling": None if alone is None else round(clips / taken / (devices * alone), 3),
        "tflop_per_second": None if flops is None else float(f"{flops * devices / taken / 1e12:.3g}"),
        "peak_gb": peak_gb(),
        "temporaries_gb": None if analysis is None else round(analysis.temp_size_in_bytes / GIGA, 2),
        "host_ms": round(1000 * median(handed), 2),
        "same_bits_twice": repeatable,
        "finite": bool(np.isfinite(loss)),
    }


def inference(
    work: Work, network: str, dtype: str, objects: int, kept: int, *, at_once: bool = False
) -> dict[str, Any]:
    """Frames of `work.size` with `kept` frames in memory, the previous one among them; read in parts, or `at_once`."""
    model, variables, config = load(network)
    if at_once:
        config.inference.read_chunk = 0
    config.inference.update(dtype=dtype, memory_interval=NEVER, memory_capacity=max(kept, 3))
    segmenter = VideoSegmenter(model, variables, config)
    frames = [moving_picture(work.size, number) for number in range(4)]
    segmenter.step(frames[0], first_mask(work.size, objects))
    segmenter._kept = kept - 1
    (view,) = segmenter._views
    view.state = view.state._replace(bank=with_copies(view.state.bank.grow(kept - 1), kept - 1))
    taken = []
    for number in range(work.frames + 2):
        before = time.perf_counter()
        segmenter.step(frames[number % len(frames)])
        taken.append(time.perf_counter() - before)
    taken = taken[2:]  # the first ones compile
    found = {
        "median_ms": round(1000 * median(taken), 2),
        "p95_ms": round(1000 * float(np.percentile(taken, 95)), 2),
        "fps": round(1 / median(taken), 1),
        "peak_gb": peak_gb(),
    }
    return found | {"predicted_fps": predicted_fps(work, network, dtype, objects, kept)}


def predicted_fps(work: Work, network: str, dtype: str, objects: int, kept: int) -> float | None:
    """Of benchmarks/predicted.py, where it speaks about this case and device."""
    kind = jax.devices()[0].device_kind
    device = next((DEVICES[name] for name in DEVICES if name.split()[0] in kind.split()), None)
    if device is None or network != "paper" or work.size != (480, 854) or kept != 6 or objects not in PAPER_FRAMES:
        return None
    costs = PAPER_FRAMES[objects]
    return round(1 / sum(seconds(cost, device, half=dtype != "float32") for cost in costs), 1)


def cases(work: Work) -> tuple[dict[str, Any], dict[str, Any]]:
    """By name: training and inference, each a function without arguments; larger ones come later."""
    rates: dict[str, float] = {}

    def train(dtype: str, devices: int) -> dict[str, Any]:
        found = training(work, dtype, devices, rates.get(dtype))
        rates.setdefault(dtype, found["clips_per_second"])
        return found

    trained = {
        f"{dtype}, {devices} device{'s' if devices > 1 else ''}": functools.partial(train, dtype, devices)
        for devices in device_counts()
        for dtype in work.dtypes
    }
    segmented = {
        f"{network}, {dtype}, {objects} object{'s' if objects > 1 else ''}, {kept} frames": functools.partial(
            inference, work, network, dtype, objects, kept
        )
        for kept in work.kept
        for objects in work.objects
        for network, dtype in work.networks
    }
    # What a read in parts, which needs less memory, costs where it costs most.
    segmented |= {
        f"{network}, {dtype}, {work.objects[-1]} object(s), {work.kept[-1]} frames read at once": functools.partial(
            inference, work, network, dtype, work.objects[-1], work.kept[-1], at_once=True
        )
        for network, dtype in work.networks
    }
    return trained, segmented
