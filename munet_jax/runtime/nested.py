"""Nested dictionaries as flat ones, whose names are paths such as 'decoder/entry/kernel'; without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEPARATOR = "/"


def flatten(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{'a': {'b': x}} -> {'a/b': x}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{above}{SEPARATOR}{name}" if above else name
        flat |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{'a/b': x} -> {'a': {'b': x}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, name = path.split(SEPARATOR)
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return tree
