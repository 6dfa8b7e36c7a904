"""Figures for papers: curves, bars, strips and maps with their legends, as PNG and PDF.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; line styles and markers differ too, so that they
survive a grey printer. Fonts are embedded in PDFs as TrueType, so that text stays text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from munet_jax.host_types import Float, Image, UInt8
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.colours import flow_colours, flow_wheel, heat_map
from munet_jax.visualization.overlays import blend

Figure: TypeAlias = Any  # matplotlib's, which is an extra
Picture: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
Range: TypeAlias = tuple[float | int, float | int]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
}
_HEAT_ALPHA = 0.6


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Writes a figure as stem.png, stem.pdf, ...; its folder is made, and each file appears whole or not at all."""
    from matplotlib import rc_context

    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        # Without a date the same figure makes the same file.
        metadata = {"CreationDate": None} if name == "pdf" else {}
        with rc_context(_STYLE), atomic_path(path) as temporary:
            figure.savefig(temporary, bbox_inches="tight", metadata=metadata)
        paths.append(path)
    return paths


def curves(
    series: Mapping[str, Sequence[float | int]], positions: Sequence[float | int], *, title: str, label: str = "IoU"
) -> Figure:
    """A measure over time, a line per method (Fig. 8 and 9).

    Args:
      series: values in [0, 1] by method; NaN leaves a gap.
      positions: the frames' numbers, as many as each has values.
      title: above the axes.
      label: of the measure.
    """
    figure, axes = _axes(5.2, 2.4)
    every = max(1, len(positions) // 12)
    for (name, values), style in zip(series.items(), _styles(len(series)), strict=True):
        axes.plot(positions, values, label=plain(name), markevery=every, markersize=4, linewidth=1.4, **style)
    axes.set(xlabel="frame", ylabel=label, ylim=(-0.02, 1.02), title=plain(title))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    return figure


def growth(panels: Mapping[str, Mapping[str, Sequence[tuple[float | int, float | int]]]], *, label: str) -> Figure:
    """A cost against each of several sizes: a panel for each, with a line per program, on two logarithmic axes.

    Args:
      panels: by what varies, by program, the points (size, cost). A program looks the same in all panels.
      label: of the cost.
    """
    figure, grid = _grid([2.6], [2.4] * len(panels))
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    styles = dict(zip(names, _styles(len(names)), strict=True))
    for axes, (varied, lines) in zip(grid[0], panels.items(), strict=True):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=plain(name), markersize=4, linewidth=1.4, **styles[name])
        axes.set(xlabel=varied, xscale="log", yscale="log")
        sizes = sorted({size for points in lines.values() for size, _ in points})
        axes.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    costs = [cost for lines in panels.values() for points in lines.values() for _, cost in points]
    steps = [step * 10.0**power for power in range(-4, 6) for step in (1, 2, 5)]
    shown = [step for step in steps if min(costs) / 2 < step < max(costs) * 2]
    for axes in grid[0]:
        axes.set_ylim(min(costs) / 1.3, max(costs) * 1.3)
        axes.set_yticks(shown, [f"{step:g}" for step in shown])
    grid[0, 0].set_ylabel(label)
    handles = {text: line for axes in grid[0] for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), frameon=False, loc="outside lower center", ncols=len(names))
    return figure


