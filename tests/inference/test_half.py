"""Inference in half precision: `config.inference.dtype`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from configs import testing
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.export import export_step
from munet_jax.inference.half import KEPT, cast_parameters, in_dtype
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from tests.models.tiny import random_clip, random_variables, run_clip, tiny_model

HALF = ("bfloat16", "float16")
Create = Callable[..., VideoSegmenter]


def run(stream: VideoSegmenter, video: Any) -> list[Any]:
    frames, labels = video
    return [
        stream.step(frame, None if number else labels[0], outputs=("labels", "probabilities"))
        for number, frame in enumerate(frames)
    ]


@pytest.mark.parametrize("policy", ["every_k", "adaptive"])
def test_labels_are_those_of_f32_where_they_are_sure(segmenter: Create, video: Any, policy: str) -> None:
    plain = run(segmenter(memory_policy=policy), video)
    largest = {}
    for dtype in HALF:
        differences = []
        for one, other in zip(plain, run(segmenter(memory_policy=policy, dtype=dtype), video), strict=True):
            best = np.sort(one.probabilities, axis=-1)
            sure = best[..., -1] - best[..., -2] > 0.1
            assert sure.any()
            np.testing.assert_array_equal(one.labels[sure], other.labels[sure])
            differences.append(np.abs(one.probabilities - other.probabilities).max())
        largest[dtype] = max(differences)
    assert 0 < largest["float16"] < largest["bfloat16"] < 0.05  # 10 bits against 7


@pytest.mark.parametrize("dtype", HALF)
def test_a_saved_state_goes_on_bit_for_bit(segmenter: Create, video: Any, tmp_path: Path, dtype: str) -> None:
    frames, _ = video
    stream = segmenter(dtype=dtype)
    run(stream, (frames[:4], video[1]))
    np.savez(tmp_path / "state.npz", **stream.save_state())
    other = segmenter(dtype=dtype)
    with np.load(tmp_path / "state.npz") as state:
        other.load_state(state)
        with pytest.raises(InputError, match="state is of another config"):
            segmenter().load_state(state)
    for frame in frames[4:]:
        np.testing.assert_array_equal(stream.step(frame).labels, other.step(frame).labels)


@pytest.mark.parametrize("dtype", HALF)
def test_the_exported_step_is_the_segmenters(segmenter: Create, video: Any, tmp_path: Path, dtype: str) -> None:
    frames, labels = video
    plain, stream = segmenter(), segmenter(dtype=dtype)
    program, _ = export_step(
        *plain.network[:2], stream.config, tmp_path, size=frames[0].shape[:2], objects=2, platforms=("cpu",)
    )
    exported = export.deserialize(program.read_bytes())
    names, shapes = exported.in_tree.unflatten(range(exported.in_tree.num_leaves))[0][0], exported.in_avals
    state = {name: jnp.zeros(shapes[at].shape, shapes[at].dtype) for name, at in names.items()}
    assert {x.dtype for name, x in state.items() if name.startswith("bank.") and x.ndim > 4} == {jnp.dtype(dtype)}
    named = jnp.ones((1, 2), jnp.bool_)
    for number in range(3):
        known = labels[0].astype(np.int32)[None] * (number == 0)
        found = exported.call(state, frames[number][None], known, named & (number == 0))
        state = {name: found[name] for name in state}
        expected = stream.step(frames[number], None if number else labels[0], outputs=("probabilities",)).probabilities
        np.testing.assert_allclose(np.moveaxis(found["probabilities"][0], 0, -1), expected[..., 1:], atol=1e-2)


@pytest.mark.parametrize("norm", ["group", "frozen_batch"])
def test_parameters_are_cast_once_and_to_the_same_numbers(norm: str) -> None:
    changes = {"mu_layer__learn_temperature": True, "query_encoder__norm": norm}
    model = tiny_model(**changes)
    variables = random_variables(model)
    half = in_dtype(model, "bfloat16")
    assert half == tiny_model(**changes, dtype="bfloat16")
    cast = {**variables, "params": cast_parameters(half, variables["params"])}
    found = {str(x.dtype) for x in jax.tree.leaves(cast["params"])}
    assert found == {"bfloat16", "float32"}
    for path, x in jax.tree_util.tree_leaves_with_path(cast["params"]):
        name = jax.tree_util.keystr(path)
        assert (x.dtype == jnp.float32) == any(part in name for part in KEPT)
    one, other = (run_clip(half, chosen, *random_clip()) for chosen in (variables, cast))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", HALF)
def test_keys_that_are_compared_by_distance_stay_f32_in_half_precision(video: Any, variables: Any, dtype: str) -> None:
    """|k|^2 in half precision would be off by more than the distances that it is compared with."""
    frames, labels = video
    config = testing.get_config()
    config.model.similarity = "l2"
    found = {}
    for name in ("float32", dtype):
        config.inference.dtype = name
        stream = VideoSegmenter(create_model(config.model), variables, config)
        found[name] = [stream.step(frames[k], None if k else labels[0], outputs=("probabilities",)) for k in range(3)]
    kernels = stream.network.variables["params"]["query_embedding"]
    assert (kernels["key"]["kernel"].dtype, kernels["value"]["kernel"].dtype) == (jnp.float32, jnp.dtype(dtype))
    bank = stream._views[0].state.bank
    assert bank.keys.dtype == jnp.float32
    assert bank.values.dtype == jnp.dtype(dtype)
    for one, other in zip(found["float32"], found[dtype], strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=0.03)


def test_training_in_bf16_compares_keys_by_distance_in_f32(video: Any, variables: Any) -> None:
    frames, labels = video
    masks = (np.asarray(labels[0]) == np.arange(1, 3)[:, None, None])[None].astype(np.float32)
    clip = (jnp.asarray(np.stack(frames[:3]))[None], jnp.asarray(masks), jnp.ones((1, 2), bool))
    config, found = testing.get_config(), []
    for dtype in ("float32", "bfloat16"):
        config.model.update(similarity="l2", dtype=dtype)
        model = create_model(config.model)
        assert model.memory_format.key_dtype == jnp.float32
        found.append(jax.nn.softmax(run_clip(model, variables, *clip, memory="sequential")))
    np.testing.assert_allclose(*found, atol=0.03)
