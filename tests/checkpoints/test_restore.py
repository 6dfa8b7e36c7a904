"""A new run's encoders from a converted ResNet."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

import munet_jax
from configs import lite, testing
from munet_jax.checkpoints.restore import start_variables
from munet_jax.convert.backbone_files import convert_backbone
from munet_jax.convert.resnet import resnet50_to_pytorch
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from munet_jax.training.step import TrainState, abstract_batch, create_state


def config_of_resnet_18() -> ConfigDict:
    config = testing.get_config()
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.update(stage_sizes=(2, 2, 2), width=64, block="basic", norm="frozen_batch")
    return config


def state_of(config: ConfigDict) -> TrainState:
    return create_state(create_model(config.model), optax.sgd(0.1), abstract_batch(config, 1), 0)


@pytest.fixture(scope="module")
def state() -> TrainState:
    return state_of(config_of_resnet_18())


@pytest.fixture
def backbone(state: TrainState, tmp_path: Path) -> Path:
    """Random weights through PyTorch's names and a file."""
    rng = np.random.default_rng(0)
    tree = {
        name: jax.tree.map(lambda x: rng.random(x.shape, np.float32), getattr(state, name)["query_encoder"]["backbone"])
        for name in ("params", "batch_stats")
    }
    convert_backbone(resnet50_to_pytorch(tree, depth=18), tmp_path / "backbone.safetensors", depth=18)
    return tmp_path / "backbone.safetensors"


def test_both_encoders_start_from_the_backbone_and_the_mask_kernel_stays(
    state: TrainState, backbone: Path, tmp_path: Path
) -> None:
    config = config_of_resnet_18()
    config.train.backbone = str(backbone)
    start = state.with_variables(start_variables(config, state.variables, tmp_path / "new"))
    assert jax.tree.structure(start) == jax.tree.structure(state)
    query, reference = (start.params[name]["backbone"] for name in ("query_encoder", "reference_encoder"))
    before = state.params["reference_encoder"]["backbone"]
    np.testing.assert_array_equal(reference["conv1_mask"]["kernel"], before["conv1_mask"]["kernel"])
    assert np.asarray(before["conv1_mask"]["kernel"]).std() > 0
    for path, value in flatten_dict(query).items():
        np.testing.assert_array_equal(value, flatten_dict(reference)[path])
    assert np.abs(query["conv1"]["kernel"] - state.params["query_encoder"]["backbone"]["conv1"]["kernel"]).max() > 0.1
    statistics = start.batch_stats["reference_encoder"]["backbone"]["norm1"]["bn"]["mean"]
    assert np.abs(statistics).max() > 0.1
    assert start.params["decoder"] is state.params["decoder"]


def test_a_checkpoint_goes_before_another_run_and_that_before_a_backbone(state: TrainState, tmp_path: Path) -> None:
    config = config_of_resnet_18()
    config.train.update(backbone=str(tmp_path / "none.safetensors"), init_from=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no checkpoints in .*nowhere"):
        state.with_variables(start_variables(config, state.variables, tmp_path / "new"))
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    assert start_variables(config, state.variables, tmp_path / "run")["params"] is state.params
    config.train.init_from = ""
    with pytest.raises(InputError, match="none.safetensors: no such backbone; make it by: munet convert"):
        state.with_variables(start_variables(config, state.variables, tmp_path / "new"))


def test_a_backbone_of_another_network_is_refused(backbone: Path, tmp_path: Path) -> None:
    config = testing.get_config()
    config.train.backbone = str(backbone)
    with pytest.raises(InputError, match="is a ResNet-18 .*config.model.query_encoder is another network"):
        start_variables(config, state_of(config).variables, tmp_path / "new")


def test_a_run_may_go_on_from_the_shipped_weights(tmp_path: Path) -> None:
    config = lite.get_config()
    config.train.init_from = "lite"
    begun = TrainState(0, {}, {}, {}).with_variables(
        start_variables(config, TrainState(0, {}, {}, {}).variables, tmp_path / "new")
    )
    _, shipped, _ = munet_jax.load("lite")
    jax.tree.map(np.testing.assert_array_equal, begun.params, shipped["params"])
    jax.tree.map(np.testing.assert_array_equal, begun.batch_stats, shipped["batch_stats"])
