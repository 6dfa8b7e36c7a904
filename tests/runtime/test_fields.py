"""Config fields that stand once: as a config, as checks, as options of a command line."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Literal

import pytest
from ml_collections import ConfigDict

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import add_arguments, as_config, check_section, choices_of, field_of, take_arguments


@dataclasses.dataclass(frozen=True)
class Lens:
    """What light goes through."""

    focus: float = field_of(0.5, "focal length in metres")
    rings: tuple[int, ...] = field_of((), "rings, in pixels")


@dataclasses.dataclass(frozen=True)
class Camera:
    """What looks."""

    mode: Literal["still", "film"] = field_of("still", "what it takes")
    frames: int = field_of(24, "frames per second, 100 % of them")
    size: tuple[int, int] = field_of((480, 854), "height and width in pixels")
    widths: tuple[int, ...] | int = field_of(8, "widths")
    colour: bool = field_of(True, "take colours")
    name: str = field_of("", "what it is called")
    speeds: tuple[tuple[str, float], ...] = field_of((), "factors by name")
    lens: Lens = Lens()


OPTIONS = ("mode", "frames", "colour", "lens.focus", "lens.rings")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="camera")
    add_arguments(made, Camera, OPTIONS)
    return made


def test_a_config_has_the_defaults() -> None:
    config = as_config(Camera(lens=Lens(focus=0.1)))
    assert isinstance(config, ConfigDict)
    assert config.to_dict() == {
        "mode": "still", "frames": 24, "size": (480, 854), "widths": 8, "colour": True, "name": "",
        "speeds": (), "lens": {"focus": 0.1, "rings": ()},
    }  # fmt: skip
    assert choices_of(Camera, "mode") == ("still", "film")
    assert choices_of(Camera, "frames") == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "radio"}, "config.camera.mode is 'radio'; choose one of still, film"),
        ({"mode": 3}, "config.camera.mode is 3; choose one of still, film"),
        ({"frames": 2.5}, "config.camera.frames is 2.5; give a whole number"),
        ({"frames": True}, "config.camera.frames is True; give a whole number"),
        ({"frames": "24"}, "config.camera.frames is '24'; give a whole number"),
        ({"colour": 1}, "config.camera.colour is 1; give True or False"),
        ({"name": None}, "config.camera.name is None; give text"),
        ({"size": (480,)}, "config.camera.size is (480,); give a tuple of 2 whole numbers"),
        ({"size": 480}, "config.camera.size is 480; give a tuple of 2 whole numbers"),
        ({"widths": ("a",)}, "config.camera.widths is ('a',); give a tuple of whole numbers or a whole number"),
        ({"lens": {"focus": "far"}}, "config.camera.lens.focus is 'far'; give a number"),
        ({"lens": {"rings": (1, 2.5)}}, "config.camera.lens.rings is (1, 2.5); give a tuple of whole numbers"),
        (
            {"speeds": ("slow", 0.5)},
            "config.camera.speeds is ('slow', 0.5); give a tuple of tuples, each of text, a number",
        ),
    ],
)
def test_values_that_a_field_does_not_take(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_section("config.camera", given, Camera)
    assert str(caught.value) == said


def test_values_that_a_field_takes() -> None:
    for given in (
        as_config(Camera()),
        {},  # an older run's, from before there were any of these
        {"mode": "film", "forgotten": 3, "lens": {"focus": 1}},  # a whole number is a number
        {"size": [480, 854], "widths": (1, 2, 3), "lens": {"rings": (1, 2, 3)}, "speeds": (("slow", 0.5), ("fast", 2))},
    ):
        check_section("config.camera", given, Camera)


def test_options_of_a_command_line_set_what_was_given() -> None:
    config = as_config(Camera(frames=30))
    take_arguments(config, parser().parse_args([]), OPTIONS)
    assert config == as_config(Camera(frames=30))  # an option's default does not go before the config
    given = ["--mode", "film", "--no-colour", "--lens-focus", "2", "--lens-rings", "1", "2"]
    take_arguments(config, parser().parse_args(given), OPTIONS)
    assert config == as_config(Camera("film", 30, colour=False, lens=Lens(2.0, (1, 2))))


def test_help_has_what_a_field_says_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(parser().format_help().split())
    assert "--mode {still,film} what it takes (default: still)" in shown
    assert "--frames N frames per second, 100 % of them (default: 24)" in shown
    assert "--colour, --no-colour take colours (default: on)" in shown
    assert "--lens-focus X focal length in metres (default: 0.5)" in shown
    with pytest.raises(SystemExit):
        parser().parse_args(["--mode", "radio"])
    assert "invalid choice: 'radio'" in capsys.readouterr().err
