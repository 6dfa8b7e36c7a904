"""Masks and maps over frames, pictures side by side, and their files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from munet_jax.data.masks import davis_palette
from munet_jax.host_types import BinaryMask, Float, Image, LabelMap, UInt8
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

Picture: TypeAlias = UInt8[np.ndarray, "_ _ 3"] | PIL.Image.Image
"""An RGB uint8 array or a Pillow image."""

STRIP_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in a video the frames of a strip are."""

_MARGIN = 6
_LONGEST_SHOWING = 65_535  # of a GIF's frame, in hundredths of a second
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def overlay_labels(
    frame: Image,
    labels: UInt8[np.ndarray, "_ _"],
    *,
    alpha: float | int = 0.5,
    contour: bool = True,
    palette: UInt8[np.ndarray, "256 3"] | None = None,
) -> Image:
    """A frame with its objects in colour.

    Args:
      frame: RGB uint8 [h, w, 3].
      labels: label map uint8 [h, w]; 0 leaves the frame as it is.
      alpha: how much of the object's colour covers the frame, 0 to 1.
      contour: draw each object's outline in its full colour, inside the object.
      palette: the colours by id; default: the DAVIS palette.

    Returns:
      RGB uint8 [h, w, 3].

    Raises:
      InputError: frame and labels differ in size, or alpha is not in [0, 1].
    """
    if frame.shape[:2] != labels.shape:
        raise InputError(f"the frame is {list(frame.shape[:2])} but its labels are {list(labels.shape)}")
    colours = (davis_palette() if palette is None else palette)[labels]
    picture = np.where((labels != 0)[..., None], blend(frame, colours, alpha), frame)
    if contour:
        outline = _outline(labels, width=max(1, round(min(labels.shape) / 240)))
        picture[outline] = colours[outline]
    return picture


def blend(frame: Image, colours: UInt8[np.ndarray, "_ _ 3"], alpha: float | int) -> Image:
    """`alpha` of the colours over the frame, both RGB uint8 [h, w, 3].

    Raises:
      InputError: the two differ in size, or alpha is not in [0, 1].
    """
    if frame.shape != colours.shape:
        raise InputError(f"the frame is {list(frame.shape[:2])} but the picture over it is {list(colours.shape[:2])}")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}; it must be in 0 to 1")
    return (frame * np.float32(1 - alpha) + colours * np.float32(alpha)).round().astype(np.uint8)


def enlarge(
    values: Float[np.ndarray, "_ _"], height: int, width: int, *, smooth: bool = False
) -> Float[np.ndarray, "{height} {width}"]:
    """A map [h', w'] at another size, float32: nearest neighbour, so that cells show, or bilinear if `smooth`."""
    method = PIL.Image.Resampling.BILINEAR if smooth else PIL.Image.Resampling.NEAREST
    return np.asarray(PIL.Image.fromarray(values.astype(np.float32)).resize((width, height), method))


def shrink_to_width(image: Image, most: int) -> PIL.Image.Image:
    """A picture whose width is `most` at most, its shape kept."""
    height, width = image.shape[:2]
    picture = PIL.Image.fromarray(image)
    if width <= most:
        return picture
    return picture.resize((most, max(1, round(height * most / width))), PIL.Image.Resampling.BILINEAR)


def strip_frames(count: int, first: int = 0) -> list[int]:
    """The frames of a strip, at `STRIP_SHARES` of a video of `count` frames.

    Frame 0 has the mask that was given.

    Args:
      count: frames in the video.
      first: the earliest frame to take, if the video has it: 1 for what needs the frame before.
    """
    return [max(min(first, count - 1), round(share * (count - 1))) for share in STRIP_SHARES]


def strip(images: Sequence[Picture], captions: Sequence[str] = ()) -> PIL.Image.Image:
    """Pictures side by side, each with its caption above.

    Raises:
      InputError: no picture, or another number of captions than pictures (none at all is fine).
    """
    return grid([images], column_captions=captions)


