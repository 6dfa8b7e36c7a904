"""The page of a report: one HTML file with its numbers, its frames and what every method made of them.

The page needs no server and no network: pictures lie in it as data URIs, and its script is its own. It is written one
frame at a time, so the disk bounds its size, not memory.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import PIL.Image

from munet_jax.data.masks import davis_palette
from munet_jax.evaluation.scoring import MEASURES, SEEN_MEASURES
from munet_jax.host_types import UInt8
from munet_jax.report.figures import draw_curve
from munet_jax.report.sequences import ReportSequence
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.progress import Progress
from munet_jax.visualization.overlays import shrink_to_width

ANNOTATION = "annotation"
"""The layer that holds the true masks."""
WORST = 10  # frames of each method that are shown whatever their number
MAP_WIDTH = 160  # pixels at most: the network sees cells of 16
_SHOWN = MEASURES[:3]  # J, F and J&F: of methods, sequences and objects
_OVERALL = ("G", *MEASURES[3:], *SEEN_MEASURES[:4], "fps", "device")
# Heads of columns, and digits after the point; text has None.
_COLUMNS: dict[str, tuple[str, int | None]] = {key: (key.replace("_", " "), 3) for key in (*_SHOWN, *_OVERALL)}
_COLUMNS |= {"fps": ("Frames/s", 1), "device": ("Device", None)}

Results = Mapping[str, Any]
Entries = dict[tuple[str, ...], list[Results]]
Colours = UInt8[np.ndarray, "_ _ 3"]
MapPictures = Callable[[ReportSequence, int], Mapping[str, Colours]]


def write_page(
    path: Path,
    *,
    title: str,
    methods: Mapping[str, Results],
    sequences: Sequence[ReportSequence],
    notes: Sequence[str] = (),
    maps: MapPictures | None = None,
    legends: Mapping[str, Colours] = {},
    most_frames: int = 60,
    width: int = 480,
) -> None:
    """Writes the page; the file appears whole or not at all, and its folder is made if it is missing.

    Args:
      path: the HTML file.
      title: the page's heading.
      methods: the content of results.json by method; any number may be None or NaN.
      sequences: what to look at, which may be others than the results have. One frame is held at a time.
      notes: sentences below the title: which data, which checkpoint.
      maps: gives pictures by name to stretch over a frame of a sequence, RGB uint8 [h', w', 3].
      legends: what the colours of each map mean, by its name, RGB uint8 [h', w', 3].
      most_frames: how many frames of a sequence are shown, evenly spread; the worst ones of each method come on top.
      width: in pixels; wider frames are shrunk to it.

    Raises:
      InputError: Jinja2 or matplotlib is not installed; there is no method, or one is called 'annotation'; a sequence
        has no frames or comes twice.
    """
    names = [sequence.name for sequence in sequences]
    if not methods or ANNOTATION in methods:
        raise InputError(f"methods are {', '.join(methods) or 'missing'}; give one or more, none called {ANNOTATION!r}")
    for sequence in sequences:
        if names.count(sequence.name) > 1 or not sequence.frame_names:
            raise InputError(f"sequence {sequence.name!r} comes twice or has no frames; give it once, with its frames")

    def encoded(sequence: ReportSequence) -> dict[str, Any]:
        numbers = page_frames(sequence, most_frames)
        frames = (_encode_frame(sequence, number, list(methods), maps, width) for number in numbers)
        return {"name": sequence.name, "curve": _encode_curve(sequence, numbers), "frames": frames}

    pieces = _template().generate(
        title=title,
        notes=notes,
        methods=list(methods),
        known=names,
        tables=list(_tables(methods, names)),
        legends={name: _encode(legend, width) for name, legend in legends.items()},
        sequences=map(encoded, Progress(sequences, desc="page", unit="sequence")),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)


def page_frames(sequence: ReportSequence, most: int) -> list[int]:
    """Indices of the frames that the page shows: all of them, or `most` evenly spread and every method's ten worst."""
    count = len(sequence.frame_names)
    if count <= most:
        return list(range(count))
    chosen = {round(k * (count - 1) / max(most - 1, 1)) for k in range(most)}
    index = {name: number for number, name in enumerate(sequence.frame_names)}
    for scores in sequence.scores.values():
        worst = sorted((sum(pair), name) for name, pair in scores.items() if name in index)[:WORST]
        chosen |= {index[name] for _, name in worst}
    return sorted(chosen)


def require_jinja2() -> Any:
    """Gives the module; raises InputError where it is not installed. Ask before long work."""
    try:
        import jinja2
    except ImportError as error:
        raise InputError("the report page needs Jinja2: pip install 'munet_jax[report]'") from error
    return jinja2


def _template() -> Any:
    """The page's template, with everything escaped: names in HTML, and JSON so that no name can end its script."""
    jinja2 = require_jinja2()
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("page_template"))
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)
    # The order of methods and frames is theirs; NaN is no JSON.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters["link"] = lambda name: "#sequence-" + quote(name, safe="!~*'()")  # as encodeURIComponent
    return environment.get_template("page.html.j2")


