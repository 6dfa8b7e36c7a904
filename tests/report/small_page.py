"""A made-up evaluation of three sequences by two methods, with names that a page must not take for markup."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.report.page import PageFrame, PageSequence, write_page

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


def frame(name: str, number: int, *, maps: bool = True) -> PageFrame:
    image = np.full((HEIGHT, WIDTH, 3), (20 * number, 90, 160), np.uint8)
    masks = {OURS: labels(number), OTHER: labels(number + 20)}
    if number:
        masks["annotation"] = labels(number + 2)
    heat = np.zeros((4, 7, 3), np.uint8)
    heat[..., 0] = np.arange(7) * 40
    return PageFrame(f"{number:05d}", image, masks, {"uncertainty": heat} if maps else {}, scores(name, number))


def sequence(name: str, *, maps: bool = True) -> PageSequence:
    found = {m: [(f"{n:05d}", scores(name, n)[m]) for n in range(FRAMES)] for m in (OURS, OTHER)}
    curves = {m: [(frame_name, sum(pair) / 2) for frame_name, pair in rows if pair] for m, rows in found.items()}
    return PageSequence(name, (frame(name, number, maps=maps) for number in range(FRAMES)), curves)


def results(method: int) -> dict[str, Any]:
    def entry(value: float | None) -> dict[str, Any]:
        return {"J": value, "F": value, "J&F": value}

    split = {name: entry(values[method]) for name, values in VALUES.items() if values[method] is not None}
    split = {name: of | {"objects": {"1": of, "10": of, "2": entry(None)}} for name, of in split.items()}
    return entry(0.6) | {"J_recall": 0.75, "F_decay": math.nan, "device": "CPU", "fps": 12.345, "sequences": split}


METHODS = {OURS: results(0), OTHER: results(1)}


def write(path: Path, **changed: Any) -> Path:
    arguments = {"title": f"Title {WILD}", "methods": METHODS, "sequences": (sequence(n) for n in NAMES)}
    arguments |= {"notes": [f"note {WILD}"], "legends": {"uncertainty": np.zeros((4, 9, 3), np.uint8)}}
    write_page(path, **(arguments | changed))
    return path
