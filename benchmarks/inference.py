"""What a frame costs: seconds and FLOPs of its steps, and the share of what the machine can do.

    python benchmarks/inference.py [--networks lite paper] [--sizes 854x480 427x240] [--objects 1 3] [--memory 5]
        [--policies every_k adaptive] [--convolutions winograd direct] [--max-size 0] [--frames 10]

'lite' is the shipped network, 'paper' the paper's with random parameters. All cases are stepped in turn, so that they have the
same moments of a shared machine; what is compiled is left out. The memory of 'every_k' begins with --memory frames that stay (the
first one's keys and values, copied) beside the previous one, that of 'adaptive' with as many frames that were stepped through.
Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import munet_jax
from benchmarks.common import Ceiling, first_mask, machine, median, moving_picture, peak_bytes, random_variables
from configs import common, testing
from munet_jax.commands.weights import frame_size
from munet_jax.inference import VideoSegmenter, views
from munet_jax.models import create_model
from munet_jax.models.memory import POLICIES, FrameBank
from munet_jax.models.memory.every_k import FIRST_SLOT
from munet_jax.runtime.jit import DeviceJit
from munet_jax.runtime.malloc import tune_malloc

STEPS = ("predict_step", "remember_step")


class Probe:
    """A compiled step that says how long its calls took and what it computes."""

    def __init__(self, step: DeviceJit) -> None:
        """Wraps a step of the segmenter."""
        self._step = step
        self.seconds: list[float] = []
        self._shapes: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        """The step's result, when it is there."""
        self._shapes = jax.tree.map(shape_of, arguments)  # some arguments' memory is given up
        start = time.perf_counter()
        result = jax.block_until_ready(self._step(*arguments))
        self.seconds.append(time.perf_counter() - start)
        return result

    def gflop(self) -> float:
        """Of the last call, as XLA counts."""
        analysis = self._step.jitted.lower(*self._shapes).cost_analysis()
        return round(analysis["flops"] / 1e9, 2)


def shape_of(x: Any) -> Any:
    """Of an array; other things stay."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, (jax.Array, np.ndarray)) else x


class Case:
    """One network on one kind of video."""

    def __init__(
        self,
        network: str,
        size: tuple[int, int],
        objects: int,
        kept: int,
        policy: str,
        convolutions: str,
        max_size: int,
    ) -> None:
        """Nothing is compiled yet."""
        self.named = {
            "network": network,
            "size": f"{size[1]}x{size[0]}",
            "objects": objects,
            "memory": kept,
            "policy": policy,
            "convolutions": convolutions,
            "max_size": max_size,
        }
        self.size, self.objects, self.kept = size, objects, kept
        model, variables, config = load(network)
        config.inference.update(memory_policy=policy, winograd=convolutions == "winograd", max_size=max_size)
        self.segmenter = VideoSegmenter(model, variables, config)
        self.probes = {name: Probe(getattr(views, name)) for name in STEPS}
        self.seconds: list[float] = []
        self.number = 0

    def step(self) -> None:
        """The next frame."""
        mask = None if self.number else first_mask(self.size, self.objects)
        frame = moving_picture(self.size, self.number)
        for name, probe in self.probes.items():
            setattr(views, name, probe)
        start = time.perf_counter()
        self.segmenter.step(frame, mask)
        self.seconds.append(time.perf_counter() - start)
        self.number += 1

    def fill(self) -> None:
        """Bring the memory to its frames; what has been timed so far is forgotten."""
        start = time.perf_counter()
        self.step()
        self.step()
        self.first_seconds = time.perf_counter() - start
        until = self.kept
        (view,) = self.segmenter._views
        if self.named["policy"] == "every_k":
            self.segmenter._kept, until = self.kept, self.number + 1  # one more, which may compile for a larger memory
            view.state = view.state._replace(bank=with_copies(view.state.bank.grow(self.kept), self.kept))
        while self.number < until:
            self.step()
        self.seconds.clear()
        for probe in self.probes.values():
            probe.seconds.clear()

    def result(self, ceiling: Ceiling) -> dict[str, Any]:
        """Medians, FLOPs, and the share of the ceiling's convolution."""
        found = self.named | {"seconds": median(self.seconds), "fps": round(1 / median(self.seconds), 2)}
        found["first_two_frames_seconds"] = round(self.first_seconds, 2)
        for name, probe in self.probes.items():
            gflop, seconds = probe.gflop(), median(probe.seconds)
            share = gflop / seconds / ceiling.best["convolution"]
            found[name] = {"seconds": seconds, "gflop": gflop, "share_of_ceiling": round(share, 3)}
        return found


def with_copies(bank: FrameBank, kept: int) -> FrameBank:
    """The first frame's part of the memory in as many slots as there are frames that stay."""

    def copied(x: Any) -> Any:
        return x.at[:, :, FIRST_SLOT : FIRST_SLOT + kept].set(x[:, :, FIRST_SLOT : FIRST_SLOT + 1])

    parts = {name: copied(getattr(bank, name)) for name in ("keys", "values", "occupied")}
    return bank._replace(**parts, kept=np.int32(kept))


def load(network: str) -> tuple[Any, Any, Any]:
    """Model, variables, config; 'tiny' is that of the tests, with random parameters too."""
    if network not in ("paper", "tiny"):
        model, variables, config = munet_jax.load(network)
        config.inference.update(min_size=0, object_size=0)  # frames are worked on at the size that is asked for
        return model, variables, config
    config = (common if network == "paper" else testing).get_config()
    model = create_model(config.model)
    return model, random_variables(model), config


def main() -> None:
    """Step all cases in turn and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lite", "paper"])
    parser.add_argument("--sizes", type=frame_size, nargs="+", default=[(480, 854), (240, 427)])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--frames", type=int, default=10, help="that are timed")
    parser.add_argument(
        "--memory", type=int, nargs="+", default=[5], help="frames in memory to stay, before the timing"
    )
    parser.add_argument("--policies", nargs="+", choices=tuple(POLICIES), default=["every_k"])
    parser.add_argument("--convolutions", nargs="+", choices=("winograd", "direct"), default=["winograd"])
    parser.add_argument("--max-size", type=int, nargs="+", default=[0], help="short side that is worked on; 0: any")
    options = parser.parse_args()
    tune_malloc()
    ceiling = Ceiling()
    chosen = (
        options.networks, options.sizes, options.objects, options.memory, options.policies, options.convolutions,
        options.max_size,
    )  # fmt: skip
    cases = [Case(*case) for case in itertools.product(*chosen)]
    for case in cases:
        case.fill()
    for _ in range(options.frames):
        ceiling.measure()
        for case in cases:
            case.step()
    results = [case.result(ceiling) for case in cases]
    result = {"machine": machine(), "ceiling_gflops": ceiling.best, "cases": results, "peak_gb": peak_bytes() / 1e9}
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
