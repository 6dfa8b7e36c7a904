"""Colours in label maps: which mean which object, what a palette shows as background, and the user's own colour map."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from PIL import Image as PILImage

from munet_jax.host_types import LabelMap, UInt8
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError

ColourMap = Mapping[int, int]
"""Ids by colour, red * 65536 + green * 256 + blue."""

BLACK, WHITE = 0, 0xFFFFFF
_MOST_LISTED = 16  # colours; more are shades
_LEAST_PIXELS = 9  # that each of them has; fewer are the edges of something
_USE = "and give it by --colours to munet segment or check-masks, or once to munet convert-masks"
_FORM = '{"#ff0000": 1, "0,255,0": 2}, from colours to ids (0 is background, 255 not known)'


def colour_codes(colours: UInt8[np.ndarray, "*shape 3"]) -> np.ndarray:
    """RGB uint8 [..., 3] as one number each."""
    wide = colours.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def read_colour_map(path: Path) -> dict[int, int]:
    """The ids of colours, from a JSON file such as {"#ff0000": 1, "0,255,0": 2}; black is background where it is not named.

    Raises:
      InputError: the file cannot be read, or is of another form.
    """
    remedy = f"write it as {_FORM}"
    content = read_json(path, remedy)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: is no colour map; {remedy}")
    found = {BLACK: 0}
    for colour, identity in content.items():
        code = _parse_colour(colour)
        if code is None or not isinstance(identity, int) or isinstance(identity, bool) or not 0 <= identity <= 255:
            raise InputError(f"{path}: {colour!r}: {json.dumps(identity)} is no colour with an id; {remedy}")
        found[code] = identity
    return found


def labels_of_colours(path: Path, pixels: UInt8[np.ndarray, "h w 3"], colours: ColourMap) -> LabelMap:
    """The label map of an RGB image in the colours of a map. Raises InputError for colours that the map does not name."""
    distinct, inverse, counts = np.unique(colour_codes(pixels), return_inverse=True, return_counts=True)
    unknown = [
        (int(code), int(count)) for code, count in zip(distinct, counts, strict=True) if int(code) not in colours
    ]
    if unknown:
        listed = ", ".join(f"{_hex(code)} ({count} pixels)" for code, count in unknown[:6])
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        raise InputError(f"{path}: has colours that the colour map does not name: {listed}{more}; add them to it")
    ids = np.array([colours[int(code)] for code in distinct], np.uint8)
    return ids[inverse].reshape(pixels.shape[:2])


def suggest_colour_map(codes: np.ndarray) -> str:
    """What to do about an image in flat colours, one per object or class, as a colour map to fill in; '' for any other image.

    Args:
      codes: of the pixels.
    """
    distinct, counts = np.unique(codes, return_counts=True)
    if len(distinct) > _MOST_LISTED or counts.min() < _LEAST_PIXELS:
        return ""
    order = sorted(zip(distinct.tolist(), counts.tolist(), strict=True), key=lambda pair: (pair[0] != BLACK, -pair[1]))
    # Without black, the colour that most pixels have is the background.
    table = json.dumps({_hex(code): number for number, (code, _) in enumerate(order)})
    pixels = ", ".join(str(count) for _, count in order)
    return f"if each colour is an object or a class, put their ids into a JSON file, such as {table} ({pixels} pixels), {_USE}"


class PaletteConflict(NamedTuple):
    """A palette that shows another index than 0 as background.

    Attributes:
      entry: which.
      shown: how it looks.
    """

    entry: int
    shown: str


def find_palette_conflict(image: PILImage.Image, indices: LabelMap) -> PaletteConflict | None:
    """Whether an index other than 0 is black, or white around the border, or transparent, and 0 is not.

    A palette of another order (drawing programs sort it by use or by brightness) makes the background an object, and that
    object's colour the background; nothing but the colours tells.
    """
    counts = np.bincount(indices.ravel(), minlength=256)
    used = [int(index) for index in np.flatnonzero(counts)]
    clear = [index for index in used if _is_clear(image, index)]
    if clear and 0 not in clear and len(clear) < len(used):
        return PaletteConflict(clear[0], "transparent")
    colours = palette_codes(image)
    if len({colours.get(index) for index in used}) < 2:
        return None  # it shows nothing at all, so it says nothing
    black = [index for index in used if index and colours.get(index) == BLACK]
    if black and (not counts[0] or colours.get(0) != BLACK):
        return PaletteConflict(black[0], "black")
    border = np.concatenate([indices[0], indices[-1], indices[:, 0], indices[:, -1]])
    around = int(np.bincount(border, minlength=256).argmax())
    if around and colours.get(around) == WHITE and colours.get(0) not in (BLACK, WHITE):
        return PaletteConflict(around, "white, all around the picture,")
    return None


def refuse_palette(path: Path, image: PILImage.Image, indices: LabelMap, conflict: PaletteConflict) -> NoReturn:
    """Raises InputError: what the palette shows, with counts, and how to say what is meant."""
    colours, counts = palette_codes(image), np.bincount(indices.ravel(), minlength=256)
    zero = f"{_hex(colours[0])}, {counts[0]} pixels" if counts[0] and 0 in colours else f"{counts[0]} pixels"
    others = [int(i) for i in np.flatnonzero(counts) if i != conflict.entry]
    table = {_hex(colours[i]): number for number, i in enumerate([conflict.entry, *others]) if i in colours}
    listed = f", such as {json.dumps(table)}" if len(table) <= _MOST_LISTED else ""
    raise InputError(
        f"{path}: its palette shows index {conflict.entry} {conflict.shown} like a background ({counts[conflict.entry]} "
        f"pixels), but background is index 0 ({zero}); save it with the background as index 0, or put the colours' ids into a "
        f"JSON file{listed}, {_USE}"
    )


def palette_codes(image: PILImage.Image) -> dict[int, int]:
    """The colours of a palette image by index."""
    entries: Sequence[int] = image.getpalette("RGB") or []
    rgb = np.array(entries, np.uint8)[: len(entries) // 3 * 3].reshape(-1, 3)
    return dict(enumerate(colour_codes(rgb).tolist()))


def _is_clear(image: PILImage.Image, index: int) -> bool:
    found: Any = image.info.get("transparency")
    if isinstance(found, bytes):
        return index < len(found) and found[index] == 0
    return found == index


def _parse_colour(text: str) -> int | None:
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    parts = [part.strip() for part in text.strip("()[] ").split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        return None
    red, green, blue = map(int, parts)
    return red << 16 | green << 8 | blue


def _hex(code: int) -> str:
    return f"#{code:06x}"
