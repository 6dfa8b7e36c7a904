"""What STM has and the paper does not say: the other objects' masks in Enc-R, and frames padded with black."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs import lite, testing
from munet_jax.inference.export import create_step
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet, create_model
from munet_jax.models.aggregation import object_probabilities
from munet_jax.models.create import variable_shapes
from munet_jax.models.encoders import other_objects
from munet_jax.models.padding import pad_to_stride
from tests.models.tiny import random_clip, random_variables, run_clip

SIZE = (36, 56)
KERNELS = ("conv1_mask", "conv1_others")


def settings(kind: str, **changes: Any) -> ConfigDict:
    """A tiny network with one or the other Enc-R."""
    config = testing.get_config()
    if kind == "light":
        config = lite.get_config()
        config.model.reference_encoder.update(light_widths=(8, 8, 8, 8), light_features=16)
        config.model.update(key_dim=8, value_dim=8, decoder_dim=(16, 12, 8), motion_prior=False)
        config.model.mu_layer.update(radius=2, channels=8)
    config.model.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config


@pytest.fixture(scope="module", params=["resnet", "light"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str) -> MUNet:
    return create_model(settings(kind, reference_encoder__others=True).model)


@pytest.fixture(scope="module")
def some_variables(model: MUNet) -> Any:
    return random_variables(model, b=1, t=2, n=3, size=SIZE)


def mask_kernels(variables: Any) -> Any:
    """The part of the variables that has the two kernels."""
    encoder = variables["params"]["reference_encoder"]
    return encoder.get("backbone", encoder)


def memoriser(model: MUNet, variables: Any, frame: jax.Array) -> Callable[..., list[np.ndarray]]:
    """Key and value of masks [b, n, h, w] of a frame."""

    def run(net: MUNet, masks: jax.Array, objects: jax.Array) -> Any:
        encoded = net.encode(frame)
        query = net.query(encoded, encoded.reduced)
        return net.memorise(frame, masks, query.key, query.semantic, objects)

    def memorise(masks: jax.Array, objects: jax.Array | None = None, variables: Any = variables) -> list[np.ndarray]:
        valid = jnp.ones(masks.shape[:2], jnp.bool_) if objects is None else objects
        return [np.asarray(x) for x in jax.jit(lambda *given: model.apply(*given, method=run))(variables, masks, valid)]

    return memorise


def test_each_object_is_shown_the_sum_of_the_others() -> None:
    masks = np.random.default_rng(0).uniform(0, 0.7, (2, 4, 3, 5)).astype(np.float32)
    valid = np.array([[True, True, True, False], [True, False, True, True]])
    found = np.asarray(other_objects(jnp.asarray(masks), jnp.asarray(valid)))
    for b, n, y, x in np.ndindex(masks.shape):
        if valid[b, n]:
            others = sum(masks[b, j, y, x] for j in range(4) if j != n and valid[b, j])
            assert found[b, n, y, x] == pytest.approx(min(others, 1.0), abs=1e-6)
    assert (found == 1).any()
    np.testing.assert_allclose(other_objects(jnp.asarray(masks[:, :1])), 0.0)


def test_where_both_are_off_trees_and_configs_of_before_are_as_they_were(kind: str, model: MUNet) -> None:
    off = settings(kind).model
    with_kernel, without = (flatten_dict(variable_shapes(net)["params"]) for net in (model, create_model(off)))
    new = with_kernel.keys() - without.keys()
    assert [path[-2:] for path in new] == [("conv1_others", "kernel")]
    assert without.keys() < with_kernel.keys()
    del off["padding"], off["reference_encoder"]["others"]  # a config of a run from before
    older = create_model(off)
    assert (older.reference_encoder.others, older.query_encoder.padding) == (False, "mean")
    assert flatten_dict(variable_shapes(older)["params"]) == without


def test_the_second_kernel_sees_the_others(model: MUNet, some_variables: Any) -> None:
    """With the kernels exchanged, the first of two objects is what the second one was."""
    frames, masks, _ = random_clip(b=1, t=1, n=2, size=SIZE)
    memorise = memoriser(model, some_variables, frames[:, 0])
    plain = memorise(masks)
    exchanged = jax.tree.map(lambda x: x, some_variables)
    kernels = mask_kernels(exchanged)
    kernels.update({one: kernels[two] for one, two in (KERNELS, KERNELS[::-1])})
    other = memorise(masks, variables=exchanged)
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(one[:, 0], two[:, 1], atol=1e-4)
    assert np.abs(plain[1][:, 0] - other[1][:, 0]).max() > 1e-2
    moved = memorise(masks.at[:, 1].set(masks[:, 1, ::-1]))
    assert np.abs(moved[1][:, 0] - plain[1][:, 0]).max() > 1e-2  # the first object's memory knows of the second


def test_the_others_are_those_of_the_whole_frame_in_every_part(model: MUNet, some_variables: Any) -> None:
    frames, masks, _ = random_clip(b=1, t=1, n=3, size=SIZE)
    plain = memoriser(model, some_variables, frames[:, 0])(masks)
    parts = memoriser(model.clone(object_chunk=2), some_variables, frames[:, 0])(masks)
    for one, two in zip(plain, parts, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_slot_without_an_object_is_nobodys_other(model: MUNet, some_variables: Any) -> None:
    frames, masks, _ = random_clip(b=1, t=1, n=3, size=SIZE)
    memorise = memoriser(model, some_variables, frames[:, 0])
    two = memorise(masks, jnp.array([[True, True, False]]))
    expected = memorise(masks[:, :2])
    for one, other in zip(two, expected, strict=True):
        np.testing.assert_allclose(one[:, :2], other, atol=1e-4)
    assert np.abs(memorise(masks)[1][:, :2] - expected[1]).max() > 1e-2


def test_training_inference_saved_states_and_the_exported_step_agree(
    kind: str, model: MUNet, some_variables: Any
) -> None:
    frames, _, objects = random_clip(b=1, t=4, n=3, size=SIZE)
    frames = jnp.round(frames * 255).astype(jnp.uint8)
    labels = np.random.default_rng(1).integers(0, 4, SIZE).astype(np.uint8)
    masks = jnp.asarray((labels == np.arange(1, 4)[:, None, None])[None], jnp.float32)
    logits = run_clip(model, some_variables, frames, masks, objects, memory="sequential")
    expected = np.moveaxis(np.asarray(object_probabilities(logits[0])), 1, -1)

    config = settings(kind, reference_encoder__others=True)
    config.inference.update(memory_interval=1, max_size=0, object_chunk=2)
    stream, other = (VideoSegmenter(model, some_variables, config) for _ in range(2))
    step, shapes = create_step(model, some_variables, config, SIZE, 3)
    state = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes["state"].items()}
    exported = jax.jit(step)
    for number, frame in enumerate(np.asarray(frames[0])):
        found = stream.step(frame, None if number else labels, outputs=("probabilities",)).probabilities
        given = jnp.asarray(labels[None] if number == 0 else 0 * labels[None], jnp.int32), jnp.full((1, 3), number == 0)
        after = exported(state, jnp.asarray(frame)[None], *given)
        state = {name: after[name] for name in state}
        if number:
            np.testing.assert_allclose(found[..., 1:], expected[number - 1], atol=1e-4)
            np.testing.assert_allclose(
                np.moveaxis(np.asarray(after["probabilities"][0]), 0, -1), found[..., 1:], atol=1e-4
            )
        if number == 2:
            other.load_state(stream.save_state())
    np.testing.assert_array_equal(other.step(frame, outputs=("probabilities",)).probabilities, found)


@pytest.mark.parametrize("padding", ["black", "mean"])
def test_black_padding_is_that_of_frames_that_were_padded_before(kind: str, padding: str, some_variables: Any) -> None:
    net = create_model(settings(kind, reference_encoder__others=True, padding=padding).model)
    frames, masks, _ = random_clip(b=1, t=1, n=2, size=SIZE)
    found = [*memoriser(net, some_variables, frames[:, 0])(masks), encode(net, some_variables, frames[:, 0])]
    around, masks = pad_to_stride(frames[:, 0], height_axis=1), pad_to_stride(masks, height_axis=2)
    assert around.shape[1:3] == (48, 64)
    whole = [*memoriser(net, some_variables, around)(masks), encode(net, some_variables, around)]
    for one, two in zip(found, whole, strict=True):
        error = np.abs(one - two).max()
        assert error < 1e-5 if padding == "black" else error > 1e-4


def encode(model: MUNet, variables: Any, frame: jax.Array) -> np.ndarray:
    return np.asarray(jax.jit(lambda *given: model.apply(*given, method="encode"))(variables, frame).features.res4)
