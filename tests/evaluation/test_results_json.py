"""Reading results again: where they are looked for, what is wrong with their form, and which cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from munet_jax.evaluation.compare import compare
from munet_jax.evaluation.results_json import read_results
from munet_jax.runtime.errors import InputError

Values = Mapping[str, Sequence[float | int | None]]

# Differences: bear +0.1, -0.1 and +0.3; cows +0.2.
BEFORE = {"cows": [0.5], "bear": [0.6, 0.4, 0.2]}
AFTER = {"cows": [0.7], "bear": [0.7, 0.3, 0.5]}


def results(sequences: Values, **more: Any) -> dict[str, Any]:
    """Results in which object k of a sequence has the k-th number as its J&F, half of it as J, and an F of 1."""
    entries = {
        name: {"objects": {str(k): {"J": half(v), "F": 1.0, "J&F": v} for k, v in enumerate(values, 1)}}
        for name, values in sequences.items()
    }
    return {"J": 0.5, "F": 1.0, "J&F": 0.75, "sequences": entries} | more


def half(value: float | int | None) -> float | None:
    return None if value is None else value / 2


def write(folder: Path, content: Any, name: str = "results.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


def test_where_results_lie(tmp_path: Path):
    write(tmp_path / "run/evaluation", results(BEFORE))
    write(tmp_path / "scored", results(AFTER))
    assert read_results(tmp_path / "run") == read_results(tmp_path / "run/evaluation") == results(BEFORE)
    assert read_results(str(tmp_path / "scored/results.json")) == results(AFTER)
    with pytest.raises(InputError, match="no results.json, nor has its folder evaluation; evaluate.py and munet score"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="missing: there is no such path"):
        read_results(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "has no 'sequences'"),
        ({"J": 1, "F": 1, "J&F": 1}, "has no 'sequences'"),
        ({"J": 1, "F": 1, "sequences": {}}, "it has no J&F"),
        ({"J": 1, "F": "1", "J&F": 1, "sequences": {}}, "it has the F '1', not a number or null"),
        ({"J": 1, "F": 1, "J&F": 1, "sequences": {}}, "has no sequence"),
        ({"J": 1, "F": 1, "J&F": 1, "sequences": {"a": 3}}, "sequence a has no 'objects'"),
        (results({"a": []}), "sequence a has no 'objects'"),
        (results({"a": [True]}), "object 1 of sequence a has the J&F True, not a number"),
    ],
)
def test_results_of_another_form(tmp_path: Path, content: Any, message: str):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=f"{path}: .*{message}"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": [1]}, {"b": [1]}, r"A lacks b \(1 in all\); B lacks a \(1 in all\); evaluate all on one split"),
        ({"a": [1, 1]}, {"a": [1]}, r"objects: B lacks a/2 \(1 in all\)"),
        ({f"v{k}": [1] for k in range(12)}, {"v2": [1]}, r"B lacks v0, v1, v3, ... \(11 in all\)"),
    ],
)
def test_different_objects(first: Values, second: Values, message: str):
    with pytest.raises(InputError, match=message):
        compare({"A": results(first), "B": results(second)})


def test_different_protocols():
    with pytest.raises(InputError, match='different protocols .A by "davis2017", C by "generic".; score them'):
        compare(
            {
                "A": results(BEFORE, protocol="davis2017"),
                "B": results(AFTER),
                "C": results(AFTER, protocol="generic"),
            }
        )
    compare({"A": results(BEFORE, protocol="generic"), "B": results(AFTER), "C": results(AFTER, protocol="generic")})
