"""Config fields whose default, choices and help stand once, in a frozen dataclass.

    @dataclasses.dataclass(frozen=True)
    class Loop:
        loss: Literal["bsce_iou", "ce"] = field_of("bsce_iou", "which loss is minimised")
        steps: int = field_of(70_000, "optimizer steps in all")

The config (`as_config`), its check (`check_section`), options of a command line (`add_arguments`) and docs/config.md are made
of it. A field whose type is such a dataclass is a section of its own, described by that dataclass's docstring.
"""

from __future__ import annotations

import argparse
import dataclasses
import numbers
import typing
from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from munet_jax.runtime.errors import InputError

_HELP = "help"
_UNIONS = (UnionType, typing.Union)
# One value of a type, and several.
_WORDS = {bool: ("True or False",) * 2, int: ("a whole number", "whole numbers"),
          float: ("a number", "numbers"), str: ("text", "texts")}  # fmt: skip


class ConfigField(NamedTuple):
    """A field of a section; `kind` is its resolved type, `help` one line with the unit ('' for a section)."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def choices(self) -> tuple[str, ...]:
        """What a `Literal` lists, alone or beside other types; () where any value of the type is taken."""
        kinds = typing.get_args(self.kind) if typing.get_origin(self.kind) in _UNIONS else (self.kind,)
        return tuple(x for kind in kinds if typing.get_origin(kind) is Literal for x in typing.get_args(kind))

    @property
    def is_section(self) -> bool:
        """Whether it has fields of its own."""
        return dataclasses.is_dataclass(self.kind)


def field_of(default: Any, text: str) -> Any:
    """A dataclass field with a default and its help: one line, with the unit."""
    return dataclasses.field(default=default, metadata={_HELP: text})


def fields_of(section: Any) -> list[ConfigField]:
    """The fields of a section: a dataclass, or an instance, whose values are then the defaults."""
    kind = section if isinstance(section, type) else type(section)
    kinds = typing.get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        default = field.default if section is kind else getattr(section, field.name)
        found.append(ConfigField(field.name, kinds[field.name], default, field.metadata.get(_HELP, "")))
    return found


def field_at(section: Any, path: str) -> ConfigField:
    """The field of a section at a path such as 'adaptive.capacity'."""
    name, _, rest = path.partition(".")
    field = next(field for field in fields_of(section) if field.name == name)
    return field_at(field.default, rest) if rest else field


def choices_of(section: Any, path: str) -> tuple[str, ...]:
    """The choices of a field of a section."""
    return field_at(section, path).choices


def as_config(section: Any) -> ConfigDict:
    """An instance of a section's dataclass as a config."""
    return ConfigDict(dataclasses.asdict(section))


def check_section(where: str, config: Any, section: Any) -> None:
    """Refuse values that a section's fields do not take.

    Fields that the config lacks, as an older run's may, and fields that the section does not know are let be.

    Args:
      where: what messages call the config, such as 'config.model'.
      config: a ConfigDict or dictionary.
      section: the dataclass.

    Raises:
      InputError: a value of another type, or none of the choices.
    """
    for field in fields_of(section):
        if field.name not in config:
            continue
        called, value = f"{where}.{field.name}", config[field.name]
        if field.is_section:
            check_section(called, value, field.kind)
        elif not _fits(value, field.kind):
            raise InputError(f"{called} is {value!r}; {_remedy(field)}")


def _remedy(field: ConfigField) -> str:
    return f"choose one of {', '.join(field.choices)}" if field.choices else f"give {_described(field.kind)}"


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in _UNIONS:
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        expected = [inner[0]] * len(value) if Ellipsis in inner else inner
        return len(value) == len(expected) and all(map(_fits, value, expected))
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, {int: numbers.Integral, float: numbers.Real}.get(kind, kind))


def _described(kind: Any) -> str:
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple:
        return _WORDS[kind][0] if kind in _WORDS else " or ".join(map(_described, inner))
    if typing.get_origin(inner[0]) is tuple:
        return f"a tuple of tuples, each of {', '.join(map(_described, typing.get_args(inner[0])))}"
    return f"a tuple of {'' if Ellipsis in inner else f'{len(inner)} '}{_WORDS[inner[0]][1]}"


def add_arguments(parser: Any, section: Any, paths: Sequence[str]) -> None:
    """Give a parser (or a group of one) an option for each of some fields; its value is None where it is not given.

    'adaptive.capacity' becomes --adaptive-capacity, with the field's type, choices and help. A bool has a --no- form too.
    """
    for path in paths:
        field = field_at(section, path)
        text = f"{field.help} (default: {_shown(field.default)})".replace("%", "%%")
        parser.add_argument("--" + path.replace(".", "-").replace("_", "-"), help=text, **_argument(field))


def _argument(field: ConfigField) -> dict[str, Any]:
    if field.kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if field.choices:
        return {"choices": field.choices}
    several = typing.get_origin(field.kind) is tuple
    kind = typing.get_args(field.kind)[0] if several else field.kind
    metavar = {int: "N", float: "X"}.get(kind)
    return {"type": kind, "metavar": metavar} | ({"nargs": "+"} if several else {})


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def take_arguments(config: ConfigDict, options: argparse.Namespace, paths: Sequence[str]) -> None:
    """Set the fields of a section whose options (`add_arguments`) were given."""
    for path in paths:
        value = getattr(options, path.replace(".", "_"))
        if value is not None:
            config.update_from_flattened_dict({path: tuple(value) if isinstance(value, list) else value})
