"""The report page of an evaluation: one HTML file with its numbers, its frames and what every method made of them.

The page needs no server and no network: pictures lie in it as data URIs, and its script is its own. It is written one
frame at a time, so its size is bounded by the disk, not by memory.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from munet_jax.data.masks import davis_palette
from munet_jax.host_types import Image
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.overlays import shrink_to_width

ANNOTATION = "annotation"
"""The mask layer that holds the true masks."""

SERIES = 8
"""Colours and dash patterns that the page tells methods apart by; a ninth method looks like the first."""

_TEMPLATES = Path(__file__).with_name("page_template")
_JPEG_QUALITY = 80
_DIGITS = 6

# Masks and maps have names of their own for rows and columns: that they fit their frame is checked by hand.
Labels = UInt8[np.ndarray, "_ _"]
Colours = UInt8[np.ndarray, "_ _ 3"]
Results = Mapping[str, Any]
Number = float | int


class _Measure(NamedTuple):
    """One number of results.json: its key, its name in a table's head, and how it is written."""

    key: str
    label: str
    form: str = "{:.3f}"


_MEASURES = (_Measure("J", "J"), _Measure("F", "F"), _Measure("J&F", "J&F"))
# Only those that some method has.
_OVERALL = (
    _Measure("G", "G"),
    _Measure("J_recall", "J recall"),
    _Measure("J_decay", "J decay"),
    _Measure("F_recall", "F recall"),
    _Measure("F_decay", "F decay"),
    _Measure("J_seen", "J seen"),
    _Measure("J_unseen", "J unseen"),
    _Measure("F_seen", "F seen"),
    _Measure("F_unseen", "F unseen"),
    _Measure("fps", "Frames/s", "{:.1f}"),
    _Measure("device", "Device", "{}"),
)


@dataclasses.dataclass(frozen=True)
class PageFrame:
    """One frame of a sequence.

    Attributes:
      name: its name.
      image: RGB uint8 [h, w, 3].
      masks: label maps uint8 [h, w], by method, and by 'annotation' the true one. Any of them may be absent.
      maps: pictures to lay over the frame, by name ('uncertainty', ...), RGB uint8 of the frame's size or smaller; they
        are stretched over the frame. May be empty.
      scores: (J, F) by method, means over the objects; None, NaN or absent where the frame was not scored.
    """

    name: str
    image: Image
    masks: Mapping[str, Labels]
    maps: Mapping[str, Colours]
    scores: Mapping[str, tuple[Number, Number] | None]


@dataclasses.dataclass(frozen=True)
class PageSequence:
    """One sequence.

    Attributes:
      name: its name, as in the results.
      frames: the frames to show, in order; read once, one at a time, so a generator may be passed.
      curves: by method, (frame name, J&F) of every scored frame, in order; those frames need not all be shown.
    """

    name: str
    frames: Iterable[PageFrame]
    curves: Mapping[str, Sequence[tuple[str, Number]]]


class _Cell(NamedTuple):
    """What a table shows, and what it sorts by; None is a blank, which is always last."""

    text: str
    value: Number | str | None


class _Column(NamedTuple):
    label: str
    numeric: bool
    ascending: bool = False


class _Row(NamedTuple):
    """A row, and the sequence that it leads to."""

    sequence: str | None
    cells: Sequence[_Cell]


class _Group(NamedTuple):
    """A head above several columns: those of one method, or none (-1)."""

    label: str
    columns: int
    method: int = -1


@dataclasses.dataclass(frozen=True)
class _Table:
    name: str
    caption: str
    columns: Sequence[_Column]
    rows: Sequence[_Row]
    groups: Sequence[_Group] = ()


