"""A made-up evaluation of three sequences by two methods, with names that a page must not take for markup."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.report.page import write_page
from munet_jax.report.sequences import ReportSequence

OURS, OTHER = "ours", 'a "b" <i> & </script>'
WILD = "2 </script><script>alert('x')</script> & \"<b>"
NAMES = ("bear 10", WILD, "bear 9")
VALUES = {"bear 10": (0.9, 0.5), WILD: (0.3, 0.8), "bear 9": (None, None)}  # J&F of both methods
FRAMES = 12
HEIGHT, WIDTH = 32, 56


def labels(column: int) -> np.ndarray:
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    picture[4:14, column : column + 10] = 1
    picture[18:30, column : column + 6] = 7
    return picture


def scores(name: str, number: int) -> dict[str, tuple[float, float] | None]:
    """The first and the last frame are not scored, the other method only up to the middle; frame 4 is the worst."""
    drop = 0.2 if number == 4 else 0.01 * number
    pairs = {m: None if v is None else (v - drop, v - drop) for m, v in zip((OURS, OTHER), VALUES[name], strict=True)}
    ends = (0, FRAMES - 1)
    return {OURS: None if number in ends else pairs[OURS], OTHER: pairs[OTHER] if 0 < number < FRAMES // 2 else None}


def image(number: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (20 * number, 90, 160), np.uint8)


def heat(_: ReportSequence, number: int) -> dict[str, np.ndarray]:
    picture = np.zeros((4, 7, 3), np.uint8)
    picture[..., 0] = np.arange(7) * 40 + number
    return {"uncertainty": picture}


def sequence(name: str, **changed: Any) -> ReportSequence:
    pairs = {m: {f"{n:05d}": scores(name, n)[m] for n in range(FRAMES)} for m in (OURS, OTHER)}
    of: dict[str, Any] = {
        "name": name,
        "frame_names": [f"{number:05d}" for number in range(FRAMES)],
        "frame": image,
        "annotation": lambda number: labels(number + 2) if number else None,
        "masks": {OURS: labels, OTHER: lambda number: labels(number + 20)},
        "scores": {m: {frame: pair for frame, pair in rows.items() if pair} for m, rows in pairs.items()},
    }
    return ReportSequence(**(of | changed))


def results(method: int) -> dict[str, Any]:
    def entry(value: float | None) -> dict[str, Any]:
        return {"J": value, "F": value, "J&F": value}

    split = {name: entry(values[method]) for name, values in VALUES.items() if values[method] is not None}
    split = {name: of | {"objects": {"1": of, "10": of, "2": entry(None)}} for name, of in split.items()}
    return entry(0.6) | {"J_recall": 0.75, "F_decay": math.nan, "device": "CPU", "fps": 12.345, "sequences": split}


METHODS = {OURS: results(0), OTHER: results(1)}


def write(path: Path, **changed: Any) -> Path:
    arguments = {"title": f"Title {WILD}", "methods": METHODS, "sequences": [sequence(n) for n in NAMES]}
    arguments |= {"notes": [f"note {WILD}"], "maps": heat, "legends": {"uncertainty": np.zeros((4, 9, 3), np.uint8)}}
    write_page(path, **(arguments | changed))
    return path
