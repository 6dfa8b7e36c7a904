"""Every config can be built from: model, clips, optimizer; and says what it is for."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs import ablation, common, protocol2_davis_youtube
from docs.tools import make_config_reference
from munet_jax.checkpoints.weight_file import find_weights, read_weights
from munet_jax.commands.scripts import parse_config
from munet_jax.data.options import MixConfig
from munet_jax.data.sources import MIX, OPENERS, STATIC
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.models.resnet import BLOCKS
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section, choices_of, fields_of
from munet_jax.training.length import run_length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.options import RunConfig
from munet_jax.training.setup import clip_options

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_every_config_can_be_built_from(name: str) -> None:
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    model = create_model(config.model)
    assert clip_options(config.data).length == config.data.clip_length >= 2
    create_optimizer(config.optimizer, create_schedule(config.optimizer, run_length(config.train, clips=700)))
    VideoSegmenter(model, {"params": {}}, config)
    assert not (config.train.memory == "reference" and config.model.motion_prior)
    if name != "common":
        assert "Command:" in module.__doc__
        assert f"configs/{name}.py" in module.__doc__
        assert "Data:" in module.__doc__


def test_all_configs_have_the_same_fields_with_values_that_they_take() -> None:
    """So that one page, docs/config.md, lists every field."""

    def fields(config: object, prefix: str = "") -> set[str]:
        if not hasattr(config, "items"):
            return {prefix}
        return set().union(*(fields(value, f"{prefix}.{key}") for key, value in config.items()), set())

    expected = fields(common.get_config())
    for name in NAMES:
        config = importlib.import_module(f"configs.{name}").get_config()
        assert fields(config) == expected, name
        check_section("config", config, RunConfig)


def test_every_field_says_what_it_does_and_the_page_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    def walk(section: Any, name: str) -> Iterator[tuple[str, str]]:
        for field in fields_of(section):
            called = f"{name}.{field.name}"
            if field.is_section:
                yield called, inspect.getdoc(field.kind) or ""
                yield from walk(field.kind, called)
            else:
                yield called, field.help
                assert not field.choices or field.default in field.choices, called

    page = make_config_reference.make_page()
    for called, text in walk(RunConfig, "config"):
        assert text, called
        assert not text.startswith("of "), called
        assert f"`{called.rpartition('.')[2]}`" in page or f"# {called}\n" in page, called
    assert make_config_reference.main(["--check"]) == 0, "run: python docs/tools/make_config_reference.py"
    assert "As `config.data.davis`, but `split` is `val`." in page
    assert "| `memory_policy` | `every_k` | `every_k`, `adaptive` |" in page
    assert capsys.readouterr().err == ""


def test_the_example_of_the_page_is_a_command_line() -> None:
    (command,) = re.findall(r"```bash\n(.*?)```", make_config_reference.PROSE, re.DOTALL)
    _, _, *arguments = shlex.split(command)
    config = parse_config(arguments[1], [word for word in arguments if word.startswith("--config.")])
    assert (config.train.steps, config.data.fake, config.data.size) == (500, True, (96, 96))
    assert (config.train.freeze, config.train.init_from) == (("query_encoder",), "")


def test_pairs_of_a_name_and_a_number_are_given_on_the_command_line() -> None:
    given = "--config.optimizer.rates=(('mu_layer', 10.0), ('decoder/entry', 2))"
    config = parse_config("configs/testing.py", [given])
    assert config.optimizer.rates == (("mu_layer", 10.0), ("decoder/entry", 2))
    with pytest.raises(InputError, match="rates is .*; give a tuple of tuples, each of text, a number"):
        parse_config("configs/testing.py", ["--config.optimizer.rates=('mu_layer', 10.0)"])


def test_choices_are_what_the_code_has() -> None:
    for encoder in ("query_encoder", "reference_encoder"):
        assert choices_of(RunConfig, f"model.{encoder}.block") == tuple(BLOCKS)
    assert choices_of(RunConfig, "evaluation.kind") == tuple(OPENERS)
    assert choices_of(RunConfig, "data.kind") == (*OPENERS, STATIC, MIX)
    assert {field.name for field in fields_of(MixConfig)} == {*OPENERS, STATIC}


def test_configs_and_command_lines_load_without_jax() -> None:
    program = "import sys, configs.lite, munet_jax.cli as cli; configs.lite.get_config(); cli.create_parser(); "
    program += "print([name for name in ('jax', 'flax', 'grain') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_value_that_a_field_does_not_take_is_named_before_anything_starts() -> None:
    for given, said in {
        "--config.train.loss=focal": "config.train.loss is 'focal'; choose one of bsce_iou, ce",
        "--config.data.davis.year=2015": "config.data.davis.year is '2015'; choose one of 2016, 2017",
        "--config.evaluation.kind=mix": "config.evaluation.kind is 'mix'; choose one of synthetic, davis",
        "--config.data.size=(96,)": r"config.data.size is \(96,\); give a tuple of 2 whole numbers",
    }.items():
        with pytest.raises(InputError, match=said):
            parse_config("configs/testing.py", [given])


@pytest.mark.parametrize("name", ["lite", "lite-1"])
def test_the_shipped_configs_have_values_that_their_fields_take(name: str) -> None:
    _, config, _ = read_weights(find_weights(name))
    check_section("config", config, RunConfig)


def test_the_rows_of_the_ablation_differ_and_a_wrong_one_is_named() -> None:
    rows = {row: ablation.get_config(row) for row in "abcdefg"}
    for config in rows.values():
        create_model(config.model)
    assert rows["e"] == rows["g"] == protocol2_davis_youtube.get_config()
    assert len({rows[row].to_json() for row in "abcdef"}) == 6
    with pytest.raises(InputError, match="rows a, b, c, d, e, f, g, not 'h'"):
        parse_config("configs/ablation.py:h", [])
    assert parse_config("configs/ablation.py:b", []).model.fusion == "none"