def bars(groups: Mapping[str, Mapping[str, float | int]], *, title: str, label: str = "J&F") -> Figure:
    """A measure per sequence or attribute, a bar per method in each group.

    Args:
      groups: values in [0, 1] by group and method; a missing or NaN value is a gap.
      title: above the axes.
      label: of the measure.

    Raises:
      InputError: there is no group.
    """
    if not groups:
        raise InputError("no bars to draw")
    methods = list(dict.fromkeys(name for group in groups.values() for name in group))
    width = 0.8 / len(methods)
    figure, axes = _axes(max(4.0, 0.3 * len(groups) * max(len(methods), 2) ** 0.5 + 1.5), 2.8)
    places = np.arange(len(groups))
    for number, name in enumerate(methods):
        values = [group.get(name, math.nan) for group in groups.values()]
        offset = (number - (len(methods) - 1) / 2) * width
        axes.bar(
            places + offset, values, width, label=plain(name), color=COLOURS[number % len(COLOURS)],
            hatch=_HATCHES[number % len(_HATCHES)], edgecolor="white", linewidth=0.5,
        )  # fmt: skip
    axes.set_xticks(
        places,
        list(map(plain, groups)),
        rotation=45 if len(groups) > 4 else 0,
        ha="right" if len(groups) > 4 else "center",
    )
    axes.set(ylabel=label, ylim=(0, 1), title=plain(title))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def strips(rows: Mapping[str, Sequence[Picture]], columns: Sequence[str], *, title: str = "") -> Figure:
    """Pictures in a row per method and a column per moment (Fig. 1, 10 and 11).

    Args:
      rows: RGB uint8 [h, w, 3] by method, as many as there are columns.
      columns: what stands above each.
      title: above all.

    Raises:
      InputError: no picture, or rows of different length.
    """
    if not rows or not columns:
        raise InputError("no pictures for a strip")
    if any(len(pictures) != len(columns) for pictures in rows.values()):
        raise InputError(f"a strip has {len(columns)} columns, and every row needs a picture for each")
    height, width = next(iter(rows.values()))[0].shape[:2]
    panel = 1.9
    figure, grid = _grid([panel * height / width] * len(rows), [panel] * len(columns))
    for (name, pictures), line in zip(rows.items(), grid, strict=True):
        for picture, axes in zip(pictures, line, strict=True):
            _show(axes, picture)
        line[0].set_ylabel(plain(name))
    for text, axes in zip(columns, grid[0], strict=True):
        axes.set_title(text)
    if title:
        figure.suptitle(plain(title))
    return figure


