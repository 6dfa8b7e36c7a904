"""What a long video costs: peak memory and seconds per frame at chosen frames, in a process of its own.

    python benchmarks/long_video.py [--policy every_k] [--size 854x480] [--objects 3] [--frames 500] [--at 50 500]
        [--capacity 10] [--full]

A small network (--full: the paper's) with random parameters on a picture that moves; nothing is read or written. Seconds are the
median of the last 20 frames up to each chosen one, frames that compiled something left out. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from configs import common
from munet_jax.cli import frame_size
from munet_jax.compiles import COMPILES
from munet_jax.inference import VideoSegmenter
from munet_jax.models import MUNet, create_model

WINDOW = 20


def random_variables(model: MUNet) -> Any:
    """Kernels that keep a signal's size, norms that change nothing: nothing has to be compiled to make them."""
    clip = (jnp.zeros((1, 2, 32, 32, 3)), jnp.zeros((1, 1, 32, 32)), jnp.ones((1, 1), bool))
    rng = np.random.default_rng(0)

    def draw(path: Any, x: Any) -> np.ndarray:
        if x.ndim == 4:
            return rng.standard_normal(x.shape, np.float32) / np.sqrt(np.prod(x.shape[:3]), dtype=np.float32)
        return np.full(x.shape, path[-1].key in ("scale", "var"), np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), *clip))


def first_mask(size: tuple[int, int], objects: int) -> np.ndarray:
    """Objects side by side."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    for number in range(objects):
        left = width * number // objects
        mask[height // 4 : height // 2, left : left + width // (2 * objects)] = number + 1
    return mask


def peak_bytes() -> int:
    """Of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Run the frames and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=("every_k", "adaptive"), default="every_k")
    parser.add_argument("--size", type=frame_size, default=(480, 854))
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--at", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--capacity", type=int, help="memory frames")
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()

    config = common.get_config()
    if not options.full:
        common.small(config)
    config.inference.update(memory_policy=options.policy, max_size=0, memory_interval=options.interval)
    if options.capacity:
        config.inference.memory_capacity = config.inference.adaptive.capacity = options.capacity
    model = create_model(config.model)
    segmenter = VideoSegmenter(model, random_variables(model), config)
    picture = np.random.default_rng(0).integers(0, 256, (*options.size, 3), np.uint8)
    seconds: list[float] = []
    result: dict[str, Any] = {"policy": options.policy, "size": options.size, "objects": options.objects, "frames": {}}
    for number in range(options.frames):
        frame = np.roll(picture, (number, 2 * number), axis=(0, 1))
        compiled, start = COMPILES.count, time.perf_counter()
        segmenter.step(frame, None if number else first_mask(options.size, options.objects))
        if COMPILES.count == compiled:
            seconds.append(time.perf_counter() - start)
        if number + 1 in options.at:
            result["frames"][number + 1] = {
                "peak_gb": round(peak_bytes() / 1e9, 4),
                "seconds": round(statistics.median(seconds[-WINDOW:]), 4) if seconds else None,
                "memory": segmenter.shapes["memory"],
            }
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
