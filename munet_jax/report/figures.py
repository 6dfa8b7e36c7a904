"""What a report draws: measures over time, strips of masks, bars, and what the network sees of motion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from munet_jax.evaluation.scoring import Pair, finite_mean
from munet_jax.host_types import Image, LabelMap
from munet_jax.report.sequences import ReportSequence
from munet_jax.visualization import plots
from munet_jax.visualization.colours import flow_colours, heat_map
from munet_jax.visualization.motion_figures import colour_bar, wheel_legend
from munet_jax.visualization.overlays import STRIP_SHARES, overlay_labels, strip_frames

LEGEND_WIDTH = 320  # pixels
_COLUMNS = [f"{share:.0%}" for share in STRIP_SHARES]

MapReader = Callable[[Image, Image], Any]
"""Gives `inference.maps.MotionMaps` of a frame before and a frame; that class needs JAX, which drawing masks never loads."""
Save = Callable[[plots.Figure, str], list[Path]]
"""Writes a figure under a name without a suffix, such as 'iou/bear', and gives its files."""


class Motion(NamedTuple):
    """What the network sees between two frames, in colours that mean the same in the whole report.

    Attributes:
      read: gives the maps.
      cosines: uncertainty at the two ends of its colours.
      length: of a displacement in full colour, in pixels.
    """

    read: MapReader
    cosines: tuple[float, float]
    length: float

    def at(self, sequence: ReportSequence, number: int) -> Any:
        """The maps of frame `number`, which is 1 or more."""
        return self.read(sequence.frame(number - 1), sequence.frame(number))

    def pictures(self, sequence: ReportSequence, number: int) -> dict[str, Image]:
        """The maps of a frame in colours, by their names; the first frame has none."""
        found = self.at(sequence, number) if number else None
        return {} if found is None else {
            "uncertainty": heat_map(found.uncertainty, *self.cosines),
            "displacement": flow_colours(found.displacement, self.length),
            "attention": plots.attention_picture(found.attention),
        }  # fmt: skip

    def legends(self) -> dict[str, Image]:
        """What the colours of each map mean."""
        heat = colour_bar(LEGEND_WIDTH, *self.cosines, "cosine: low = unsure, high = sure match")
        grey = colour_bar(LEGEND_WIDTH, 0, 1, "weight: white = the motion feature is let through", grey=True)
        legends = {"uncertainty": heat, "displacement": wheel_legend(LEGEND_WIDTH, self.length), "attention": grey}
        return {name: np.asarray(legend) for name, legend in legends.items()}


def fit_motion(sequences: Sequence[ReportSequence], read: MapReader) -> Motion:
    """Colours whose ends suit the frames at the middle of the sequences."""
    cosines, lengths = [], [1.0]
    for sequence in sequences:
        middle = len(sequence.frame_names) // 2
        if middle:
            found = read(sequence.frame(middle - 1), sequence.frame(middle))
            cosines += [float(x) for x in np.quantile(found.uncertainty, (0.02, 1.0))]
            lengths.append(float(np.quantile(np.hypot(*np.moveaxis(found.displacement, -1, 0)), 0.99)))
    low, high = (min(cosines), max(cosines)) if cosines else (0.0, 1.0)
    return Motion(read, (low, max(high, low + 1e-3)), max(lengths))


def draw_curve(
    sequence: ReportSequence, measure: Callable[[Pair], float], *, title: str = "", label: str = "IoU"
) -> plots.Figure | None:
    """A measure of (J, F) over time, a line per method; None where no frame is scored."""
    methods, names = sequence.scores, sequence.frame_names
    scored = [number for number, name in enumerate(names) if any(name in scores for scores in methods.values())]
    series = {
        method: [measure(scores[names[number]]) if names[number] in scores else math.nan for number in scored]
        for method, scores in methods.items()
    }
    return plots.curves(series, scored, title=title, label=label) if scored else None


def draw_sequence(sequence: ReportSequence, save: Save) -> list[Path]:
    """IoU over time where frames are scored, and a strip of the true and every method's masks."""
    iou = draw_curve(sequence, lambda pair: pair[0], title=sequence.name)
    paths = [] if iou is None else save(iou, f"iou/{sequence.name}")
    numbers = strip_frames(len(sequence.frame_names))
    frames = {number: sequence.frame(number) for number in numbers}  # once, not once per method

    def overlay(number: int, labels: LabelMap | None) -> Image:
        return frames[number] if labels is None else overlay_labels(frames[number], labels)

    rows = {"truth": sequence.annotation, **sequence.masks}
    pictures = {name: [overlay(number, read(number)) for number in numbers] for name, read in rows.items()}
    return paths + save(plots.strips(pictures, _COLUMNS, title=sequence.name), f"strips/{sequence.name}")


def draw_motion(sequence: ReportSequence, motion: Motion, pixel: tuple[int, int] | None, save: Save) -> list[Path]:
    """What the network sees at the moments of the strip, and how a place in the middle of the sequence is matched.

    The sequence has two frames or more. The place is at `pixel` (x, y), by default in the middle of the largest object.
    """
    numbers = strip_frames(len(sequence.frame_names), first=1)  # each is compared with the frame before it
    frames, found = [sequence.frame(n) for n in numbers], [motion.at(sequence, n) for n in numbers]
    figure = plots.motion(
        frames,
        [of.uncertainty for of in found],
        [of.displacement for of in found],
        [of.attention for of in found],
        _COLUMNS,
        uncertainty_range=motion.cosines,
        max_length=motion.length,
        title=sequence.name,
    )
    paths = save(figure, f"motion/{sequence.name}")
    number, frame, maps = list(zip(numbers, frames, found, strict=True))[len(numbers) // 2]
    window = maps.window(*(pixel or _place(sequence, number, frame)))
    title = f"{sequence.name}, frame {sequence.frame_names[number]}"
    figure = plots.matching(frame, sequence.frame(number - 1), window.cosines, window.centre, window.step, title=title)
    return paths + save(figure, f"matching/{sequence.name}")


def draw_bars(
    methods: Mapping[str, Mapping[str, Any]], attributes: Mapping[str, Sequence[str]], save: Save
) -> list[Path]:
    """J&F per sequence, and per attribute where attributes are known; nothing where nothing was scored."""
    splits = {method: results["sequences"] for method, results in methods.items()}
    groups: dict[str, dict[str, float]] = {}
    members: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for split in splits.values() for name in split):
        groups[name] = {method: split[name]["J&F"] for method, split in splits.items() if name in split}
        for attribute in attributes.get(name, ()):
            members.setdefault(attribute, []).append(name)
    means = {
        f"{attribute} ({len(of)})": {m: finite_mean([groups[name].get(m, math.nan) for name in of]) for m in methods}
        for attribute, of in sorted(members.items())
    }
    paths = save(plots.bars(groups, title="per sequence"), "bars/sequences") if groups else []
    if means:
        paths += save(plots.bars(means, title="per attribute (number of sequences)"), "bars/attributes")
    return paths


def _place(sequence: ReportSequence, number: int, frame: Image) -> tuple[int, int]:
    """(x, y) in the middle of the largest object, or of the frame where no mask shows one."""
    for read in (sequence.annotation, *sequence.masks.values()):
        labels = read(number)
        if labels is not None and labels.any():
            y, x = np.nonzero(labels == np.bincount(labels[labels > 0]).argmax())
            nearest = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)  # on the object, whatever its shape
            return int(x[nearest]), int(y[nearest])
    return frame.shape[1] // 2, frame.shape[0] // 2
