"""What inference computes once from the parameters: folded norms and transformed kernels give the network's own results."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.common import random_variables as wide_variables
from configs import common
from munet_jax.inference import VideoSegmenter, cpu
from munet_jax.models import create_model
from munet_jax.models.convolution import Conv
from munet_jax.models.create import variable_shapes
from tests.models.tiny import random_variables, tiny_model

FROZEN = {"query_encoder__norm": "frozen_batch", "reference_encoder__norm": "frozen_batch"}


def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("form", [cpu.F4, cpu.F2], ids=["F4", "F2"])
@pytest.mark.parametrize("shape", [(1, 8, 8, 5, 7), (2, 9, 6, 16, 3), (1, 1, 3, 4, 4), (1, 13, 31, 64, 64)])
def test_winograd_equals_the_direct_convolution(shape: tuple[int, ...], form: cpu.Form) -> None:
    b, h, w, i, o = shape
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((b, h, w, i), np.float32))
    kernel = jnp.asarray(rng.standard_normal((3, 3, i, o), np.float32) / np.sqrt(9 * i, dtype=np.float32))
    found = jax.jit(cpu.winograd_convolution)(x, cpu.transform_kernel(kernel, form))
    np.testing.assert_allclose(found, direct(x, kernel), atol=5e-5)


def test_only_wide_3x3_kernels_are_transformed() -> None:
    params = {
        "wide": {"kernel": jnp.ones((3, 3, 128, 130)), "bias": jnp.ones(130)},
        "inner": {"narrow": {"kernel": jnp.ones((3, 3, 128, 2))}, "flat": {"kernel": jnp.ones((1, 1, 128, 128))}},
        "large": {"kernel": jnp.ones((7, 7, 128, 128))},
        "depthwise": jnp.ones((3, 3, 128)),
        "entry_block": {"conv1": {"kernel": jnp.ones((3, 3, 128, 128))}},
    }
    shapes = jax.tree.map(jnp.shape, cpu.transformed_kernels(params), is_leaf=lambda x: isinstance(x, jax.Array))
    assert shapes == {"wide": {"kernel": (6, 6, 128, 130)}, "entry_block": {"conv1": {"kernel": (4, 4, 128, 128)}}}


def test_small_maps_take_the_direct_form() -> None:
    def products(size: int, channels: int) -> int:
        layer, x = Conv(channels, 3), jnp.zeros((1, size, size, channels))
        variables = layer.init(jax.random.key(0), x)
        variables["winograd"] = cpu.transformed_kernels(variables["params"])
        with cpu.prepared_layers():
            return str(jax.make_jaxpr(layer.apply)(variables, x)).count("dot_general")

    assert [products(*case) for case in ((72, 128), (24, 128), (24, 256), (72, 127))] == [1, 0, 1, 0]


def test_what_works_at_stride_16_has_the_smaller_tiles() -> None:
    model = create_model(common.get_config().model)
    params = variable_shapes(model)["params"]
    kernels = jax.eval_shape(cpu.transformed_kernels, params)
    tiles: dict[int, set[str]] = {2: set(), 4: set()}
    for path, kernel in jax.tree_util.tree_leaves_with_path(kernels):
        names = [part.key for part in path]
        block = next((name for name in names if name.startswith("res")), names[1])
        tiles[kernel.shape[0] - 2].add(block.split("_0")[0] if names[0].endswith("encoder") else f"{names[0]}.{block}")
    assert tiles[4] == {"res3", "res3_1", "res3_2", "res3_3"} | {
        f"decoder.{name}" for name in ("skip4", "skip8", "refine4", "refine8")
    }
    assert tiles[2] == {"res4", *(f"res4_{block}" for block in range(1, 6))} | {
        "decoder.entry", "decoder.entry_block", "query_embedding.key", "query_embedding.value", "memory_embedding.key",
        "memory_embedding.value",
    }  # fmt: skip


def with_statistics(variables: Any) -> Any:
    """Statistics and scales that are not those of a network before training."""
    rng = np.random.default_rng(1)

    def draw(path: Any, x: Any) -> Any:
        return jnp.asarray(rng.uniform(0.5, 2.0, x.shape), x.dtype) if path[-1].key in ("var", "scale") else x

    return jax.tree_util.tree_map_with_path(draw, variables)


@pytest.mark.parametrize(
    "changes",
    [
        FROZEN | {"query_encoder__block": "bottleneck", "reference_encoder__others": True},
        {"query_encoder__kind": "efficientnet_lite0", "reference_encoder__norm": "frozen_batch"},
    ],
    ids=["resnet", "efficientnet"],
)
def test_folded_norms_change_nothing(changes: dict[str, Any]) -> None:
    model = tiny_model(**changes)
    variables = with_statistics(random_variables(model))
    folded = cpu.fold_norms(variables)
    assert set(folded) == {"params"}
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(folded["params"]["query_encoder"])}
    assert names <= {"kernel", "bias", "depthwise"}
    rng = np.random.default_rng(2)
    frames, masks = rng.random((1, 48, 64, 3), np.float32), rng.random((1, 2, 48, 64), np.float32)

    @jax.jit
    def run(variables: Any) -> Any:
        def parts(net: Any) -> Any:
            encoded = net.encode(jnp.asarray(frames))
            query = net.query(encoded, encoded.reduced)
            return encoded.features, net.memorise(jnp.asarray(frames), jnp.asarray(masks), query.key)

        with cpu.prepared_layers():
            return model.apply(variables, method=parts)

    for one, other in zip(jax.tree.leaves(run(variables)), jax.tree.leaves(run(folded)), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * float(jnp.abs(one).max()))


@pytest.mark.usefixtures("standard_promotion")
def test_a_network_without_frozen_norms_stays_as_it_is() -> None:
    variables = random_variables(tiny_model())
    folded = cpu.fold_norms(variables)
    assert all(jax.tree.leaves(jax.tree.map(lambda x, y: x is y, folded["params"], variables["params"])))
    for dtype, transform, expected in (("float32", True, True), ("float32", False, False), ("bfloat16", True, False)):
        model = tiny_model(dtype=dtype, decoder_dim=(128, 128, 128))
        prepared = jax.eval_shape(
            lambda v, m=model, t=transform: cpu.prepare(m, v, transform=t), variable_shapes(model)
        )
        assert (cpu.COLLECTION in prepared) == expected


def largest_difference(network: Any, frames: Any, mask: Any) -> float:
    """Of probabilities, with Winograd's form and without, over a video whose masks feed on themselves."""
    model, variables, config = network
    streams = []
    for chosen in (True, False):
        config.inference.winograd = chosen
        streams.append(VideoSegmenter(model, variables, config))
    differences = [0.0]
    for number, frame in enumerate(frames):
        one, other = (s.step(frame, None if number else mask, outputs=("probabilities",)) for s in streams)
        differences.append(float(np.abs(one.probabilities - other.probabilities).max()))
    assert max(differences) > 0  # the two are not the same program
    return max(differences)


def test_the_papers_network_gives_the_same_probabilities() -> None:
    config = common.get_config()
    model = create_model(config.model)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 80, 3), np.uint8)
    mask = np.zeros((64, 80), np.uint8)
    mask[15:40, 10:35], mask[25:55, 45:70] = 1, 2
    frames = [np.roll(picture, 3 * number, axis=1) for number in range(3)]
    assert largest_difference((model, wide_variables(model), config), frames, mask) < 1e-3
