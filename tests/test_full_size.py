"""The paper's network at 480 x 854 with three objects, on a CPU: it runs, and the MU-Layer is a small part of it."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.common import random_variables
from configs import common
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet, create_model
from munet_jax.models.memory import MemoryFormat
from munet_jax.models.memory.every_k import empty_bank

HEIGHT, WIDTH, OBJECTS = 480, 854, 3
# Parameters in millions; docs/architecture.md shows them.
PARAMETERS = {
    "query_encoder": 8.54,
    "reference_encoder": 8.55,
    "mu_layer": 0.36,
    "fusion": 0.001,
    "query_embedding": 5.90,
    "memory_embedding": 5.90,
    "decoder": 10.03,
}


def abstract_variables(model: MUNet) -> Any:
    clip = (jnp.zeros((1, 2, 32, 32, 3)), jnp.zeros((1, 1, 32, 32)), jnp.ones((1, 1), bool))
    return jax.eval_shape(lambda key: model.init(key, *clip), jax.random.key(0))


def test_parameters_per_part() -> None:
    params = abstract_variables(create_model(common.get_config().model))["params"]
    counts = {part: sum(x.size for x in jax.tree.leaves(tree)) / 1e6 for part, tree in params.items()}
    assert counts == pytest.approx(PARAMETERS, abs=0.005)


@pytest.mark.slow
def test_one_query_and_one_memorise_step() -> None:
    config = common.get_config()
    model = create_model(config.model)
    segmenter = VideoSegmenter(model, random_variables(model), config)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in range(OBJECTS):
        mask[100 * number : 100 * number + 80, 200:400] = number + 1
    segmenter.step(frame, mask)
    start = time.perf_counter()
    prediction = segmenter.step(frame, outputs=("labels", "probabilities"))
    print(f"\nfirst query and memorise step, with compilation: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    segmenter.step(frame)
    print(f"third frame: {time.perf_counter() - start:.1f} s")
    assert prediction.labels.shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=-1), 1.0, atol=1e-4)


def query_step(model: MUNet) -> Callable[..., Any]:
    """Everything of a frame but memorising it, with one frame in memory."""

    def run(module: MUNet, frame: Any, previous: Any, bank: Any, objects: Any, masks: Any) -> Any:
        return module.match(module.query(module.encode(frame), previous), bank, objects, masks)[0]

    return jax.jit(lambda variables, *inputs: model.apply(variables, *inputs, method=run))


@pytest.mark.slow
def test_the_mu_layer_is_a_twentieth_of_the_query_step_and_adds_60_mb() -> None:
    config = common.get_config().model
    model = create_model(config)
    variables = random_variables(model)
    h, w = 30, 54
    rng = np.random.default_rng(0)
    reduced = [jnp.asarray(rng.standard_normal((1, h, w, 256), np.float32)) for _ in range(2)]
    bank = empty_bank(1, OBJECTS, 1, h * w, MemoryFormat(128, 512))
    inputs = (
        jnp.zeros((1, HEIGHT, WIDTH, 3)),
        reduced[1],
        bank._replace(occupied=jnp.ones((1, OBJECTS, 1, h * w), bool)),
        jnp.ones((1, OBJECTS), bool),
        jnp.zeros((1, OBJECTS, HEIGHT, WIDTH)),
    )
    whole = query_step(model).lower(variables, *inputs).compile()
    config.fusion = "none"  # nothing asks for motion, so XLA leaves the MU-Layer out
    without = query_step(create_model(config)).lower(variables, *inputs).compile()
    layer = jax.jit(lambda v, a, b: model.apply(v, a, b, method=lambda m, a, b: m.mu_layer(a, b).feature))
    alone = layer.lower(variables, *reduced).compile()

    def seconds(run: Callable[[], Any], times: int) -> float:
        jax.block_until_ready(run())
        measured = []
        for _ in range(times):
            start = time.perf_counter()
            jax.block_until_ready(run())
            measured.append(time.perf_counter() - start)
        return statistics.median(measured)

    query, layer_seconds = seconds(lambda: whole(variables, *inputs), 3), seconds(lambda: alone(variables, *reduced), 9)
    added = (whole.memory_analysis().temp_size_in_bytes - without.memory_analysis().temp_size_in_bytes) / 1e6
    print(f"\nquery {query:.2f} s, MU-Layer {layer_seconds:.3f} s ({layer_seconds / query:.1%}), adds {added:.1f} MB")
    assert layer_seconds <= 0.05 * query
    assert added <= 60
