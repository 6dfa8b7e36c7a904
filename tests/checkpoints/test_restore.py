"""A new run's encoders from a converted ResNet."""

import hashlib
import importlib
import math
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

import munet_jax
from configs import lite, testing
from munet_jax.checkpoints.restore import Start, check_start, start_variables
from munet_jax.checkpoints.weight_file import write_weights
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
    config.train.update(start="backbone", backbone=str(backbone))
    found, said = start_variables(config, state.variables, tmp_path / "new")
    start = state.with_variables(found)
    assert said.sha256 == hashlib.sha256(backbone.read_bytes()).hexdigest()
    random = {name for name in said.random if "_encoder/backbone/" in name}
    assert random == {"reference_encoder/backbone/conv1_mask/kernel"}
    assert set(flatten_dict(state.params["decoder"], sep="/")) == {
        name.removeprefix("decoder/") for name in said.random if name.startswith("decoder/")
    }
    assert f"starts from backbone {backbone} (sha256 {said.sha256[:12]}); {len(said.random)} parameters are new" in str(
        said
    )
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


def test_a_checkpoint_goes_before_what_the_config_names(state: TrainState, tmp_path: Path) -> None:
    config, new = config_of_resnet_18(), tmp_path / "new"
    config.train.update(start="init_from", init_from=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no checkpoints in .*nowhere"):
        start_variables(config, state.variables, new)
    config.train.update(start="backbone", init_from="", backbone=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="none.safetensors: no such backbone; make it by: munet convert"):
        start_variables(config, state.variables, new)
    config.train.update(start="scratch", backbone="")
    found, said = start_variables(config, state.variables, new)
    assert found["params"] is state.params
    assert len(said.random) == len(jax.tree.leaves(state.params))
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    for start in ("init_from", "backbone", "scratch"):
        config.train.update(start=start)
        found, said = start_variables(config, state.variables, tmp_path / "run")
        assert found["params"] is state.params
        assert said == Start("checkpoint")


@pytest.mark.parametrize("name", ["protocol1_davis", "protocol2_davis_youtube", "protocol3_static", "ablation"])
def test_the_papers_configs_do_not_start_without_a_backbone(name: str, tmp_path: Path) -> None:
    config = importlib.import_module(f"configs.{name}").get_config()
    with pytest.raises(
        InputError, match=r"names nothing; .*: munet convert resnet50.pth backbone.safetensors, and give"
    ):
        check_start(config, tmp_path)
    config.train.start = "scratch"
    check_start(config, tmp_path)
    config.train.start = "init_from"
    with pytest.raises(InputError, match="start is 'init_from', and config.train.init_from names nothing"):
        check_start(config, tmp_path)


def test_a_file_that_the_start_does_not_name_is_not_passed_over(tmp_path: Path) -> None:
    for start, field in (("scratch", "backbone"), ("scratch", "init_from"), ("init_from", "backbone")):
        config = testing.get_config()
        config.train.update(start=start, init_from="lite" if start == "init_from" else "")
        config.train[field] = "given"
        with pytest.raises(
            InputError, match=f"train.{field} is 'given'.*--config.train.start={field} to start from it"
        ):
            check_start(config, tmp_path)


def test_what_a_file_lacks_stays_random_and_is_named_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    config, path = testing.get_config(), tmp_path / "part.safetensors"
    state, theirs = state_of(config), state_of(config)
    part = {"params": {name: tree for name, tree in theirs.params.items() if name != "decoder"}}
    write_weights(path, jax.tree.map(lambda x: x + 1, part), config, 7)
    config.train.update(start="init_from", init_from=str(path))
    found, said = start_variables(config, state.variables, tmp_path / "new")
    assert jax.tree.structure(found["params"]) == jax.tree.structure(state.params)
    assert {name.partition("/")[0] for name in said.random} == {"decoder"}
    jax.tree.map(np.testing.assert_array_equal, found["params"]["decoder"], state.params["decoder"])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).min() > 0.9, found["params"]["mu_layer"], state.params["mu_layer"])
    assert all(jax.tree.leaves(moved))
    first = ", ".join(said.random[:10])
    assert str(said).endswith(f"{len(said.random)} parameters are new: {first} and {len(said.random) - 10} more")
    config.model.key_dim = 16
    config.model.decoder_dim = (16, 16, 16)
    with pytest.raises(
        InputError, match=r"is of another model: 2 of its tensors do not fit: .*key/kernel is .*, here .*16"
    ):
        start_variables(config, state_of(config).variables, tmp_path / "new")
    config.train.init_fitting = True
    narrow = state_of(config)
    found, said = start_variables(config, narrow.variables, tmp_path / "new")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), found["params"], narrow.params)
    assert [name for name in said.random if not name.startswith("decoder/")] == [
        "query_embedding/key/bias", "query_embedding/key/kernel"
    ]  # fmt: skip
    jax.tree.map(
        np.testing.assert_array_equal,
        found["params"]["query_embedding"]["key"],
        narrow.params["query_embedding"]["key"],
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + 1), found["params"]["mu_layer"], theirs.params["mu_layer"]
    )
    config.train.init_fitting = False
    config.train.init_from = "lite-1"
    with pytest.raises(InputError, match="is of another model") as caught:
        start_variables(config, state.variables, tmp_path / "new")
    assert str(caught.value).count(", here ") == 10


