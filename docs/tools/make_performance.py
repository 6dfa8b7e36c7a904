"""Makes docs/pictures/performance.jpg and its table from what benchmarks/inference.py printed.

Command:   python docs/tools/make_performance.py RESULT.json...
Table:     docs/pictures/performance.csv, a row for each case of the files

Each panel varies one thing. The others stay at one object, five frames in memory, 854 x 480 and the policy `every_k`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.tools.make_pictures import keep
from munet_jax.commands.scripts import exit_code_of
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.visualization.plots import growth, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
FIELDS = ("network", "size", "objects", "memory", "policy", "convolutions", "max_size", "seconds")
USUAL = {"size": "854x480", "objects": 1, "memory": 5, "convolutions": "winograd", "max_size": 0}
NAMES = {"paper": "the paper's network", "lite": "light"}
POLICIES = {"every_k": "", "adaptive": ", adaptive"}

Case = dict[str, Any]


def main() -> int:
    """Writes the table and the picture; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="what benchmarks/inference.py printed")
    options = parser.parse_args()
    runs = [json.loads(path.read_text(encoding="utf-8"))["cases"] for path in options.results]
    with atomic_path(DOCS / "pictures" / "performance.csv") as temporary:
        write_table(temporary, itertools.chain(*runs))
    with tempfile.TemporaryDirectory() as folder:
        (drawn,) = save_figure(draw(runs), Path(folder) / "performance", ["png"])
        keep(drawn, DOCS / "pictures" / "performance.jpg")
    return 0


def write_table(path: Path, cases: Iterable[Case]) -> None:
    """Writes a CSV table with a row for each case."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(cases)


def draw(runs: Sequence[Sequence[Case]]) -> Figure:
    """Draws seconds a frame by objects, by frames in memory and by megapixels."""
    panels = {
        "objects": lines(runs, "objects", ("every_k",)),
        "frames in memory": lines(runs, "memory", tuple(POLICIES)),
        "megapixels": lines(runs, "size", tuple(POLICIES)),
    }
    return growth(panels, label="seconds a frame")


def lines(runs: Sequence[Sequence[Case]], varied: str, policies: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """By network and policy, the points (varied, seconds) of the cases that are otherwise usual, in order.

    All points of a line are from one run, the first that has two of them: the machine differs from run to run.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        for name, points in lines_of(run, varied, policies).items():
            if len(points) > 1:
                found.setdefault(name, sorted(points.items()))
    return found


def lines_of(run: Sequence[Case], varied: str, policies: Sequence[str]) -> dict[str, dict[float, float]]:
    """The points of one run by line, however few they are."""
    found: dict[str, dict[float, float]] = {}
    for case in run:
        usual = all(case[name] == value for name, value in USUAL.items() if name != varied)
        if usual and case["policy"] in policies:
            line = found.setdefault(NAMES[case["network"]] + POLICIES[case["policy"]], {})
            line[megapixels(case["size"]) if varied == "size" else case[varied]] = case["seconds"]
    return found


def megapixels(size: str) -> float:
    """How many megapixels 'WIDTHxHEIGHT' has."""
    width, height = map(int, size.split("x"))
    return width * height / 1e6


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
