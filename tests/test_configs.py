"""Every config can be built from: model, clips, optimizer; and says what it is for."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from configs import ablation, common, protocol2_davis_youtube
from munet_jax.commands.scripts import parse_config
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from munet_jax.training.loop import clip_options
from munet_jax.training.optimizer import create_optimizer, create_schedule

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_every_config_can_be_built_from(name: str) -> None:
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    model = create_model(config.model)
    assert clip_options(config.data).length == config.data.clip_length >= 2
    create_optimizer(config.optimizer, create_schedule(config.optimizer, steps=config.train.steps, steps_per_epoch=10))
    VideoSegmenter(model, {"params": {}}, config)
    assert not (config.train.memory == "reference" and config.model.motion_prior)
    if name != "common":
        assert "Command:" in module.__doc__
        assert f"configs/{name}.py" in module.__doc__
        assert "Data:" in module.__doc__


def test_all_configs_have_the_same_fields() -> None:
    """So that one page, configs/common.py, lists every field."""

    def fields(config: object, prefix: str = "") -> set[str]:
        if not hasattr(config, "items"):
            return {prefix}
        return set().union(*(fields(value, f"{prefix}.{key}") for key, value in config.items()), set())

    expected = fields(common.get_config())
    for name in NAMES:
        assert fields(importlib.import_module(f"configs.{name}").get_config()) == expected, name


def test_the_rows_of_the_ablation_differ_and_a_wrong_one_is_named() -> None:
    rows = {row: ablation.get_config(row) for row in "abcdefg"}
    for config in rows.values():
        create_model(config.model)
    assert rows["e"] == rows["g"] == protocol2_davis_youtube.get_config()
    assert len({rows[row].to_json() for row in "abcdef"}) == 6
    with pytest.raises(InputError, match="rows a, b, c, d, e, f, g, not 'h'"):
        parse_config("configs/ablation.py:h", [])
    assert parse_config("configs/ablation.py:b", []).model.fusion == "none"