def test_an_encoder_that_is_newly_shown_the_other_objects_begins_to_ignore_them(tmp_path: Path) -> None:
    config = lite.get_config()
    config.model.reference_encoder.others = True
    config.train.init_from = "lite-1"
    found, said = start_variables(config, state_of(config).variables, tmp_path / "new")
    assert said.random == ("reference_encoder/conv1_others/kernel",)
    first = found["params"]["reference_encoder"]
    assert not np.any(first["conv1_others"]["kernel"])
    np.testing.assert_array_equal(
        first["conv1_mask"]["kernel"],
        munet_jax.load("lite-1")[1]["params"]["reference_encoder"]["conv1_mask"]["kernel"],
    )


def test_a_start_may_open_the_attention_of_a_trained_network_alone(tmp_path: Path) -> None:
    config = lite.get_config()
    config.train.update(init_from="lite-1", open_attention=True)
    found, _ = start_variables(config, state_of(config).variables, tmp_path / "new")
    assert not np.any(found["params"]["fusion"]["attention"]["bias"])
    shipped = munet_jax.load("lite-1")[1]["params"]["query_embedding"]["key"]["kernel"]
    np.testing.assert_allclose(found["params"]["query_embedding"]["key"]["kernel"] * 1.5, shipped, rtol=1e-6)
    for changes in ({"train": {"start": "scratch", "init_from": ""}}, {"model": {"fusion": "none"}}):
        refused = config.copy_and_resolve_references()
        for section, values in changes.items():
            refused[section].update(values)
        with pytest.raises(InputError, match="open_attention opens the attention of a network that was trained"):
            check_start(refused, tmp_path / "new")


def test_a_start_may_soften_the_scores_of_a_trained_network_alone(tmp_path: Path) -> None:
    config = lite.get_config()
    config.train.update(init_from="lite-1", score_factor=0.25)
    found, _ = start_variables(config, state_of(config).variables, tmp_path / "new")
    shipped = munet_jax.load("lite-1")[1]["params"]["query_embedding"]
    for part, array in shipped["key"].items():
        np.testing.assert_allclose(found["params"]["query_embedding"]["key"][part] * 2, array, rtol=1e-6)
    np.testing.assert_array_equal(found["params"]["query_embedding"]["value"]["kernel"], shipped["value"]["kernel"])
    for changes in ({"score_factor": 0.0}, {"score_factor": math.nan}, {"start": "scratch", "init_from": ""}):
        refused = config.copy_and_resolve_references()
        refused.train.update(changes)
        with pytest.raises(InputError, match="config.train.score_factor is .* above 0 with 'init_from'"):
            check_start(refused, tmp_path / "new")


def test_a_backbone_of_another_network_is_refused(backbone: Path, tmp_path: Path) -> None:
    config = testing.get_config()
    config.train.update(start="backbone", backbone=str(backbone))
    with pytest.raises(InputError, match="is a ResNet-18 .*config.model.query_encoder is another network"):
        start_variables(config, state_of(config).variables, tmp_path / "new")


def test_a_run_may_go_on_from_the_shipped_weights(tmp_path: Path) -> None:
    config = lite.get_config()
    config.train.init_from = "lite-1"
    found, said = start_variables(config, TrainState(0, {}, {}, {}).variables, tmp_path / "new")
    assert "no parameter is new" in str(said)
    begun = TrainState(0, {}, {}, {}).with_variables(found)
    _, shipped, _ = munet_jax.load("lite-1")
    jax.tree.map(np.testing.assert_array_equal, begun.params, shipped["params"])
    jax.tree.map(np.testing.assert_array_equal, begun.batch_stats, shipped["batch_stats"])
