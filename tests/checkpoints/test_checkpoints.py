"""Checkpoints: verified on restore, the newest and the best kept, and exported to one file."""

import json
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import munet_jax
from configs.testing import get_config
from munet_jax.checkpoints.orbax_manager import Checkpoints
from munet_jax.checkpoints.restore import start_variables
from munet_jax.checkpoints.runs import CONFIG_FILE, trained_variables
from munet_jax.cli import main
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from munet_jax.training.step import TrainState, abstract_batch, create_state


@pytest.fixture(scope="module")
def state() -> TrainState:
    config = get_config()
    made = create_state(create_model(config.model), optax.adam(0.1), abstract_batch(config, 1), 0, ema=True)
    return jax.device_get(made)


def at(state: TrainState, step: int) -> TrainState:
    """Another state: parameters and their average differ."""
    moved = jax.tree.map(lambda x: x + np.float32(step), state.params)
    return state.replace(step=np.int32(step), params=moved)


def save(workdir: Path, states: list[tuple[TrainState, float | None]]) -> None:
    checkpoints = Checkpoints(workdir)
    for state, score in states:
        checkpoints.save(state, score)
    checkpoints.close()
    config = get_config()
    config.data.davis.root = "/davis-on-this-machine"
    (workdir / CONFIG_FILE).write_text(config.to_json_best_effort())


def test_the_newest_and_the_best_stay(state: TrainState, tmp_path: Path) -> None:
    scores = {1: 0.2, 2: 0.7, 3: 0.5, 4: None, 5: 0.6}
    save(tmp_path, [(at(state, step), score) for step, score in scores.items()])
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [2, 4, 5]
    for asked, step in (("newest", 5), ("best", 2), (4, 4), ("4", 4)):
        assert trained_variables(get_config(), tmp_path, asked)[1] == step
    with pytest.raises(InputError, match="no checkpoint of step 3 in .*there are 2, 4, 5"):
        trained_variables(get_config(), tmp_path, 3)
    (tmp_path / "unscored").mkdir()
    save(tmp_path / "unscored", [(at(state, 1), None)])
    with pytest.raises(InputError, match="has a score; train with config.train.validate_every"):
        trained_variables(get_config(), tmp_path / "unscored", "best")


def test_a_state_comes_back_and_its_average_is_what_is_evaluated(state: TrainState, tmp_path: Path) -> None:
    save(tmp_path, [(at(state, 3), None)])
    checkpoints = Checkpoints(tmp_path)
    restored = checkpoints.restore(state)
    jax.tree.map(np.testing.assert_array_equal, restored, at(state, 3))
    without = state.replace(ema={})
    with pytest.raises(InputError, match="another optimizer or average: entry ema/.* not used in this config"):
        checkpoints.restore(without)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, trained_variables(get_config(), tmp_path)[0]["params"], state.ema)


def test_a_flipped_byte_anywhere_is_reported_and_not_loaded(state: TrainState, tmp_path: Path) -> None:
    save(tmp_path, [(at(state, 3), None)])
    files = [path for path in (tmp_path / "checkpoints" / "3" / "state").rglob("*") if path.stat().st_size > 1000]
    files = [path for path in files if path.is_file() and "ocdbt" not in path.name]
    assert files
    largest = max(files, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    refused = 0
    for place in np.linspace(0, len(whole) - 1, 9).astype(int):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        largest.write_bytes(bytes(broken))
        checkpoints = Checkpoints(tmp_path)
        try:
            restored = checkpoints.restore(state)
            jax.tree.map(np.testing.assert_array_equal, restored, at(state, 3))  # a byte that means nothing
        except InputError as error:
            assert "is damaged" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        checkpoints.close()
    assert refused >= 5
    largest.write_bytes(whole)


def test_exported_weights_load_and_start_another_run(
    state: TrainState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, [(at(state, 3), 0.5), (at(state, 4), None)])
    target = tmp_path / "weights.safetensors"
    assert main(["export-weights", str(tmp_path), str(target), "--step", "best"]) == 0
    assert "(step 3)" in capsys.readouterr().out
    assert b"davis-on-this-machine" in (tmp_path / "config.json").read_bytes()
    assert b"on-this-machine" not in target.read_bytes()
    model, variables, config = munet_jax.load(target)
    assert model == create_model(get_config().model)
    assert json.loads(config.to_json_best_effort()) == json.loads(get_config().to_json_best_effort())
    assert config.data.size == (64, 64)
    config.inference.max_size = 240
    with pytest.raises(KeyError, match='Did you mean "max_size"'):
        config.inference.update(maxsize=240)
    config.inference.max_size = get_config().inference.max_size
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.ema)
    jax.tree.map(np.testing.assert_array_equal, munet_jax.load(tmp_path)[1], variables)

    start = get_config()
    start.train.update(start="init_from", init_from=str(target))
    begun = at(state, 0).with_variables(start_variables(start, at(state, 0).variables, tmp_path / "new")[0])
    jax.tree.map(np.testing.assert_array_equal, begun.params, state.ema)
    start.model.key_dim = 16
    with pytest.raises(InputError, match="weights.safetensors is of another model: .* do not fit: "):
        start_variables(start, at(state, 0).variables, tmp_path / "new")