def matching(
    frame: Image,
    before: Image,
    cosines: Float[np.ndarray, "u u"],
    centre: tuple[float, float],
    step: tuple[float, float],
    *,
    title: str = "",
) -> Figure:
    """Local matching of one place: where it is, and how well it matches the places around it in the frame before (Fig. 3).

    Args:
      frame: RGB uint8 [h, w, 3].
      before: the frame before it.
      cosines: similarity to the places of the window, rows down and columns to the right; NaN outside the frame.
      centre: (x, y) of the place in image pixels.
      step: (x, y) in image pixels between the window's columns and rows.
      title: above the frame.
    """
    from matplotlib.patches import Rectangle

    side, height, width = cosines.shape[0], *frame.shape[:2]
    figure, ((left, middle, right, legend),) = _grid([2.0], [max(2 * width / height, 2.8)] * 2 + [2.2, 0.6])
    low, high = float(np.nanmin(cosines)), float(np.nanmax(cosines))
    high = high if high > low else low + 1e-6
    reach = side * np.array(step) / 2
    extent = (centre[0] - reach[0], centre[0] + reach[0], centre[1] + reach[1], centre[1] - reach[1])
    _show(left, frame)
    left.plot(*centre, marker="+", color="white", markersize=14, markeredgewidth=3)
    left.plot(*centre, marker="+", color="#D55E00", markersize=13, markeredgewidth=1.4)
    left.set_title(plain(title) or "frame")
    _show(middle, before)
    shown = middle.imshow(_heat(cosines, low, high), extent=extent, interpolation="nearest", alpha=_HEAT_ALPHA)
    shown.set_clip_box(middle.bbox)
    middle.add_patch(Rectangle((extent[0], extent[3]), *(2 * reach), fill=False, edgecolor="white", linewidth=1))
    middle.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), title="similarity to the frame before")
    _show(right, _heat(cosines, low, high))
    # What lies outside the frame is left out: in a small frame that is most of the window.
    rows, columns = (np.flatnonzero(~np.isnan(cosines).all(axis=axis)) for axis in (1, 0))
    right.set(xlim=(columns[0] - 0.5, columns[-1] + 0.5), ylim=(rows[-1] + 0.5, rows[0] - 0.5))
    row, column = np.unravel_index(int(np.nanargmax(cosines)), cosines.shape)
    right.plot(column, row, marker="o", markerfacecolor="none", markeredgecolor="#56B4E9", markersize=7)
    moved = np.array([column - side // 2, row - side // 2]) * step
    right.set_title(f"best: ({moved[0]:+.0f}, {moved[1]:+.0f}) pixels")
    _colour_bar(figure, legend, low, high, "cosine")
    return figure


def motion(
    frames: Sequence[Image],
    uncertainty: Sequence[Float[np.ndarray, "_ _"]],
    displacement: Sequence[Float[np.ndarray, "_ _ 2"]],
    attention: Sequence[Float[np.ndarray, "_ _"]],
    columns: Sequence[str],
    *,
    uncertainty_range: Range,
    max_length: float | int,
    title: str = "",
) -> Figure:
    """Frames, displacement with its wheel, uncertainty over the image, and attention in grey (Fig. 5, 6 and 7).

    Args:
      frames: RGB uint8 [h, w, 3].
      uncertainty: best cosine with the frame before, [h, w]; high = sure match.
      displacement: where each pixel came from, [h, w, 2] as (x, y) in image pixels.
      attention: [h, w] in [0, 1].
      columns: what stands above each frame.
      uncertainty_range: the cosines of the darkest and the brightest colour.
      max_length: of a displacement in full colour, in image pixels.
      title: above all.
    """
    height, width = frames[0].shape[:2]
    figure, grid = _grid([2.2 * height / width] * 4, [2.2] * len(frames) + [1.0])
    for number, axes in enumerate(grid.T[:-1]):
        _show(axes[0], frames[number])
        _show(axes[1], flow_colours(displacement[number], max_length))
        _show(axes[2], uncertainty_over(frames[number], uncertainty[number], uncertainty_range))
        _show(axes[3], attention_picture(attention[number]))
        axes[0].set_title(columns[number])
    for axes, name in zip(grid[:, 0], ("frame", "displacement", "uncertainty", "attention"), strict=True):
        axes.set_ylabel(name)
    grid[0, -1].set_axis_off()
    _show(grid[1, -1], flow_wheel(200))
    grid[1, -1].set_title(f"rim: {max_length:.1f} pixels", fontsize=7)
    _colour_bar(figure, grid[2, -1], *uncertainty_range, "cosine (high = sure)")
    _colour_bar(figure, grid[3, -1], 0, 1, "weight", colours="gray")
    if title:
        figure.suptitle(plain(title))
    return figure


def plain(name: str) -> str:
    """A name as matplotlib shows it: dollars are no formula, and an underscore in front does not keep it from the legend."""
    escaped = name.replace("$", r"\$")
    return "\u200b" + escaped if escaped.startswith("_") else escaped


def uncertainty_over(frame: Image, uncertainty: Float[np.ndarray, "_ _"], limits: Range) -> Image:
    """The uncertainty map as a heat map over its frame."""
    return blend(frame, heat_map(uncertainty, *limits), _HEAT_ALPHA)


def attention_picture(attention: Float[np.ndarray, "_ _"]) -> Picture:
    """The attention map in grey, white at 1."""
    return np.repeat((np.clip(attention, 0, 1) * 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def require_matplotlib() -> None:
    """Raises InputError where it is not installed; ask before long work."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(
            "figures need matplotlib: pip install 'munet_jax[plot]', or for a report 'munet_jax[report]'"
        ) from error


def _styles(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": _LINES[number % len(_LINES)],
            "marker": _MARKERS[number % len(_MARKERS)],
        }


def _axes(width: float | int, height: float | int) -> tuple[Figure, Any]:
    figure, grid = _grid([height], [width])
    return figure, grid[0, 0]


def _grid(heights: Sequence[float | int], widths: Sequence[float | int]) -> tuple[Figure, Any]:
    """A figure of panels of these heights and widths in inches."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure as MatplotlibFigure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        figure = MatplotlibFigure((sum(widths) + 0.3, sum(heights) + 0.5), layout=layout)
        ratios = {"width_ratios": widths, "height_ratios": heights}
        return figure, figure.subplots(len(heights), len(widths), squeeze=False, gridspec_kw=ratios)


def _show(axes: Any, picture: Picture) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _heat(values: Float[np.ndarray, "_ _"], low: float | int, high: float | int) -> Picture:
    """The heat map, white where there is no value."""
    colours = heat_map(values, low, high)
    return np.where(np.isnan(values)[..., None], np.uint8(255), colours)


def _colour_bar(
    figure: Figure, legend: Any, low: float | int, high: float | int, label: str, colours: str | None = None
) -> None:
    """In a panel of its own."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    heat = ListedColormap(heat_map(np.linspace(0, 1, 256)[None], 0, 1)[0] / 255.0)
    legend.set_axis_off()
    bar = legend.inset_axes((0.08, 0.08, 0.14, 0.84))
    figure.colorbar(ScalarMappable(Normalize(low, high), colours or heat), cax=bar, label=label)
