"""What the network asks of devices that are not here: read in its programs, lowered for GPUs and TPUs."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from munet_jax.models import video
from munet_jax.models.create import variable_shapes
from munet_jax.models.memory import Adaptive, EveryK, Policy
from munet_jax.models.memory.readout import Memory, chunked_readout, readout
from munet_jax.models.mu_layer import all_pairs, displacement, window_rows
from tests.models.tiny import tiny_model

PLATFORMS = ("cuda", "tpu")


def lowered(function: Callable[..., Any], platform: str, *shapes: Any) -> str:
    return str(jax.jit(function).trace(*shapes).lower(lowering_platforms=(platform,)).as_text())


def f32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


MEMORY = Memory(f32(1, 2, 40, 4), f32(1, 2, 40, 6), jax.ShapeDtypeStruct((1, 2, 40), jnp.bool_))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("function", "shapes", "precise"),
    [
        (lambda q, r: all_pairs(q, r, 2), (f32(1, 5, 6, 8), f32(1, 5, 6, 8)), 1),
        (lambda q, r: window_rows(q, r, 2), (f32(1, 5, 6, 8), f32(1, 5, 6, 8)), 1),
        (lambda c: displacement(c, radius=2), (f32(1, 5, 6, 25),), 1),
        (readout, (MEMORY, f32(1, 7, 4)), 1),
        (lambda m, q: chunked_readout(m, q, chunk=16), (MEMORY, f32(1, 7, 4)), 1),
    ],
    ids=["all pairs", "window rows", "displacement", "readout", "chunked readout"],
)
def test_decisions_hang_on_products_of_full_precision(
    platform: str, function: Callable[..., Any], shapes: tuple[Any, ...], precise: int
) -> None:
    """Cosines, displacement and scores; the sums of values that follow from scores may be rounded."""
    products = [line for line in lowered(function, platform, *shapes).splitlines() if "stablehlo.dot_general" in line]
    assert sum("HIGHEST, HIGHEST" in line for line in products) == precise
    assert len(products) <= 2


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("chunk", [0, 16])
def test_values_of_half_precision_are_added_up_in_f32(platform: str, chunk: int) -> None:
    half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) if x.dtype == jnp.float32 else x, MEMORY)
    query = jax.ShapeDtypeStruct((1, 7, 4), jnp.bfloat16)
    program = lowered(lambda m, q: chunked_readout(m, q, chunk=chunk), platform, half, query)
    products = [line.rsplit(" : ", 1)[1] for line in program.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 2
    for kinds in products:
        factors, result = kinds.split(" -> ")
        assert factors.count("bf16") == 2
        assert result.endswith("xf32>")


def branches_on_data(program: str) -> list[str]:
    """Branches whose index is neither a constant nor chosen by one: those of the platform are, and compilers take them out."""
    found = []
    for branch in re.finditer(r'"stablehlo\.case"\((%\w+)\)', program):
        defined = program[: branch.start()].rsplit(f"{branch[1]} = ", 1)[1].split("\n", 1)[0]
        if not defined.startswith(("stablehlo.constant", '"stablehlo.case"')):
            found.append(defined)
    return found


def test_a_branch_on_data_is_found() -> None:
    program = lowered(lambda x: jax.lax.cond(jnp.any(x > 0), jnp.sin, jnp.cos, x), "cuda", f32(3))
    assert branches_on_data(program)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("policy", [EveryK(capacity=24, chunk=8), Adaptive(chunk=8)], ids=["every_k", "adaptive"])
@pytest.mark.parametrize("memory_key", ["query", "reference"])
def test_a_frame_asks_the_host_nothing(platform: str, policy: Policy, memory_key: str) -> None:
    """No branch whose predicate a GPU would send to the host, and no loop whose length is not in the program."""
    model = tiny_model(memory_key=memory_key)
    variables = variable_shapes(model)
    state = jax.eval_shape(lambda: video.init_state(model, variables, (40, 56), 3, policy=policy, frames=10))
    frame = jax.ShapeDtypeStruct((1, 40, 56, 3), jnp.uint8)
    given = video.Given(jax.ShapeDtypeStruct((1, 40, 56), jnp.int32), jax.ShapeDtypeStruct((1, 3), jnp.bool_))
    program = lowered(lambda *args: video.step(model, *args), platform, variables, state, frame, given)
    assert "stablehlo.if" not in program
    assert branches_on_data(program) == []
    for condition in re.findall(r"stablehlo\.while.*?\n\s*cond \{(.*?)\n\s*\} do", program, re.DOTALL):
        compared = re.findall(r"stablehlo\.compare\s+LT, %iterArg\w*, (%\w+)", condition)
        assert len(compared) == 1  # a counter below a constant
        assert re.search(rf"{re.escape(compared[0])} = stablehlo\.constant", program)
