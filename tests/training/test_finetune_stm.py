"""MUNet from STM's weights: what a run starts with, the first step, and that it learns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import finetune_stm
from munet_jax.checkpoints.from_pytorch import convert
from munet_jax.checkpoints.restore import start_variables
from munet_jax.checkpoints.weight_file import read_weights
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part, make_loader
from munet_jax.models import create_model
from munet_jax.models.create import variable_shapes
from munet_jax.runtime.jit import CPU_OPTIONS
from munet_jax.runtime.nested import flatten
from munet_jax.training.length import Length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.parallel import split_batch
from munet_jax.training.setup import clip_options
from munet_jax.training.step import Batch, TrainState, create_state, make_train_step
from tests.shared_data import shared

pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.stm_files import config_of, converted, save, small_stm, state_of  # noqa: E402
from tests.convert.torch_stm import random_stm  # noqa: E402

ATTENTION = "fusion/attention/kernel"


def settings(weights: Path, **model: Any) -> ConfigDict:
    config = finetune_stm.get_config()
    config.model.update(model)
    config.train.init_from = str(weights)
    return config


def start(config: ConfigDict, clip: Batch, folder: Path) -> tuple[Any, TrainState]:
    """The compiled step, and the state before the first one."""
    model = create_model(config.model)
    optimizer = create_optimizer(config.optimizer, create_schedule(config.optimizer, Length(1, 1, 100)))
    state = create_state(model, optimizer, clip, 0)
    state = state.with_variables(start_variables(config, state.variables, folder / "new")[0])
    step = jax.jit(make_train_step(model, optimizer, config.train))
    return step.lower(state, clip).compile(CPU_OPTIONS), state


def moving_clip() -> Batch:
    """Two objects that move over noise."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 3, 48, 64, 3)).astype(np.uint8)
    labels = np.zeros((1, 3, 48, 64), np.uint8)
    for t in range(3):
        labels[0, t, 8 + t : 28 + t, 8:28], labels[0, t, 20:40, 36 + t : 56 + t] = 1, 2
        frames[0, t][labels[0, t] == 1] //= 4
    return Batch(frames, labels, np.ones_like(labels, bool), np.ones((1, 2), bool))


def test_the_config_is_that_of_the_converted_file() -> None:
    from configs import common
    from munet_jax.checkpoints.from_pytorch import set_network
    from munet_jax.convert.stm import STM

    config = common.get_config()
    set_network(config, STM, "munet")
    assert finetune_stm.get_config().model == config.model


def test_a_run_tells_what_stays_random_and_the_rest_is_stms(tmp_path: Path) -> None:
    network = small_stm()
    weights = converted(network, tmp_path, "munet")
    sizes = {name: x for name, x in config_of(network).model.items() if name not in ("padding", "reference_encoder")}
    config = settings(
        weights, **{name: sizes[name] for name in ("query_encoder", "key_dim", "value_dim", "decoder_dim")}
    )
    for name in ("width", "stage_sizes"):
        config.model.reference_encoder[name] = config.model.query_encoder[name]
    drawn = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), variable_shapes(create_model(config.model)))
    found, told = start_variables(config, drawn, tmp_path / "new")
    expected = flatten(read_weights(weights)[0])
    for name, array in flatten(found).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert "18 parameters are new: mu_layer/" in str(told)
    assert str(told).endswith("and 8 more")

    # STM itself has no MSAM: its kernel stays as the run drew it, and the run says so.
    config.train.init_from = str(converted(network, tmp_path, "stm"))
    found, told = start_variables(config, drawn, tmp_path / "new")
    assert (found["params"]["fusion"]["attention"]["kernel"] == 7).all()
    assert "20 parameters are new: fusion/attention/bias, fusion/attention/kernel, mu_layer/" in str(told)


@pytest.mark.usefixtures("standard_promotion")
def test_the_first_steps_move_the_attention_and_then_the_mu_layer(tmp_path: Path) -> None:
    network = small_stm()
    weights = converted(network, tmp_path, "munet")
    config = settings(weights)
    config.model = read_weights(weights)[1].model
    config.optimizer.update(weight_decay=0.0, learning_rate=1e-3)
    step, state = start(config, moving_clip(), tmp_path)
    before = flatten(jax.device_get(state.params))
    assert not before[ATTENTION].any()
    moved = []
    for _ in range(2):
        state, metrics = step(state, moving_clip())
        after = flatten(jax.device_get(state.params))
        assert np.isfinite(metrics["loss"])
        assert all(np.isfinite(x).all() for x in after.values())
        moved.append({name for name, x in after.items() if not np.array_equal(x, before[name])})
        before = after
    assert ATTENTION in moved[0]
    assert "fusion/attention/bias" in moved[0]
    still = {name for name in before if name.startswith("mu_layer/")}
    assert not moved[0] & still  # a kernel of zeros hands no gradient on
    assert moved[1] >= still
    assert moved[1] - still == moved[0]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_fifty_steps_of_the_published_size_lower_the_loss_on_a_real_clip(tmp_path: Path) -> None:
    """Random weights of the published size; the config's own data, small."""
    source = save(state_of(random_stm()), tmp_path / "STM_weights.pth")
    convert(source, tmp_path / "munet.safetensors", finetune_stm.get_config(), network="munet")
    config = settings(tmp_path / "munet.safetensors")
    config.data.update(size=(96, 96), clip_length=3)
    part = Part(DavisSource(shared("davis2016"), "train", "2016"))
    loader = make_loader([part], clip_options(config.data), batch_size=1, seed=0, threads=0)
    clip = jax.tree.map(lambda x: x[0], split_batch(next(loader), 1))
    step, state = start(config, clip, tmp_path)
    losses, begin = [], time.perf_counter()
    for _ in range(50):
        state, metrics = step(state, clip)
        losses.append(float(metrics["loss"]))
    print(f"\nloss {losses[0]:.3f}, after 50 steps {losses[-1]:.3f}; {time.perf_counter() - begin:.0f} s")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state.params)))
    assert float(jnp.abs(state.params["fusion"]["attention"]["kernel"]).max()) > 0
    assert losses[-1] < 0.8 * losses[0]