def grid(
    rows: Sequence[Sequence[Picture]], *, column_captions: Sequence[str] = (), row_captions: Sequence[str] = ()
) -> PIL.Image.Image:
    """Pictures in rows and columns, with captions above the columns and above each row.

    A column is as wide as its widest picture and a row as high as its highest; smaller ones sit in the upper left
    corner. Captions that are too long for their column are broken between words.

    Args:
      rows: the pictures of every row; rows may be of different length.
      column_captions: one for each column, or none.
      row_captions: one for each row, or none.

    Raises:
      InputError: no picture, or another number of captions than columns or rows.
    """
    cells = [[_as_pillow(picture) for picture in row] for row in rows]
    columns = max(map(len, cells), default=0)
    if not columns:
        raise InputError("no pictures to put side by side")
    for kind, captions, number in (("column", column_captions, columns), ("row", row_captions, len(cells))):
        if captions and len(captions) != number:
            raise InputError(f"{len(captions)} {kind} captions for {number} {kind}s")
    widths = [max(row[k].width for row in cells if k < len(row)) for k in range(columns)]
    text_size = min(24, max(11, round(min(widths) / 24)))
    bands: list[PIL.Image.Image] = []
    if column_captions:
        texts = zip(column_captions, widths, strict=True)
        bands.append(_beside([_caption(text, width, text_size) for text, width in texts], widths))
    for row, text in zip(cells, row_captions or [""] * len(cells), strict=True):
        if text:
            bands.append(_caption(text, sum(widths) + _MARGIN * (columns - 1), text_size))
        bands.append(_beside(row, widths))
    return _stacked(bands)


def save_png(path: Path, image: Picture) -> None:
    """Write a picture as PNG; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        _as_pillow(image).save(temporary, format="PNG")


def save_gif(path: Path, frames: Iterable[Picture], frames_per_second: float | int) -> None:
    """Write frames as a GIF that repeats for ever; the file appears whole or not at all.

    GIF counts time in hundredths of a second, so the speed is rounded to the nearest it can show (never above 50 frames
    per second, which viewers slow down, nor below one frame in 655 seconds). A frame equal to the one before is kept as a
    longer showing of that one.

    Args:
      path: the file to write.
      frames: at least one picture, all of one size; read one at a time, so a generator may be passed.
      frames_per_second: playing speed.

    Raises:
      InputError: there is no frame, or the speed is not positive.
    """
    if not frames_per_second > 0:
        raise InputError(f"frames_per_second is {frames_per_second}; it must be positive")
    pictures = map(_as_pillow, frames)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"no frames for {path}")
    milliseconds = 10 * min(max(2, round(100 / frames_per_second)), _LONGEST_SHOWING)
    with atomic_path(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=pictures, duration=milliseconds, loop=0)


def _outline(labels: LabelMap, width: int) -> BinaryMask:
    """Pixels of an object that have another id within `width` pixels up, down, left or right."""
    outline = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        for here, there in ((np.s_[step:], np.s_[:-step]), (np.s_[:, step:], np.s_[:, :-step])):
            differs = labels[here] != labels[there]
            outline[here] |= differs
            outline[there] |= differs
    return outline & (labels != 0)


def _as_pillow(picture: Picture) -> PIL.Image.Image:
    return picture.convert("RGB") if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)


def _caption(text: str, width: int, size: int) -> PIL.Image.Image:
    """The text on paper of the given width, broken between words into as many lines as it needs."""
    font = PIL.ImageFont.load_default(size=size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    line_height = round(size * 1.3)
    paper = PIL.Image.new("RGB", (width, line_height * len(lines)), _PAPER)
    draw = PIL.ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        draw.text((0, number * line_height), line, _INK, font)
    return paper


def _beside(pictures: Sequence[PIL.Image.Image], widths: Sequence[int]) -> PIL.Image.Image:
    """Pictures in columns of the given widths, on paper; there may be fewer pictures than columns."""
    paper = PIL.Image.new("RGB", (sum(widths) + _MARGIN * (len(widths) - 1), max(p.height for p in pictures)), _PAPER)
    lefts = itertools.accumulate(widths, lambda left, width: left + width + _MARGIN, initial=0)
    for picture, left in zip(pictures, lefts, strict=False):
        paper.paste(picture, (left, 0))
    return paper


def _stacked(bands: Sequence[PIL.Image.Image]) -> PIL.Image.Image:
    """Pictures below one another, with a margin between and around them."""
    height = sum(band.height + _MARGIN for band in bands) + _MARGIN
    paper = PIL.Image.new("RGB", (max(band.width for band in bands) + 2 * _MARGIN, height), _PAPER)
    top = _MARGIN
    for band in bands:
        paper.paste(band, (_MARGIN, top))
        top += band.height + _MARGIN
    return paper
