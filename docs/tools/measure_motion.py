"""Measures what the MU-Layer's displacement and uncertainty are worth: two tables, and two curves.

Command:   python docs/tools/measure_motion.py lite
           python docs/tools/measure_motion.py lite --davis DATA/DAVIS      on real videos too, where nobody knows the motion
Data:      none; the videos whose motion is known are made from a seed
Writes:    docs/tables/measured_motion_synthetic.csv, with --davis measured_motion_real.csv too, and
           docs/pictures/risk_coverage.jpg and reliability.jpg; with --out DIR all of them to DIR

A displacement is compared with the true one. On real videos it is compared with the displacement back from the frame
before. The areas lie below the mean error of the most certain share of the pixels (munet_jax/evaluation/motion_quality.py).
Reliability compares the stated chance of a match within one cell with how often it is one (munet_jax/models/shown_motion.py).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image

import munet_jax
from munet_jax.commands.scripts import exit_code_of
from munet_jax.data.clips import ClipSource
from munet_jax.data.davis import DavisSource, video_names
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.data.trees import TreeSource, list_video
from munet_jax.evaluation.motion_quality import (
    Reliability,
    RiskCoverage,
    correlation,
    endpoint_errors,
    reliability,
    risk_coverage,
    round_trip_errors,
)
from munet_jax.inference.maps import motion_maps
from munet_jax.inference.views import geometry_for
from munet_jax.models.padding import STRIDE
from munet_jax.runtime.atomic_files import atomic_path, writing_to
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.plots import curves, require_matplotlib, save_figure

DOCS = Path(__file__).parents[1]
SYNTHETIC_TABLE, REAL_TABLE = "measured_motion_synthetic.csv", "measured_motion_real.csv"
PICTURE, RELIABILITY = "risk_coverage", "reliability"


def _videos(speed: float, camera: float) -> SyntheticConfig:
    """Four videos of eight pairs of frames, with the objects and the noise of the quickstart."""
    return SyntheticConfig(
        videos=4, frames=9, height=240, width=432, seed=2000, min_objects=2, max_objects=2, distractors=1,
        min_size=0.3, max_size=0.5, leaving=0.1, noise=5.0, flicker=0.06, speed=speed, camera=camera,
    )  # fmt: skip


SETTINGS = {"slow": _videos(0.008, 0.003), "moderate": _videos(0.02, 0.006), "fast": _videos(0.05, 0.015)}
DRAWN = "moderate"  # whose curve is kept
EVERY = 10  # one of so many pairs of frames of a real video is measured
ROWS = 480  # at which most videos are worked on
GRID = 4  # one of so many pixels of a real frame along each axis: maps come from cells of 16 pixels or more
CLOSE = 4.0  # pixels; a round trip that ends nearer to its start counts as consistent

Network: TypeAlias = tuple[Any, Any, Any]  # as munet_jax.load gives it
Table: TypeAlias = list[dict[str, str]]
Values: TypeAlias = np.ndarray


class Seen(NamedTuple):
    """What the network says of one frame or of several, one below the other: maps of h rows.

    Attributes:
      displacement: [h, w, 2], (dx, dy) in pixels.
      certainty: [h, w], the MU-Layer's uncertainty.
      round_trip: [h, w] in pixels, NaN where the path leaves the frame.
      objects: bool [h, w], the labelled objects' pixels.
      chance: [h, w], that the match is within one cell.
      attention: [h, w] in [0, 1], MSAM's.
    """

    displacement: Values
    certainty: Values
    round_trip: Values
    objects: Values
    chance: Values
    attention: Values


class Curves(NamedTuple):
    """Risk over coverage, ordered by the network's certainty and by the errors themselves; chances beside what happened."""

    model: RiskCoverage
    oracle: RiskCoverage
    reliability: Reliability


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes and draws; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a shipped network's name, a file of weights, or a finished run's folder")
    parser.add_argument("--davis", type=Path, metavar="DIR", help="a DAVIS tree; of its 2016 val split unless --list")
    parser.add_argument("--list", type=Path, metavar="FILE", help="the names of its videos to take, one per line")
    parser.add_argument(
        "--rows",
        type=int,
        default=ROWS,
        metavar="N",
        help=f"short side that smaller frames are enlarged to (default: {ROWS})",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where all files go, in place of docs")
    options = parser.parse_args(arguments)
    if options.list and not options.davis:
        raise InputError("--list names videos of a DAVIS tree; give its folder by --davis DIR")
    require_matplotlib()
    # Before minutes of work: the tree may not be there.
    source = open_davis(options.davis, options.list) if options.davis else None
    network = munet_jax.load(options.weights)
    network[2].inference.min_size = options.rows
    tables, pictures = (options.out,) * 2 if options.out else (DOCS / "tables", DOCS / "pictures")
    table, drawn = measure_synthetic(network, SETTINGS)
    write_table(tables / SYNTHETIC_TABLE, table)
    draw(pictures / PICTURE, drawn[DRAWN])
    draw_reliability(pictures / RELIABILITY, {name: one.reliability for name, one in drawn.items()})
    if source is not None:
        write_table(tables / REAL_TABLE, measure_real(network, source))
    return 0


def open_davis(root: Path, names: Path | None) -> ClipSource:
    """The videos of DAVIS-2016's val split, or those that a file names.

    Raises:
      InputError: the tree, the list or a video is missing.
    """
    if names is None:
        return DavisSource(root, "val", "2016")
    frames, masks = root / "JPEGImages" / "480p", root / "Annotations" / "480p"
    videos = [list_video(name, frames / name, masks / name) for name in video_names(names)]
    return TreeSource(names.stem, videos, merge_objects=True)


def measure_synthetic(network: Network, settings: Mapping[str, SyntheticConfig]) -> tuple[Table, dict[str, Curves]]:
    """Measures videos whose motion is known, at the pixels that the frame before shows too.

    Args:
      network: as `munet_jax.load` gives it.
      settings: what the videos are like, by name.

    Returns:
      Two rows per setting, of all pixels and of the objects' alone; and the curves of all pixels, by setting.
    """
    table: Table = []
    drawn: dict[str, Curves] = {}
    for name, config in settings.items():
        source = SyntheticSource(config)
        pairs = [(video, frame) for video in range(config.videos) for frame in range(1, config.frames)]
        seen = stack(look(network, source, *pair) for pair in pairs)
        truth, visible = (np.concatenate(maps) for maps in zip(*(source.motion(*pair) for pair in pairs), strict=True))
        errors = endpoint_errors(seen.displacement, truth)
        geometry = geometry_for(network[2].inference, (config.height, config.width))
        cell = STRIDE * geometry.size[0] / geometry.work[0]  # in pixels of the frame
        for pixels, where in parts(seen, visible).items():
            curve = risk_coverage(seen.certainty[where], errors[where])
            chances = reliability(seen.chance[where], errors[where] <= cell)
            row = {"motion": name, "pixels": pixels} | accuracy(seen, truth, where) | areas(curve)
            table.append(
                row | {"calibration error": f"{chances.error:.3f}", "largest gap of a bin": f"{chances.gap():.3f}"}
            )
            if pixels == "all":
                drawn[name] = Curves(curve, risk_coverage(-errors[where], errors[where]), chances)
    return table, drawn


def accuracy(seen: Seen, truth: Values, where: Values) -> dict[str, str]:
    """Cells that compare the displacement with the true one [h, w, 2], at the pixels of `where` [h, w]."""
    errors = endpoint_errors(seen.displacement, truth)[where]
    lengths = endpoint_errors(np.zeros_like(truth), truth)[where]
    related = correlation(seen.displacement, truth, where)
    return {
        "mean error (px)": number(errors.mean()),
        "median error (px)": number(median(errors)),
        "mean error of no motion (px)": number(lengths.mean()),
        "median error of no motion (px)": number(median(lengths)),
        "correlation": "" if related is None else f"{related:.3f}",
        "median round-trip error (px)": number(median(seen.round_trip[where])),
    }


def measure_real(network: Network, source: ClipSource, every: int = EVERY) -> Table:
    """Measures videos whose motion nobody knows: how far from its start a pixel ends up, there and back.

    A network that sees no motion anywhere brings every pixel back, so the displacement's length stands beside it.

    Args:
      network: as `munet_jax.load` gives it.
      source: annotated videos.
      every: takes one of so many pairs of frames of a video.

    Returns:
      Two rows, of all pixels and of the objects' alone.
    """
    pairs = [
        (video, frame)
        for video in range(len(source))
        for frame in range(1, len(source.video(video).frame_names), every)
    ]
    # Frames differ in width, so their pixels are laid in one row.
    seen = stack(flattened(look(network, source, *pair), GRID) for pair in pairs)
    stays = ~np.isnan(seen.round_trip)
    lengths = endpoint_errors(seen.displacement, np.zeros_like(seen.displacement))
    table: Table = []
    for pixels, where in parts(seen, np.ones_like(stays)).items():
        errors = seen.round_trip[where & stays]
        curve = risk_coverage(seen.certainty[where & stays], errors)
        row = {
            "pixels": pixels,
            "pairs of frames": str(len(pairs)),
            "median displacement (px)": number(median(lengths[where])),
            "path stays in the frame": f"{stays[where].mean():.3f}",
            "median round-trip error (px)": number(median(errors)),
            f"round trip below {CLOSE:.0f} px": f"{np.mean(errors < CLOSE):.3f}",
            "attention, 5 to 95 % of the pixels": spread(seen.attention[where]),
        }
        table.append(row | areas(curve))
    return table


def look(network: Network, source: ClipSource, video: int, frame: int) -> Seen:
    """What the network says of a frame from 1 on, against the one before it."""
    before, now = source.frame(video, frame - 1), source.frame(video, frame)
    forward, backward = motion_maps(*network, before, now), motion_maps(*network, now, before)
    errors = round_trip_errors(forward.displacement, backward.displacement)
    objects = source.labels(video, frame) > 0
    return Seen(forward.displacement, forward.uncertainty, errors, objects, forward.chance, forward.attention)


def flattened(seen: Seen, grid: int) -> Seen:
    """Every `grid`-th pixel along each axis, as maps of one column."""
    return Seen(*(values[::grid, ::grid].reshape(-1, 1, *values.shape[2:]) for values in seen))


def stack(maps: Iterator[Seen]) -> Seen:
    """Lays maps of one width below one another."""
    return Seen(*map(np.concatenate, zip(*maps, strict=True)))


def parts(seen: Seen, counted: Values) -> dict[str, Values]:
    """The pixels that count, and those of them that belong to an object."""
    return {"all": counted, "objects": counted & seen.objects}


def areas(curve: RiskCoverage) -> dict[str, str]:
    """The cells of the three areas, in pixels: by certainty, in the best order, in a random one."""
    shown = {"by certainty": curve.area, "best order": curve.oracle, "random order": curve.random}
    return {f"area {name} (px)": number(value) for name, value in shown.items()}


def median(values: Values) -> float:
    """The median of the values that are not NaN; NaN where none is left."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else math.nan


def number(value: float) -> str:
    """Pixels as a table shows them; nothing where there is no number."""
    return "" if math.isnan(value) else f"{value:.2f}"


def spread(values: Values) -> str:
    """From where to where 90 % of the values lie, as a table shows it: nothing is weighted where both ends are alike."""
    low, high = np.percentile(values, (5, 95))
    return f"{low:.3f} to {high:.3f}"


def write_table(path: Path, rows: Table) -> None:
    """Writes rows that have equal columns as CSV."""
    with (
        writing_to(path.parent),
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(path)


def draw(stem: Path, drawn: Curves) -> None:
    """Draws the mean error of the most certain share of the pixels beside the best and a random order, as stem.jpg."""
    model, oracle = drawn.model, drawn.oracle
    series = {
        "most certain first": model.risk.tolist(),
        "smallest error first": oracle.risk.tolist(),
        "in random order": [model.random] * len(model.risk),
    }
    figure = curves(series, model.coverage.tolist(), title="Error of the pixels that are kept", label="mean error (px)")
    top = max(map(max, series.values()))
    figure.axes[0].set(xlabel="share of the pixels", xlim=(0, 1.02), ylim=(-0.02 * top, 1.05 * top))
    save_jpeg(figure, stem)


def draw_reliability(stem: Path, drawn: Mapping[str, Reliability]) -> None:
    """Draws how often a match is within one cell over the chance that was stated for it, as stem.jpg."""
    figure = curves({"as stated": [0.0, 1.0]}, [0.0, 1.0], title="Matches within one cell", label="share that is right")
    (axes,) = figure.axes
    for name, found in drawn.items():
        axes.plot(found.stated, found.observed, marker="o", markersize=4, label=name)
    axes.legend()
    axes.set(xlabel="stated chance", xlim=(0, 1.02), ylim=(0, 1.02))
    save_jpeg(figure, stem)


def save_jpeg(figure: Any, stem: Path) -> None:
    """Writes a figure as stem.jpg."""
    path = stem.with_suffix(".jpg")
    with writing_to(path.parent), tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
        (png,) = save_figure(figure, Path(folder) / stem.name, ("png",))
        with PIL.Image.open(png) as image:
            image.convert("RGB").save(temporary, quality=85)
    print(path)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
