"""Memory and time do not grow with a video; the paper's network takes 1080p in little memory. In processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict

from benchmarks.common import lowered_steps
from configs import common
from munet_jax.inference.budget import estimate
from munet_jax.inference.views import Network, create_geometry
from munet_jax.models import create_model
from munet_jax.models.memory import create_policy
from munet_jax.runtime.jit import CPU_OPTIONS

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}


def measure(*options: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/long_video.py", *options]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    print(f"\n{result.stdout}")
    return json.loads(result.stdout)


# A memory that is full at the first measured frame: while it fills, reading it takes longer each time.
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--policy=every_k", "--capacity=6", "--at", "50", "500"),
        ("--policy=adaptive", "--capacity=2", "--at", "50", "500"),
        ("--policy=every_k", "--capacity=6", "--size=427x240", "--frames=2000", "--at", "50", "2000"),
    ],
)
def test_a_long_video_costs_what_a_short_one_does(options: tuple[str, ...]) -> None:
    measured = measure(*options)
    early, late = measured["frames"].values()
    assert late["peak_gb"] <= 1.02 * early["peak_gb"]
    assert measured["late_over_early"] <= 1.10


PROGRAM = """
import resource
import jax.numpy as jnp, numpy as np
from benchmarks.common import first_mask, random_variables
from configs import common
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.budget import estimate
from munet_jax.models import create_model

size = (1080, 1920)
config = common.get_config()
model = create_model(config.model)
segmenter = VideoSegmenter(model, random_variables(model), config)
frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
segmenter.step(frame, first_mask(size, 3))
(view,) = segmenter._views
segmenter._kept = 20  # as after 100 frames
view.grow(20)
bank = view.state.bank
bank = bank._replace(occupied=bank.occupied.at[:, :3, 1:21].set(True), kept=jnp.int32(20))
view.state = view.state._replace(bank=bank)
for _ in range(2):
    labels = segmenter.step(frame).labels
assert labels.shape == size
assert int(view.state.bank.occupied[0, 0, :, 0].sum()) >= 20
budget = estimate(segmenter.network, [view.geometry], 4)
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9, budget.total / 1e9)
"""


@pytest.mark.slow
def test_1080p_with_three_objects_and_twenty_frames_in_memory_takes_less_than_6_gb() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True
    )
    peak, estimated = map(float, result.stdout.split()[-2:])
    print(f"\npeak {peak:.2f} GB, estimated {estimated:.2f} GB beside parameters and the program")
    assert peak < 6.0
    assert estimated < 6.0


def paper(config: ConfigDict) -> None:
    """As it is."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "slots", "chunk", "policy"),
    [
        (paper, 1, 16, "every_k"),
        (paper, 4, 16, "every_k"),
        (paper, 4, 1, "every_k"),
        (common.small, 4, 16, "every_k"),
        (paper, 4, 16, "adaptive"),
    ],
)
def test_the_estimate_is_near_what_xla_says(form: Any, slots: int, chunk: int, policy: str) -> None:
    """Temporaries of the compiled steps at 480 x 854; XLA's own figures, without the passes that the other tests leave out."""
    config = common.get_config()
    form(config)
    config.inference.update(max_size=0, object_chunk=chunk, memory_policy=policy)
    model, geometry = create_model(config.model).clone(object_chunk=chunk), create_geometry((480, 854))
    policy = create_policy(config.inference)
    *steps, bank = lowered_steps(model, policy, geometry.work, slots)
    measured = max(step.compile(CPU_OPTIONS).memory_analysis().temp_size_in_bytes for step in steps)
    measured += sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(bank))
    estimated = estimate(Network(model, None, policy), [geometry], slots).total
    if config.inference.memory_policy == "every_k":  # the estimate is of the full memory
        estimated -= 3 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(bank[:2]))
    print(f"\n{form.__name__}, {slots} slots, chunks of {chunk}: {estimated / 1e9:.3f} GB, XLA {measured / 1e9:.3f} GB")
    assert 0.7 < estimated / measured < 1.7
