"""What parts of a frame cost by themselves: the MU-Layer in its forms, the memory read by frames, compiling, importing.

    python benchmarks/parts.py [--size 854x480] [--frames 1 5 10 20] [--repeats 7]

The paper's channels. All cases are run in turn, so that they have the same moments of a shared machine. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Ceiling, machine, median, seconds_of
from munet_jax.commands.weights import frame_size
from munet_jax.models.memory.readout import Memory, chunked_readout, counted_readout, readout
from munet_jax.models.mu_layer import MULayer
from munet_jax.models.padding import STRIDE
from munet_jax.runtime.jit import device_jit
from munet_jax.runtime.malloc import tune_malloc

ROOT = Path(__file__).parents[1]
FEATURES, KEY, VALUE = 1024, 128, 512
ROOM = 24  # frames of the memory
FORMS = {
    "softargmin, zero (paper)": {},
    "softargmax, mask": {"matching": "softargmax", "temperature": 0.07, "outside": "mask"},
    "softargmax, mask, 64 channels": {
        "matching": "softargmax", "temperature": 0.07, "outside": "mask", "channels": 64,
    },
}  # fmt: skip
COMPILE = """
import sys, time
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
sys.path.insert(0, sys.argv[2])
from benchmarks.common import first_mask, moving_picture
from benchmarks.inference import load
from munet_jax.inference import VideoSegmenter
size = tuple(map(int, sys.argv[4].split(",")))
network = load(sys.argv[3])
ready = time.perf_counter()
segmenter = VideoSegmenter(*network)
segmenter.step(moving_picture(size, 0), first_mask(size, 1))
segmenter.step(moving_picture(size, 1))
first = time.perf_counter()
for number in (2, 3):
    segmenter.step(moving_picture(size, number))
steady = (time.perf_counter() - first) / 2
print(first - ready - 2 * steady)
"""


def motion_cases(size: tuple[int, int], rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """The MU-Layer from two reduced features to the motion feature."""
    cases: dict[str, Callable[[], Any]] = {}
    for name, fields in FORMS.items():
        layer = MULayer(FEATURES, **fields)
        maps = [
            jnp.asarray(rng.standard_normal((1, *size, layer.channels or FEATURES // 4), np.float32)) for _ in range(2)
        ]
        variables = jax.jit(lambda key, maps=maps, layer=layer: layer.init(key, *maps))(jax.random.key(0))
        run = device_jit()(lambda variables, maps, layer=layer: layer.apply(variables, *maps).feature)
        cases[name] = lambda run=run, variables=variables, maps=maps: run(variables, maps)
    return cases


def read_cases(positions: int, frames: list[int], rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """One object's read with some of `ROOM` frames in memory: in parts, at once, of the best, and counted."""
    query = jnp.asarray(rng.standard_normal((1, positions, KEY), np.float32))
    keys = jnp.asarray(rng.standard_normal((1, 1, ROOM * positions, KEY), np.float32))
    values = jnp.asarray(rng.standard_normal((1, 1, ROOM * positions, VALUE), np.float32))
    forms: dict[str, Callable[..., Any]] = {
        "2048 at a time": lambda memory, query: chunked_readout(memory, query, chunk=2048),
        "all at once": readout,
        "best 32 of 2048 at a time": lambda memory, query: chunked_readout(memory, query, top_k=32, chunk=2048),
        "2048 at a time, with uses": lambda memory, query: counted_readout(memory, query, chunk=2048),
    }
    cases: dict[str, Callable[[], Any]] = {}
    for name, form in forms.items():
        run = device_jit()(form)
        for count in frames:
            occupied = jnp.arange(ROOM * positions)[None, None] < count * positions
            memory = Memory(keys, values, occupied)
            cases[f"{name}, {count} frames"] = lambda run=run, memory=memory: run(memory, query)
    return cases


def compile_seconds(network: str, size: tuple[int, int]) -> dict[str, float]:
    """Of a segmenter and its first two frames, less two later ones: with no cache, and with the one that this left."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", COMPILE, cache, str(ROOT), network, ",".join(map(str, size))]
        runs = [subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout for _ in range(2)]
    return dict(zip(("no cache", "warm cache"), (round(float(text), 2) for text in runs), strict=True))


def start_seconds(repeats: int) -> dict[str, float]:
    """Of a process that imports the package and what segments videos, and of `munet --help`."""
    programs = {
        "import munet_jax": ["-c", "import munet_jax"],
        "import munet_jax.inference": ["-c", "import munet_jax.inference"],
        "munet --help": ["-m", "munet_jax.cli", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, arguments in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def main() -> None:
    """Run all and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=frame_size, default=(480, 854))
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--networks", nargs="*", default=["lite", "paper"], help="whose compile time is measured")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    tune_malloc()
    height, width = (-(-length // STRIDE) for length in options.size)
    rng = np.random.default_rng(0)
    cases = motion_cases((height, width), rng) | read_cases(height * width, options.frames, rng)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    ceiling = Ceiling()
    for repeat in range(options.repeats + 1):
        ceiling.measure()
        for name, run in cases.items():
            taken = seconds_of(run)
            if repeat:  # the first one compiles
                seconds[name].append(taken)
    result = {
        "machine": machine(),
        "ceiling_gflops": ceiling.best,
        "seconds": {name: median(values) for name, values in seconds.items()},
        "compile_seconds": {name: compile_seconds(name, options.size) for name in options.networks},
        "start_seconds": start_seconds(options.repeats),
    }
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
