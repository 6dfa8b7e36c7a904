"""MUNet-lite's parts: depthwise convolutions, frozen blocks, the light Enc-R, and the whole in training and inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common, lite, lite_static
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet, create_model
from munet_jax.models.efficientnet import EfficientNetLite0, depthwise
from munet_jax.models.resnet import ResNet
from munet_jax.runtime.errors import InputError
from munet_jax.training.optimizer import create_optimizer
from munet_jax.training.options import TrainConfig
from munet_jax.training.step import TrainState, abstract_batch, make_train_step
from tests.models.tiny import random_clip, random_variables

SIZE = (32, 48)


@pytest.fixture(scope="module")
def config() -> Any:
    config = lite.get_config()
    config.model.mu_layer.radius = 2
    config.model.reference_encoder.update(light_widths=(8, 8, 8, 8), light_features=16)
    config.model.update(key_dim=8, value_dim=8, decoder_dim=(16, 12, 8))
    config.model.mu_layer.channels = 8
    return config


@pytest.fixture(scope="module")
def model(config: Any) -> MUNet:
    return create_model(config.model)


@pytest.fixture(scope="module")
def light_variables(model: MUNet) -> Any:
    return random_variables(model, b=1, t=2, n=2, size=SIZE)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_equals_the_librarys(kernel: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 8, 12, 6)), jnp.float32)
    w = jnp.asarray(rng.standard_normal((kernel, kernel, 6)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        x, w[:, :, None], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6
    )
    np.testing.assert_allclose(depthwise(x, w, stride), expected, atol=1e-5)


@pytest.mark.slow
def test_frozen_blocks_get_no_gradient_and_the_others_do() -> None:
    image = jnp.asarray(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), jnp.float32)
    network = EfficientNetLite0(frozen_blocks=5)
    variables = network.init(jax.random.key(0), image)

    def total(params: Any) -> Any:
        return sum(jnp.sum(x**2) for x in network.apply({**variables, "params": params}, image))

    gradients = jax.jit(jax.grad(total))(variables["params"])
    sizes = {name: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree)) for name, tree in gradients.items()}
    still = {"stem", "stem_norm", *(f"block{k}" for k in range(5))}
    assert {name for name, size in sizes.items() if size == 0} == still


def test_the_configs_freeze_what_gets_no_gradient(config: Any) -> None:
    assert lite_static.get_config().train.freeze == config.train.freeze
    names = {path.rsplit("/", 1)[1] for path in config.train.freeze}
    assert names == {"stem", "stem_norm", *(f"block{k}" for k in range(config.model.query_encoder.frozen_blocks))}


def test_an_object_does_not_depend_on_the_others(model: MUNet, light_variables: Any) -> None:
    """Enc-R and decoder work on each object alone: their aggregation is all that mixes them."""
    frames, masks, _ = random_clip(b=1, t=1, n=2, size=SIZE)

    def keys_and_values(masks: jax.Array) -> Any:
        def run(module: MUNet) -> Any:
            encoded = module.encode(frames[:, 0])
            query = module.query(encoded, encoded.reduced)
            return module.memorise(frames[:, 0], masks, query.key, query.semantic)

        return model.apply(light_variables, method=run)

    together = jax.jit(keys_and_values)(masks)
    alone = jax.jit(keys_and_values)(masks[:, 1:])
    for both, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(both[:, 1:], one, atol=1e-4)
    other = jax.jit(keys_and_values)(masks.at[:, 1].set(0))
    np.testing.assert_allclose(other[1][:, 0], together[1][:, 0], atol=1e-4)
    assert np.abs(other[1][:, 1] - together[1][:, 1]).max() > 1e-2  # the mask matters


def test_training_and_inference_agree(config: Any, model: MUNet, light_variables: Any) -> None:
    """A clip in training form, with predicted frames in memory, and the streaming segmenter that keeps every frame."""
    frames, _, objects = random_clip(b=1, t=3, n=2, size=SIZE)
    labels = np.random.default_rng(1).integers(0, 3, SIZE).astype(np.uint8)
    masks = jnp.asarray((labels == np.arange(1, 3)[:, None, None])[None], jnp.float32)
    logits = jax.jit(lambda v, *clip: model.apply(v, *clip, memory="sequential"))(
        light_variables, frames, masks, objects
    )
    config = config.copy_and_resolve_references()
    config.inference.update(memory_interval=1, max_size=0)
    segmenter = VideoSegmenter(model, light_variables, config)
    segmenter.step(np.asarray(frames[0, 0]), labels)
    for number in (1, 2):
        found = segmenter.step(np.asarray(frames[0, number]), outputs=("probabilities",)).probabilities
        expected = jax.nn.softmax(logits[0, number - 1], axis=-1)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_its_state_is_saved_and_restored(config: Any, model: MUNet, light_variables: Any) -> None:
    frames = [np.asarray(random_clip(k, b=1, t=1, size=SIZE)[0][0, 0]) for k in range(4)]
    labels = np.random.default_rng(1).integers(0, 3, SIZE).astype(np.uint8)

    def create() -> VideoSegmenter:
        return VideoSegmenter(model, light_variables, config)

    whole = create()
    whole.step(frames[0], labels)
    whole.step(frames[1])
    state = whole.save_state()
    restored = create()
    restored.load_state(state)
    for frame in frames[2:]:
        np.testing.assert_array_equal(restored.step(frame).labels, whole.step(frame).labels)


def test_configs_without_a_kind_are_resnets_with_skip_blocks() -> None:
    """Those of runs and files from before there were several."""
    config = common.get_config().model
    common.narrow(config)
    with config.unlocked(), config.ignore_type():
        for name in ("query_encoder", "reference_encoder"):
            del config[name]["kind"]
        del config.skip_blocks
        config.decoder_dim = 16
    model = create_model(config)
    assert isinstance(model.query_encoder.backbone, ResNet)
    assert model.decoder.skip_blocks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c.query_encoder.update(kind="vgg"),
            "query_encoder.kind is 'vgg'; choose one of resnet, efficientnet",
        ),
        (
            lambda c: c.reference_encoder.update(kind="heavy"),
            "reference_encoder.kind is 'heavy'; choose one of resnet, light",
        ),
        (lambda c: c.update(decoder_dim=(8, 8)), "decoder_dim is .8, 8.; give three numbers"),
    ],
)
def test_kinds_that_do_not_exist(change: Callable[[Any], object], said: str) -> None:
    config = lite.get_config().model
    change(config)
    with pytest.raises(InputError, match=said):
        create_model(config)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_training_step_changes_all_but_what_is_frozen(config: Any, model: MUNet, light_variables: Any) -> None:
    config = config.copy_and_resolve_references()
    config.data.update(size=SIZE, clip_length=3)
    optimizer = create_optimizer(config.optimizer, lambda _: 1e-2, freeze=config.train.freeze)
    step = make_train_step(model, optimizer, TrainConfig(memory="sequential", freeze=config.train.freeze))
    params, statistics = light_variables["params"], light_variables["batch_stats"]
    state = TrainState(step=jnp.int32(0), params=params, batch_stats=statistics, opt_state=optimizer.init(params))
    rng = np.random.default_rng(0)
    shapes = abstract_batch(config, 1)
    batch = jax.tree.map(lambda x: rng.integers(0, 2, x.shape).astype(x.dtype), shapes)
    batch = batch.replace(valid=np.ones(shapes.valid.shape, bool), objects=np.ones(shapes.objects.shape, bool))
    after, metrics = jax.jit(step)(state, batch)
    assert float(metrics["grad_norm"]) > 0
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, params)
    encoder = moved["query_encoder"]["backbone"]
    still = {name for name, leaves in encoder.items() if not any(jax.tree.leaves(leaves))}
    assert still == {path.rsplit("/", 1)[1] for path in config.train.freeze}
    assert all(any(jax.tree.leaves(moved[part])) for part in params)