def test_a_mean_of_a_run_and_its_start_is_exported(
    state: TrainState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, step in (("first", 2), ("second", 5)):
        (tmp_path / name).mkdir()
        save(tmp_path / name, [(at(state, step).replace(ema=at(state, step).params), None)])
    config = get_config()
    config.train.update(start="init_from", init_from=str(tmp_path / "first"), score_factor=0.25)
    path, target = tmp_path / "second" / CONFIG_FILE, tmp_path / "mean.safetensors"
    export = ["export-weights", str(tmp_path / "second"), str(target)]
    assert main([*export, "--start-share", "0.5"]) == 2
    assert "only a run that began with another's parameters ('init_from')" in capsys.readouterr().err
    for option, value in (
        ("--start-share", "1"),
        ("--start-share", "-0.1"),
        ("--score-factor", "0"),
        ("--score-factor", "nan"),
    ):
        assert main([*export, option, value]) == 2
        assert f"{option} is {float(value)}; give " in capsys.readouterr().err
    path.write_text(config.to_json_best_effort())
    first, second = at(state, 2).params, at(state, 5).params
    before, after = (params["query_embedding"]["key"]["kernel"] for params in (first, second))
    for options, share, factor in (
        (("--start-share", "0.5"), 0.5, 1.0),
        (("--start-share", "0.8", "--score-factor", "2.25"), 0.8, 1.5),
        (("--score-factor", "2.25"), 0.0, 1.5),
    ):
        assert main([*export, *options]) == 0
        mean = munet_jax.load(target)[1]["params"]
        expected = state.params["decoder"]["prediction"]["kernel"] + 2 * share + 5 * (1 - share)
        np.testing.assert_allclose(mean["decoder"]["prediction"]["kernel"], expected, atol=1e-5)
        expected = factor * (share * 0.5 * before + (1 - share) * after)
        np.testing.assert_allclose(mean["query_embedding"]["key"]["kernel"], expected, atol=1e-5)
    stored = json.loads(path.read_text())
    for name in ("score_factor", "open_attention", "init_fitting"):
        del stored["train"][name]  # a run from before there were these
    path.write_text(json.dumps(stored))
    assert main([*export, "--start-share", "0.5"]) == 0
    mean = munet_jax.load(target)[1]["params"]
    np.testing.assert_allclose(mean["query_embedding"]["key"]["kernel"], (before + after) / 2, atol=1e-5)


def test_weights_that_cannot_be_read_or_written(
    state: TrainState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    for name, reason in (("y.safetensors", "no such file of weights"), ("x.safetensors", "cannot be read as weights")):
        with pytest.raises(InputError, match=f"{reason}.*munet export-weights"):
            munet_jax.load(tmp_path / name)
    with pytest.raises(InputError, match="config.json: no config of a training run"):
        munet_jax.load(tmp_path)
    save(tmp_path, [(at(state, 3), None)])
    assert main(["export-weights", str(tmp_path), str(tmp_path / "weights.bin")]) == 2
    assert "weights are a .safetensors file" in capsys.readouterr().err
