"""What a long video costs: peak memory and seconds per frame at chosen frames, in a process of its own.

    python benchmarks/long_video.py [--policy every_k] [--size 854x480] [--objects 3] [--frames 500] [--at 50 500]
        [--capacity 10] [--full]

A small network (--full: the paper's) with random parameters on a picture that moves; nothing is read or written. Then the
states ten frames before the first and at the last chosen frame are stepped in turn, so that both have the same moments of a
shared machine: their medians and the median of their ratios. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import first_mask, peak_bytes, random_variables
from configs import common
from munet_jax.commands.weights import frame_size
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.options import InferenceConfig
from munet_jax.models import create_model
from munet_jax.runtime.fields import choices_of
from munet_jax.runtime.malloc import tune_malloc

TURNS = 15
SETTLE = 10  # frames: two of them go to memory to stay


def timed(segmenter: VideoSegmenter, frame: np.ndarray) -> float:
    """Seconds of a step; its labels are on the host when it returns."""
    start = time.perf_counter()
    segmenter.step(frame)
    return time.perf_counter() - start


def main() -> None:
    """Run the frames and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=choices_of(InferenceConfig, "memory_policy"), default="every_k")
    parser.add_argument("--size", type=frame_size, default=(480, 854))
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--at", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--capacity", type=int, help="memory frames")
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    if not SETTLE < min(options.at) <= max(options.at) <= options.frames:
        parser.error(f"--at takes numbers above {SETTLE} and up to --frames")

    config = common.get_config()
    if not options.full:
        common.small(config)
    config.inference.update(memory_policy=options.policy, max_size=0, memory_interval=options.interval)
    if options.capacity:
        config.inference.memory_capacity = config.inference.adaptive.capacity = options.capacity
    model = create_model(config.model)
    tune_malloc()
    variables = random_variables(model)
    segmenter = VideoSegmenter(model, variables, config)
    picture = np.random.default_rng(0).integers(0, 256, (*options.size, 3), np.uint8)
    states: list[dict[str, np.ndarray]] = []
    result: dict[str, Any] = {"policy": options.policy, "size": options.size, "objects": options.objects, "frames": {}}
    for number in range(options.frames):
        frame = np.roll(picture, (number, 2 * number), axis=(0, 1))
        segmenter.step(frame, None if number else first_mask(options.size, options.objects))
        if number + 1 == min(options.at) - SETTLE:
            # Kept for the timing below. The steps until the first reading have its memory beside their own, as all later ones.
            states.append(segmenter.save_state())
        if number + 1 in options.at:
            result["frames"][number + 1] = {
                "peak_gb": round(peak_bytes() / 1e9, 4),
                "memory": segmenter.shapes["memory"],
            }
    early, late = VideoSegmenter(model, variables, config), segmenter
    early.load_state(states[0])
    seconds = [[timed(stream, frame) for stream in (early, late)] for _ in range(TURNS)][1:]
    result["seconds_early"], result["seconds_late"] = (
        round(statistics.median(x), 4) for x in zip(*seconds, strict=True)
    )
    result["late_over_early"] = round(statistics.median(after / before for before, after in seconds), 4)
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
