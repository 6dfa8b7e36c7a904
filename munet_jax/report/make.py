"""A report of one method or several: figures for papers (PNG and PDF) and a page to look through."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from munet_jax.evaluation.results_files import is_number
from munet_jax.host_types import Image, UInt8
from munet_jax.report.page import ANNOTATION, PageFrame, PageSequence, require_jinja2, write_page
from munet_jax.report.sequences import ReportSequence
from munet_jax.runtime.errors import InputError
from munet_jax.visualization import plots
from munet_jax.visualization.colours import flow_colours, heat_map
from munet_jax.visualization.figures import colour_bar, wheel_legend
from munet_jax.visualization.overlays import STRIP_SHARES, overlay_labels, shrink_to_width, strip_frames

PAGE = "index.html"
LEGEND_WIDTH = 320
MAP_WIDTH = 160  # of maps on the page: they come from stride 16
_TRUTH = "truth"


@runtime_checkable
class Window(Protocol):
    """What `inference.motion.MatchingWindow` holds."""

    @property
    def cosines(self) -> Any:
        """[2 r + 1, 2 r + 1]."""
        ...

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels."""
        ...

    @property
    def step(self) -> tuple[float, float]:
        """(x, y) in pixels."""
        ...


@runtime_checkable
class Maps(Protocol):
    """What `inference.motion.MotionMaps` holds; scoring and drawing masks never load JAX."""

    @property
    def uncertainty(self) -> Any:
        """[h, w]."""
        ...

    @property
    def displacement(self) -> Any:
        """[h, w, 2]."""
        ...

    @property
    def attention(self) -> Any:
        """[h, w]."""
        ...

    def window(self, x: float | int, y: float | int) -> Window:
        """Of a pixel."""
        ...


MapReader = Callable[[Image, Image], Maps]


class Ranges(NamedTuple):
    """What the ends of the colours mean, the same in the whole report."""

    uncertainty: tuple[float, float]
    length: float


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """How a report is made.

    Attributes:
      formats: of the figures.
      page_frames: how many frames of a sequence the page shows at most, evenly spread, and the worst ones beside them.
      page_width: of its frames, in pixels.
      attributes: by sequence, what its video is like; for bars per attribute.
      pixel: (x, y) of the place whose matching is drawn; None takes the middle of the largest object.
    """

    formats: tuple[str, ...] = ("png", "pdf")
    page_frames: int = 60
    page_width: int = 480
    attributes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    pixel: tuple[int, int] | None = None


def make_report(
    sequences: Sequence[ReportSequence],
    methods: Mapping[str, Mapping[str, Any]],
    folder: Path,
    options: ReportOptions,
    *,
    title: str,
    notes: Sequence[str] = (),
    maps: MapReader | None = None,
) -> list[Path]:
    """Draws everything there is to draw.

    Args:
      sequences: what is shown.
      methods: the content of results.json by method.
      folder: gets iou/, strips/, bars/, with `maps` also motion/ and matching/, and index.html.
      options: how.
      title: of the page.
      notes: sentences for below it.
      maps: what the network sees between two frames; None leaves those figures out.

    Returns:
      The files.

    Raises:
      InputError: matplotlib or Jinja2 is not installed, or something cannot be drawn.
    """
    require_libraries()
    paths = _draw_bars(methods, folder / "bars", options)
    ranges = None if maps is None else find_ranges(sequences, maps)
    for sequence in _progress(sequences, "figures"):
        paths += _draw_sequence(sequence, folder, options)
        if maps is not None and ranges is not None and len(sequence.frame_names) > 1:
            paths += _draw_motion(sequence, maps, ranges, folder, options)
    write_page(
        folder / PAGE,
        title=title,
        methods=methods,
        sequences=(page_sequence(s, options, maps, ranges) for s in _progress(sequences, "page")),
        notes=notes,
        legends={} if ranges is None else _legends(ranges),
        width=options.page_width,
    )
    return [folder / PAGE, *paths]


def require_libraries() -> None:
    """Raises InputError where matplotlib or Jinja2 is not installed; ask before long work."""
    plots.require_matplotlib()
    require_jinja2()


