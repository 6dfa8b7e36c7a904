"""Clips a second that threads and workers make, and what a clip costs in time of a core.

    python benchmarks/loader.py --data-root DAVIS [--year 2016] [--split train] [--crews 0,1 0,2 1,1 2,1] [--size 400]

A crew is WORKERS,THREADS (munet_jax/data/workers.py). Crews take turns, each with a loader of its own: clips of 6 frames with
all augmentations, in batches of 4, taken as fast as they come. On a machine that others use at the same time the time of
cores is what to compare; it counts the workers' too, which Linux tells. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from munet_jax.data.clips import ClipOptions
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part, make_loader
from munet_jax.data.sampling import ClipIndex
from munet_jax.data.workers import count_cores

BATCH, LENGTH = 4, 6
WARM = 5  # batches: the workers have begun, and nothing lies ready


def core_seconds() -> float:
    """Time of cores that this process and its workers have had."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def turn(batches: Iterator[Any], count: int) -> dict[str, float]:
    """One turn of a loader: `count` batches, after `WARM` others."""
    start = time.perf_counter()
    next(batches)
    first = time.perf_counter() - start
    for _ in range(WARM - 1):
        next(batches)
    start, cores = time.perf_counter(), core_seconds()
    for _ in range(count):
        next(batches)
    clips = count * BATCH
    return {
        "clips_per_second": clips / (time.perf_counter() - start),
        "core_ms_per_clip": 1000 * (core_seconds() - cores) / clips,
        "first_batch_seconds": first,
    }


def decode_clip(source: DavisSource, masks: Path, video: int, start: int) -> None:
    """Frames and label maps of one clip, decoded by Pillow and thrown away."""
    description = source.video(video)
    for frame in description.annotated[start : start + LENGTH]:
        np.asarray(Image.open(source.frame_file(video, frame)))
        np.asarray(Image.open(masks / description.name / f"{description.frame_names[frame]}.png"))


def decode_ms(source: DavisSource, masks: Path, clips: int) -> float:
    """Time of a core for decoding a clip's files and nothing else."""
    index = ClipIndex(source, LENGTH, LENGTH)
    places = index.draw(np.random.default_rng(0), clips)
    start = time.process_time()
    for place in places:
        decode_clip(source, masks, *place)
    return 1000 * (time.process_time() - start) / clips


def main() -> None:
    """Let the crews take turns, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--year", default="2017")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=400, help="height and width of the clips")
    parser.add_argument("--crews", nargs="+", default=["0,1", "0,2", "1,1", "2,1"], metavar="WORKERS,THREADS")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batches", type=int, default=12, help="that are timed in a turn")
    options = parser.parse_args()

    source = DavisSource(options.data_root, options.split, options.year)
    clips = ClipOptions(LENGTH, (options.size, options.size), max_objects=2)
    crews = [tuple(map(int, crew.split(","))) for crew in options.crews]
    turns: dict[tuple[int, ...], list[dict[str, float]]] = {crew: [] for crew in crews}
    decoding = []
    for number in range(options.turns):
        decoding.append(decode_ms(source, options.data_root / "Annotations/480p", options.batches * BATCH))
        for workers, threads in crews:
            batches = make_loader(
                [Part(source)], clips, batch_size=BATCH, seed=number, stride=LENGTH, workers=workers, threads=threads
            )
            turns[workers, threads].append(turn(batches, options.batches))
            del batches  # ends its workers
    result = {
        "cores": count_cores(),
        "size": options.size,
        "turns": options.turns,
        "decode_core_ms_per_clip": round(statistics.median(decoding), 1),
        "crews": [
            {"workers": workers, "threads": threads}
            | {name: round(statistics.median(one[name] for one in done), 2) for name in done[0]}
            | {"best_clips_per_second": round(max(one["clips_per_second"] for one in done), 2)}
            for (workers, threads), done in turns.items()
        ],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
