"""Every config's training step: one real step of the small forms, and the full-size step made for other devices."""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import export
from ml_collections import ConfigDict

from configs import protocol1_davis
from munet_jax.commands.scripts import read_config
from munet_jax.data.loader import make_loader
from munet_jax.data.sources import create_parts
from munet_jax.models import create_model
from munet_jax.runtime.jit import CPU_OPTIONS
from munet_jax.training.length import Length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.options import TrainConfig
from munet_jax.training.parallel import split_batch
from munet_jax.training.setup import clip_options
from munet_jax.training.step import TrainState, TrainStep, abstract_batch, create_state, make_train_step
from tests.data.test_sources import SET_FOLDERS
from tests.data.test_static import make_static
from tests.data.trees import make_davis, make_youtube_vos

SMALL = ("protocol1_davis", "protocol1_davis_maskrcnn", "protocol2_davis_youtube", "protocol3_static", "protocol31_davis",
         "protocol32_davis_youtube", "quickstart", "testing")  # fmt: skip
# Of each pair of data and step one; the rest is slow.
QUICK = ("protocol1_davis", "protocol2_davis_youtube", "protocol3_static", "quickstart", "d,small")
SIZE = (96, 96)  # of clips, where the forms have 128 or 192: the same operations in a fraction of the time
ROOTS = {"protocol1_davis": "DAVIS", "protocol1_davis_maskrcnn": "DAVIS", "protocol31_davis": "DAVIS"}
ROOTS["protocol3_static"] = "static"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_davis(root / "DAVIS", frames=8)
    make_youtube_vos(root / "YouTube-VOS")
    make_static(root / "static" / SET_FOLDERS["ecssd"], "ecssd")
    return root


def make_step(config: ConfigDict) -> tuple[TrainStep, Callable[[], TrainState]]:
    """The pure step of a config, and what makes its first state."""
    model = create_model(config.model)
    optimizer = create_optimizer(config.optimizer, create_schedule(config.optimizer, Length(10, 1, 10)))
    options = TrainConfig(
        loss=config.train.loss,
        bootstrap_fraction=config.train.bootstrap_fraction,
        bootstrap_warmup_steps=config.train.bootstrap_warmup_steps,
        memory=config.train.memory,
    )
    step = make_train_step(model, optimizer, options)
    return step, lambda: create_state(model, optimizer, abstract_batch(config, 1), 0)


# Configs that differ in their data alone have the same step.
@functools.cache
def compiled_step(settings: str, module: str, form: str) -> tuple[Any, TrainState]:
    """The compiled step and its first state."""
    del settings
    config = importlib.import_module(f"configs.{module}").get_config(form)
    config.data.size = SIZE
    step, create = make_step(config)
    start = create()
    return jax.jit(step).lower(start, abstract_batch(config, 1)).compile(CPU_OPTIONS), start


# In one process: those with the same step compile it once.
@pytest.mark.xdist_group("protocols")
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("module", "form"),
    [
        pytest.param(module, form, marks=[] if {module, form} & set(QUICK) else [pytest.mark.slow])
        for module, form in [*((name, "small") for name in SMALL), *(("ablation", f"{row},small") for row in "abcdefg")]
    ],
)
def test_a_small_form_runs_a_real_step(module: str, form: str, data: Path) -> None:
    config = importlib.import_module(f"configs.{module}").get_config(form)
    config = read_config(types.SimpleNamespace(value=config), str(data / ROOTS.get(module, "")))
    config.train.batch_size = 1
    config.data.size = SIZE
    batch = next(make_loader(create_parts(config.data), clip_options(config.data), batch_size=1, seed=0, threads=0))
    clip = jax.tree.map(lambda x: x[0], split_batch(batch, 1))
    same = (config.model.to_json(), config.optimizer.to_json(), config.train.loss, config.train.memory)
    shape = (
        config.train.bootstrap_warmup_steps,
        config.train.bootstrap_fraction,
        config.data.size,
        config.data.clip_length,
    )
    compiled, start = compiled_step(f"{same}{shape}", module, form)
    after, metrics = compiled(start, clip)
    assert np.isfinite(float(metrics["loss"]))
    assert float(metrics["grad_norm"]) > 0
    assert int(after.step) == 1


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.usefixtures("standard_promotion")
def test_the_full_size_step_is_exported_for_devices_that_are_not_here(platform: str) -> None:
    """All protocols share it: 6 frames of 400 x 400, 2 objects, ResNet-50."""
    config = protocol1_davis.get_config()
    step, create = make_step(config)
    exported = export.export(jax.jit(step), platforms=[platform])(jax.eval_shape(create), abstract_batch(config, 1))
    program = exported.mlir_module()
    assert exported.platforms == (platform,)
    assert "stablehlo.convolution" in program
    assert "f64" not in program
    assert "callback" not in program