def read_attributes(path: Path) -> dict[str, list[str]]:
    """Attributes by sequence of a JSON file, {"sequence": ["attribute", ...]}.

    Raises:
      InputError: the file cannot be read or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    good = isinstance(content, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in content.values()
    )
    if not good:
        raise InputError(f'{path}: should hold {{"sequence": ["attribute", ...]}}')
    return content


def page_frames(sequence: ReportSequence, most: int) -> list[int]:
    """Indices of the frames that the page shows: all of them, or `most` evenly spread and every method's ten worst."""
    count = len(sequence.frame_names)
    if count <= most:
        return list(range(count))
    chosen = {round(k * (count - 1) / (most - 1)) if most > 1 else 0 for k in range(most)}
    index = {name: number for number, name in enumerate(sequence.frame_names)}
    for scores in sequence.scores.values():
        worst = sorted((sum(pair), name) for name, pair in scores.items() if name in index)[:10]
        chosen |= {index[name] for _, name in worst}
    return sorted(chosen)


def page_sequence(
    sequence: ReportSequence, options: ReportOptions, maps: MapReader | None, ranges: Ranges | None
) -> PageSequence:
    """A sequence for the page; its frames are read when the page takes them."""
    curves = {
        method: [(name, sum(scores[name]) / 2) for name in sequence.frame_names if name in scores]
        for method, scores in sequence.scores.items()
    }
    numbers = page_frames(sequence, options.page_frames)
    return PageSequence(sequence.name, (_page_frame(sequence, number, maps, ranges) for number in numbers), curves)


def find_ranges(sequences: Sequence[ReportSequence], maps: MapReader) -> Ranges:
    """Ends of the colours that suit the frames at the middle of the sequences."""
    cosines, lengths = [], []
    for sequence in sequences:
        middle = len(sequence.frame_names) // 2
        if middle:
            found = maps(sequence.frame(middle - 1), sequence.frame(middle))
            cosines += [float(x) for x in np.quantile(found.uncertainty, (0.02, 1.0))]
            lengths.append(float(np.quantile(np.hypot(*np.moveaxis(found.displacement, -1, 0)), 0.99)))
    low, high = (min(cosines), max(cosines)) if cosines else (0.0, 1.0)
    return Ranges((low, high if high > low else low + 1e-3), max([*lengths, 1.0]))


def _page_frame(sequence: ReportSequence, number: int, maps: MapReader | None, ranges: Ranges | None) -> PageFrame:
    image = sequence.frame(number)
    name = sequence.frame_names[number]
    masks = {method: read(number) for method, read in sequence.masks.items()} | {
        ANNOTATION: sequence.annotation(number)
    }
    shown = {}
    if maps is not None and ranges is not None and number:
        found = maps(sequence.frame(number - 1), image)
        pictures = {
            "uncertainty": heat_map(found.uncertainty, *ranges.uncertainty),
            "displacement": flow_colours(found.displacement, ranges.length),
            "attention": plots.attention_picture(found.attention),
        }
        shown = {key: np.asarray(shrink_to_width(picture, MAP_WIDTH)) for key, picture in pictures.items()}
    scores = {method: of.get(name) for method, of in sequence.scores.items()}
    return PageFrame(name, image, {k: v for k, v in masks.items() if v is not None}, shown, scores)


def _legends(ranges: Ranges) -> dict[str, Image]:
    heat = colour_bar(LEGEND_WIDTH, *ranges.uncertainty, "cosine: low = unsure, high = sure match")
    wheel = wheel_legend(LEGEND_WIDTH, ranges.length)
    grey = colour_bar(LEGEND_WIDTH, 0, 1, "weight: white = the motion feature is let through", grey=True)
    names = ("uncertainty", "displacement", "attention")
    return {name: np.asarray(picture) for name, picture in zip(names, (heat, wheel, grey), strict=True)}


def _draw_sequence(sequence: ReportSequence, folder: Path, options: ReportOptions) -> list[Path]:
    """Its curve and its strip."""
    paths = []
    scored = {
        name: number
        for number, name in enumerate(sequence.frame_names)
        if any(name in scores for scores in sequence.scores.values())
    }
    if scored:
        series = {
            method: [scores.get(name, (math.nan, math.nan))[0] for name in scored]
            for method, scores in sequence.scores.items()
        }
        figure = plots.curves(series, list(scored.values()), title=sequence.name)
        paths += plots.save_figure(figure, folder / "iou" / sequence.name, options.formats)
    numbers = strip_frames(len(sequence.frame_names))
    rows = {_TRUTH: sequence.annotation, **sequence.masks}
    frames = {number: sequence.frame(number) for number in numbers}  # once, not once per method
    pictures = {
        name: [_overlay(frames[number], read(number), f"{sequence.name}, frame {number}, {name}") for number in numbers]
        for name, read in rows.items()
    }
    figure = plots.strips(pictures, [f"{share:.0%}" for share in STRIP_SHARES], title=sequence.name)
    return paths + plots.save_figure(figure, folder / "strips" / sequence.name, options.formats)