def write_page(
    path: Path,
    *,
    title: str,
    methods: Mapping[str, Results],
    sequences: Iterable[PageSequence],
    notes: Sequence[str] = (),
    legends: Mapping[str, Colours] = {},
    width: int = 480,
) -> None:
    """Write the report page; the file appears whole or not at all, and its folder is made if it is missing.

    Args:
      path: the HTML file.
      title: the page's heading.
      methods: the content of results.json of every method, by the method's name; any number may be None or NaN.
      sequences: the sequences to look at; read one after another, so a generator may be passed. Those that no results
        have may be among them, and results may have more than these.
      notes: sentences for below the title: which data, which checkpoint.
      legends: what the colours of a map mean, by the map's name, RGB uint8 [h', w', 3].
      width: frames that are wider are shrunk to this, in pixels.

    Raises:
      InputError: Jinja2 is not installed; there is no method; results are not those of results.json; a sequence has no
        frames or comes twice; a mask is of no method or has another size than its frame.
    """
    _check(methods, width)
    template = _environment().get_template("page.html.j2")
    pieces = template.generate(
        title=title,
        notes=notes,
        tables=[_methods_table(methods), *_compared_tables(methods)],
        page={"methods": list(methods), "legends": [[n, _png(picture, width)] for n, picture in legends.items()]},
        sequences=_encoded_sequences(sequences, list(methods), width),
        series=SERIES,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for piece in pieces:
            file.write(piece)


def _check(methods: Mapping[str, Results], width: int) -> None:
    if not methods:
        raise InputError("the report page has no method to show; give the results of one at least")
    if ANNOTATION in methods:
        raise InputError(f"a method is called {ANNOTATION!r}, as the true masks are; give it another name")
    for name, results in methods.items():
        if not isinstance(results.get("sequences"), Mapping):
            raise InputError(f"the results of {name!r} have no 'sequences'; give the content of its results.json")
    if width < 1:
        raise InputError(f"width is {width}; it must be 1 pixel or more")


def require_jinja2() -> None:
    """Raises InputError where it is not installed; ask before long work."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise InputError("the report page needs Jinja2: pip install 'munet_jax[report]'") from error


def _environment() -> Any:
    """Jinja2's environment, with everything escaped: names in HTML, and JSON so that no name can end its script."""
    require_jinja2()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The order of methods and frames is theirs; NaN is no JSON.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters["link"] = lambda name: "#sequence-" + quote(name, safe="")
    return environment


def _methods_table(methods: Mapping[str, Results]) -> _Table:
    """A row per method, with the numbers of the whole split."""
    known = (m for m in _OVERALL if any(_cell(results.get(m.key)).value is not None for results in methods.values()))
    shown = [*_MEASURES, *known]
    return _Table(
        name="methods",
        caption="Methods",
        columns=[_Column("Method", False), *(_Column(m.label, m.key != "device") for m in shown)],
        rows=[
            _Row(None, [_Cell(name, name), *(_cell(results.get(m.key), m.form) for m in shown)])
            for name, results in methods.items()
        ],
    )


def _compared_tables(methods: Mapping[str, Results]) -> tuple[_Table, _Table]:
    """The sequences, and all their objects: a row each, with the numbers of every method."""
    splits = [results["sequences"] for results in methods.values()]
    names = dict.fromkeys(name for split in splits for name in split)
    found: dict[tuple[str, ...], list[Results]] = {(name,): [split.get(name, {}) for split in splits] for name in names}
    objects: dict[tuple[str, ...], list[Results]] = {}
    for (name,), entries in found.items():
        parts = [entry.get("objects", {}) for entry in entries]
        for identity in dict.fromkeys(identity for part in parts for identity in part):
            objects[name, identity] = [part.get(identity, {}) for part in parts]
    return (
        _compared("sequences", "Sequences", ("Sequence",), found, list(methods)),
        _compared("objects", "Objects", ("Sequence", "Object"), objects, list(methods)),
    )


def _compared(
    name: str,
    caption: str,
    keys: Sequence[str],
    entries: Mapping[tuple[str, ...], Sequence[Results]],
    methods: Sequence[str],
) -> _Table:
    """A row per entry, the worst J&F of the first method first; every method has its columns."""
    rows = [
        _Row(key[0], [_Cell(part, part) for part in key] + [_cell(of.get(m.key)) for of in found for m in _MEASURES])
        for key, found in entries.items()
    ]
    sorted_by = len(keys) + len(_MEASURES) - 1
    rows.sort(key=lambda row: _blank_last(row.cells[sorted_by]))
    labels = [(label, False) for label in keys] + [(m.label, True) for _ in methods for m in _MEASURES]
    return _Table(
        name=name,
        caption=caption,
        columns=[_Column(label, numeric, k == sorted_by) for k, (label, numeric) in enumerate(labels)],
        rows=rows,
        groups=[_Group("", len(keys)), *(_Group(m, len(_MEASURES), k) for k, m in enumerate(methods))],
    )


def _blank_last(cell: _Cell) -> tuple[bool, Number]:
    return (False, cell.value) if isinstance(cell.value, float | int) else (True, 0)


def _cell(value: Any, form: str = "{:.3f}") -> _Cell:
    if isinstance(value, str):
        return _Cell(value, value)
    number = _number(value)
    return _Cell("–", None) if number is None else _Cell(form.format(number), number)


def _number(value: Any) -> float | None:
    """A number as JSON has it: None where it is missing or was not scored (NaN)."""
    return round(float(value), _DIGITS) if value is not None and math.isfinite(value) else None


def _encoded_sequences(
    sequences: Iterable[PageSequence], methods: Sequence[str], width: int
) -> Iterator[dict[str, Any]]:
    """What the template writes of every sequence; its frames must be read before the next sequence."""
    seen: set[str] = set()
    for sequence in sequences:
        if sequence.name in seen:
            raise InputError(f"sequence {sequence.name!r} comes twice; the page needs a name for each")
        seen.add(sequence.name)
        curves = [[[n, _number(v)] for n, v in sequence.curves.get(method, ())] for method in methods]
        yield {"name": sequence.name, "curves": curves, "frames": _encoded_frames(sequence, methods, width)}


def _encoded_frames(sequence: PageSequence, methods: Sequence[str], width: int) -> Iterator[dict[str, Any]]:
    count = 0
    for frame in sequence.frames:
        count += 1
        try:
            yield _encoded_frame(frame, methods, width)
        except InputError as error:
            raise InputError(f"{sequence.name}, frame {frame.name}: {error}") from error
    if not count:
        raise InputError(f"sequence {sequence.name!r} has no frames to show; leave it out")


def _encoded_frame(frame: PageFrame, methods: Sequence[str], width: int) -> dict[str, Any]:
    """A frame as JSON; lists instead of names, in the order of the methods, with the annotation before them."""
    layers = (ANNOTATION, *methods)
    unknown = [name for name in frame.masks if name not in layers]
    if unknown:
        raise InputError(f"has a mask of {unknown[0]!r}; masks may be of {', '.join(map(repr, layers))}")
    picture = shrink_to_width(frame.image, width)
    for name, labels in frame.masks.items():
        if labels.shape != frame.image.shape[:2]:
            sizes = f"{list(labels.shape)} but the frame is {list(frame.image.shape[:2])}"
            raise InputError(f"the mask of {name!r} is {sizes}")
    masks = [frame.masks.get(name) for name in layers]
    scores = [frame.scores.get(name) for name in methods]
    return {
        "name": frame.name,
        "image": _data_uri(picture, "JPEG", quality=_JPEG_QUALITY),
        "masks": [None if labels is None else _mask_png(labels, picture.size) for labels in masks],
        "maps": [[name, _png(colours, width)] for name, colours in frame.maps.items()],
        "scores": [None if pair is None else [_number(value) for value in pair] for pair in scores],
    }


def _mask_png(labels: Labels, size: tuple[int, int]) -> str:
    """A palette PNG of (width, height) `size` whose background is transparent."""
    mask = PIL.Image.fromarray(labels).resize(size, PIL.Image.Resampling.NEAREST)
    # A palette that ends with the last id lets a pixel take 1, 2 or 4 bits.
    mask.putpalette(davis_palette()[: int(labels.max()) + 1].tobytes())
    return _data_uri(mask, "PNG", transparency=0)


def _png(picture: Colours, width: int) -> str:
    return _data_uri(shrink_to_width(picture, width), "PNG")


def _data_uri(picture: PIL.Image.Image, form: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format=form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