def _tables(methods: Mapping[str, Results], shown: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The methods with those numbers that some method has; the sequences, and their objects, with every method's numbers."""
    known = [key for key in _OVERALL if any(_cell(of.get(key)) is not None for of in methods.values())]
    yield _table("methods", ["Method"], [*_SHOWN, *known], {(name,): [of] for name, of in methods.items()})
    splits = [results["sequences"] for results in methods.values()]
    sequences: Entries = {}
    objects: Entries = {}
    for name in dict.fromkeys([*(name for split in splits for name in split), *shown]):
        sequences[name,] = [split.get(name, {}) for split in splits]
        parts = [of.get("objects", {}) for of in sequences[name,]]
        for identity in dict.fromkeys(identity for part in parts for identity in part):
            objects[name, identity] = [part.get(identity, {}) for part in parts]
    yield _table("sequences", ["Sequence"], _SHOWN, sequences, list(methods))
    yield _table("objects", ["Sequence", "Object"], _SHOWN, objects, list(methods))


def _table(
    name: str, heads: Sequence[str], measures: Sequence[str], entries: Entries, groups: Sequence[str] = ()
) -> dict[str, Any]:
    """A row per entry: its key below `heads`, and `measures` for each group, rows with the worst J&F of the first on top."""
    rows = [[*key, *(_cell(of.get(measure)) for of in found for measure in measures)] for key, found in entries.items()]
    worst = len(heads) + measures.index("J&F") if groups else None
    if worst is not None:
        rows.sort(key=lambda row: (row[worst] is None, row[worst]))
    columns = [*((head, None) for head in heads), *[_COLUMNS[measure] for measure in measures] * max(len(groups), 1)]
    spans = [("", len(heads)), *((group, len(measures)) for group in groups)] if groups else []
    return {"name": name, "columns": columns, "rows": rows, "groups": spans, "sorted_by": worst}


def _cell(value: Any) -> float | str | None:
    """A number as it is sorted by; None where it is missing or was not scored (NaN)."""
    if value is None or isinstance(value, str):
        return value
    return round(float(value), 6) if math.isfinite(value) else None


def _encode_curve(sequence: ReportSequence, numbers: Sequence[int]) -> dict[str, Any] | None:
    """J&F over time as SVG, and where the frames `numbers` lie in it, as shares of it; None without scores."""
    figure = draw_curve(sequence, lambda pair: sum(pair) / 2, label="J&F")
    if figure is None:
        return None
    from matplotlib import rc_context

    figure.set_size_inches(4.2, 2.2 + 0.2 * len(sequence.scores))  # of 96 pixels each where the page is wide
    axes = figure.axes[0]
    axes.get_legend().remove()  # which lies on the lines of so small a figure
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the axes stay where they are now
    places = axes.transData.transform([(number, 0) for number in numbers])[:, 0] / figure.bbox.width
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        image = _data_uri(figure.savefig, "svg+xml", transparent=True, metadata={"Date": None})
    return {"image": image, "places": places.round(4).tolist(), "floor": axes.get_position().y0}


def _encode_frame(
    sequence: ReportSequence, number: int, methods: Sequence[str], maps: MapPictures | None, width: int
) -> dict[str, Any]:
    """A frame as JSON; lists are in the order of the methods, masks with the annotation before them."""
    name, picture = sequence.frame_names[number], shrink_to_width(sequence.frame(number), width)
    masks = [sequence.annotation(number), *(sequence.masks[method](number) for method in methods)]
    pairs = [sequence.scores[method].get(name) for method in methods]
    pictures = {} if maps is None else maps(sequence, number)
    return {
        "name": name,
        "image": _data_uri(picture.save, "jpeg", quality=80),
        "masks": [None if labels is None else _encode_mask(labels, picture.size) for labels in masks],
        "maps": [[called, _encode(colours, MAP_WIDTH)] for called, colours in pictures.items()],
        "scores": [pair and [_cell(value) for value in (*pair, sum(pair) / 2)] for pair in pairs],
    }


def _encode_mask(labels: UInt8[np.ndarray, "_ _"], size: tuple[int, int]) -> str:
    """A palette PNG of (width, height) `size` whose background is transparent."""
    mask = PIL.Image.fromarray(labels).resize(size, PIL.Image.Resampling.NEAREST)
    # A palette that ends with the last id lets a pixel take 1, 2 or 4 bits.
    mask.putpalette(davis_palette()[: int(labels.max()) + 1].tobytes())
    return _data_uri(mask.save, "png", transparency=0)


def _encode(colours: Colours, width: int) -> str:
    return _data_uri(shrink_to_width(colours, width).save, "png")


def _data_uri(save: Callable[..., None], kind: str, **options: Any) -> str:
    """What `save` writes as an image of some kind, in a link that holds all of it."""
    file = io.BytesIO()
    save(file, format=kind.removesuffix("+xml"), **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
