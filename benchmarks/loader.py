"""What a training batch costs on the host, beside decoding its files and nothing else.

    python benchmarks/loader.py --data-root DAVIS [--year 2016] [--split train] [--batches 12]

Both sides are run in turn, batch by batch, with two threads: 4 clips of 6 frames, 400 x 400, all augmentations. Prints JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from munet_jax.data.clips import ClipOptions
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part, make_loader
from munet_jax.data.sampling import ClipIndex
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource

THREADS, BATCH, LENGTH, SIZE = 2, 4, 6, (400, 400)


def decode_clip(source: DavisSource, video: int, start: int, masks: Path) -> None:
    """Frames and label maps of one clip, decoded by Pillow and thrown away."""
    description = source.video(video)
    for frame in description.annotated[start : start + LENGTH]:
        np.asarray(Image.open(source.frame_file(video, frame)))
        np.asarray(Image.open(masks / description.name / f"{description.frame_names[frame]}.png"))


def main() -> None:
    """Time both sides and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--year", default="2017")
    parser.add_argument("--split", default="train")
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()

    source = DavisSource(options.data_root, options.split, options.year)
    masks = options.data_root / "Annotations/480p"
    index = ClipIndex(source, LENGTH, LENGTH)
    places = np.random.default_rng(0).permutation(len(index))
    # One batch at a time, its clips side by side: both sides have two threads and nothing made beforehand.
    clip = ClipOptions(LENGTH, SIZE, max_objects=2)
    loader = make_loader([Part(source)], clip, batch_size=1, seed=0, threads=0)
    samples = [loader, make_loader([Part(source)], clip, batch_size=1, seed=1, threads=0)]
    decode_seconds, loader_seconds = [], []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for batch in range(options.batches + 1):
            chosen = [index[int(places[(batch * BATCH + k) % len(places)])] for k in range(BATCH)]
            start = time.perf_counter()
            list(pool.map(lambda place: decode_clip(source, *place, masks), chosen))
            middle = time.perf_counter()
            list(pool.map(lambda stream: [next(stream) for _ in range(BATCH // THREADS)], samples))
            end = time.perf_counter()
            if batch:  # the first one warms up
                decode_seconds.append(middle - start)
                loader_seconds.append(end - middle)

    start = time.perf_counter()
    videos = len(ClipIndex(SyntheticSource(SyntheticConfig(videos=10_000)), LENGTH))
    opened = time.perf_counter() - start
    decode, made = statistics.median(decode_seconds), statistics.median(loader_seconds)
    result = {
        "decode_ms": round(1000 * decode, 1),
        "batch_ms": round(1000 * made, 1),
        "ratio": round(made / decode, 2),
        "index_of_10000_videos_s": round(opened, 2),
        "clips_in_index": videos,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "batches": options.batches,
    }
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