def _draw_motion(
    sequence: ReportSequence, maps: MapReader, ranges: Ranges, folder: Path, options: ReportOptions
) -> list[Path]:
    """What the network sees at the strip's moments, and how one place in the middle of the sequence is matched."""
    numbers = strip_frames(len(sequence.frame_names), first=1)  # each is compared with the frame before it
    frames = [sequence.frame(number) for number in numbers]
    found = [maps(sequence.frame(number - 1), frame) for number, frame in zip(numbers, frames, strict=True)]
    figure = plots.motion(
        frames,
        [of.uncertainty for of in found],
        [of.displacement for of in found],
        [of.attention for of in found],
        [f"{share:.0%}" for share in STRIP_SHARES],
        uncertainty_range=ranges.uncertainty,
        max_length=ranges.length,
        title=sequence.name,
    )
    paths = plots.save_figure(figure, folder / "motion" / sequence.name, options.formats)
    middle = len(numbers) // 2
    window = found[middle].window(*(options.pixel or _place(sequence, numbers[middle], frames[middle])))
    figure = plots.matching(
        frames[middle],
        sequence.frame(numbers[middle] - 1),
        window.cosines,
        window.centre,
        window.step,
        title=f"{sequence.name}, frame {sequence.frame_names[numbers[middle]]}",
    )
    return paths + plots.save_figure(figure, folder / "matching" / sequence.name, options.formats)


def _place(sequence: ReportSequence, number: int, frame: Image) -> tuple[int, int]:
    """(x, y) in the middle of the largest object, or of the frame where no mask shows one."""
    for read in (sequence.annotation, *sequence.masks.values()):
        labels = read(number)
        if labels is not None and labels.any():
            ids = np.bincount(labels[labels > 0])
            y, x = np.nonzero(labels == ids.argmax())
            nearest = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)  # on the object, whatever its shape
            return int(x[nearest]), int(y[nearest])
    return frame.shape[1] // 2, frame.shape[0] // 2


def _draw_bars(methods: Mapping[str, Mapping[str, Any]], folder: Path, options: ReportOptions) -> list[Path]:
    """Bars per sequence, and per attribute where attributes are known; none where nothing was scored."""
    values = {
        method: {
            name: entry["J&F"]
            for name, entry in results["sequences"].items()
            if is_number(entry["J&F"]) and math.isfinite(entry["J&F"])
        }
        for method, results in methods.items()
    }
    names = dict.fromkeys(name for of in values.values() for name in of)
    groups = {name: {method: of[name] for method, of in values.items() if name in of} for name in names}
    if not groups:
        return []
    paths = plots.save_figure(plots.bars(groups, title="per sequence"), folder / "sequences", options.formats)
    members: dict[str, list[str]] = {}
    for name in names:
        for attribute in options.attributes.get(name, ()):
            members.setdefault(attribute, []).append(name)
    if members:
        means = {f"{attribute} ({len(of)})": _group_means(of, values) for attribute, of in sorted(members.items())}
        figure = plots.bars(means, title="per attribute (number of sequences)")
        paths += plots.save_figure(figure, folder / "attributes", options.formats)
    return paths


def _group_means(names: Sequence[str], values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """By method, the mean over the sequences that it has a value for."""
    found = {method: [of[name] for name in names if name in of] for method, of in values.items()}
    return {method: sum(of) / len(of) for method, of in found.items() if of}


def _overlay(frame: Image, labels: UInt8[np.ndarray, "_ _"] | None, called: str) -> Image:
    try:
        return frame if labels is None else overlay_labels(frame, labels)
    except InputError as error:
        raise InputError(f"{called}: {error}") from error


def _progress(items: Sequence[ReportSequence], what: str) -> Iterator[ReportSequence]:
    yield from tqdm(items, desc=what, unit="sequence", mininterval=0.5 if sys.stderr.isatty() else 15.0)
