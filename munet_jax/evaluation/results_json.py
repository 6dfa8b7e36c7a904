"""The file results.json: writing it, finding and reading it again, its form, and which of them can be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.data.images import natural_key
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError

EVALUATION_FOLDER = "evaluation"
RESULTS_FILE = "results.json"
REQUIRED = ("J", "F", "J&F")

_DIGITS = 6
_SHOWN = 3  # names that an error lists before it gives their number alone


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results as indented JSON with sorted keys and floats of 6 digits; NaN and infinity become null.

    The file appears whole or not at all.
    """
    text = json.dumps(_rounded(results), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        # The name of a folder may be no text: JSON has escapes for what it holds.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_results(path: Path | str) -> dict[str, Any]:
    """The content of a results.json.

    Args:
      path: the file, the folder that holds it, or a training run, which holds it in its folder evaluation.

    Returns:
      {"J", "F", "J&F", ..., "sequences": {name: {"objects": {id: {"J", "F", "J&F", ...}}}}}; any number may be None.

    Raises:
      InputError: there is no such file, or it is not of this form.
    """
    file = _find(Path(path).expanduser())
    content = read_json(file, "evaluate the run again")
    check_results(str(file), content)
    return content


def name_and_path(text: str) -> tuple[str, Path]:
    """Name and path of a run that is given as PATH or NAME=PATH; a path that exists may have '=' in it.

    Without NAME a run has the name of its folder (never of its folder evaluation), and a file that is not called
    results.json has its own name.

    Raises:
      InputError: the name or the path is empty.
    """
    name, equals, path = text.partition("=")
    if equals and not Path(text).expanduser().exists():
        if not name or not path:
            raise InputError(f"{text!r} is not a run; give it as PATH or NAME=PATH")
        return name, Path(path)
    file = Path(text).expanduser().resolve()
    if file.is_file() and file.name != RESULTS_FILE:
        return file.stem, Path(text)
    folder = file.parent if file.is_file() else file
    return (folder.parent if folder.name == EVALUATION_FOLDER else folder).name or text, Path(text)


def check_results(called: str, content: Any) -> None:
    """Checks the form of results; `called` is what errors call them.

    Raises:
      InputError: a part is missing or of another type.
    """
    form = f"{called}: is not of the form of a results.json"
    if not isinstance(content, Mapping) or not isinstance(content.get("sequences"), Mapping):
        raise InputError(f"{form}: it has no 'sequences'; give one of evaluate.py or munet score")
    _check_numbers(form, "it", content)
    if not content["sequences"]:
        raise InputError(f"{called}: has no sequence; evaluate the run again")
    for name, sequence in content["sequences"].items():
        objects = sequence.get("objects") if isinstance(sequence, Mapping) else None
        if not isinstance(objects, Mapping) or not objects:
            raise InputError(f"{form}: sequence {name} has no 'objects'; evaluate the run again")
        for identity, scores in objects.items():
            _check_numbers(form, f"object {identity} of sequence {name}", scores)


def check_comparable(runs: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """Checks that runs, by name, were scored on the same objects by one protocol and have a metric.

    Raises:
      InputError: there are fewer than two; one is not of the form of a results.json; objects or protocols differ; or one
        has no such metric.
    """
    if len(runs) < 2:
        raise InputError(f"comparing takes two runs or more, the baseline first, not {len(runs)}")
    for name, results in runs.items():
        check_results(f"the results of {name}", results)
    _check_protocols(runs)
    _check_objects(runs)
    _check_metric(runs, metric)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rounded(value: Any) -> Any:
    """What JSON can hold of a value."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    files = [path / RESULTS_FILE, path / EVALUATION_FOLDER / RESULTS_FILE]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        what = "has no results.json, nor has its folder evaluation" if path.is_dir() else "there is no such path"
        raise InputError(f"{path}: {what}; evaluate.py and munet score write one")
    return found


def _check_numbers(form: str, what: str, scores: Any) -> None:
    for key in REQUIRED:
        if not isinstance(scores, Mapping) or key not in scores:
            raise InputError(f"{form}: {what} has no {key}; evaluate the run again")
        if scores[key] is not None and not is_number(scores[key]):
            raise InputError(f"{form}: {what} has the {key} {scores[key]!r}, not a number or null; evaluate it again")


def _check_protocols(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Runs may lack the entry "protocol", but those that have it must agree."""
    protocols = {name: json.dumps(r["protocol"], sort_keys=True) for name, r in runs.items() if "protocol" in r}
    if len(set(protocols.values())) > 1:
        listed = ", ".join(f"{name} by {protocol}" for name, protocol in protocols.items())
        raise InputError(f"the runs were scored by different protocols ({listed}); score them all by one")


def _check_objects(runs: Mapping[str, Mapping[str, Any]]) -> None:
    everything: dict[str, set[str]] = {}
    for results in runs.values():
        for name, sequence in results["sequences"].items():
            everything.setdefault(name, set()).update(sequence["objects"])
    told = []
    for run, results in runs.items():
        there = results["sequences"]
        lacking = [name for name in everything if name not in there]
        lacking += [f"{name}/{i}" for name in there for i in everything[name] - there[name]["objects"].keys()]
        if lacking:
            shown = sorted(lacking, key=natural_key)[:_SHOWN] + ["..."] * (len(lacking) > _SHOWN)
            told.append(f"{run} lacks {', '.join(shown)} ({len(lacking)} in all)")
    if told:
        raise InputError(f"the runs are over different videos or objects: {'; '.join(told)}; evaluate all on one split")


def _check_metric(runs: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """Every run must have the metric as a number, of one object at least."""
    there = [
        {key for s in results["sequences"].values() for o in s["objects"].values() for key in o if is_number(o[key])}
        for results in runs.values()
    ]
    common = set.intersection(*there)
    if metric not in common:
        raise InputError(f"not all runs have a metric {metric!r}; there are {', '.join(sorted(common)) or 'none'}")
