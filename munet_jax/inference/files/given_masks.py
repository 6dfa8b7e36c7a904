"""The label maps that `munet segment` is given: of which frame each is, and whether it can be."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from munet_jax.array_types import LabelMap
from munet_jax.data.doubts import find_doubts
from munet_jax.data.mask_colours import ColourMap
from munet_jax.data.masks import IGNORE, read_mask
from munet_jax.data.sizes import explain_size
from munet_jax.inference.files.inputs import FrameFiles, VideoFrames
from munet_jax.runtime.errors import InputError

LAST = -1  # stands for the last frame of a video whose length is not known yet
LOG = logging.getLogger("munet_jax")


def read_annotations(
    masks: Sequence[str], frames: FrameFiles | VideoFrames, default: int, colours: ColourMap | None = None
) -> dict[int, LabelMap]:
    """Label maps by frame index; what looks like a mistake in one is a warning.

    Args:
      masks: 'FILE', of frame `default`, or 'FRAME=FILE', where FRAME is a frame's name or its number from 0.
      frames: the video.
      default: a frame index, or LAST where it is not known yet which that is.
      colours: ids by colour, where masks are to be read by their colours.

    Raises:
      InputError: no such frame, a number that is also a frame's name, two masks of one frame, a file that is no label map,
        shows no object, or is not as large as the first frame.
    """
    size = frames.size()
    annotations: dict[int, LabelMap] = {}
    for text in masks:
        place, file = split_mask(text)
        index = frame_of(place, frames, text) if place else default
        if index in annotations:
            raise InputError(f"--mask {text}: that frame has a mask already; give one for each frame")
        labels = read_mask(file, colours=colours)
        if labels.shape != size:
            raise InputError(f"{file}: the mask is {explain_size(labels.shape, size, frames.other_sizes())}")
        if not np.isin(labels, (0, IGNORE), invert=True).any():
            raise InputError(
                f"{file}: shows no object: every pixel is 0 (background) or 255 (not known); give its pixels an id from 1 on"
            )
        for doubt in find_doubts(labels):
            LOG.warning("%s: %s", file, doubt)
        annotations[index] = labels
    return annotations


def require_room(annotations: Iterable[LabelMap], most: int) -> None:
    """Raises InputError where all masks together show more objects than `config.inference.max_objects`, before any frame."""
    objects = {int(i) for labels in annotations for i in np.unique(labels)} - {0, IGNORE}
    if len(objects) > most:
        raise InputError(
            f"the masks show {len(objects)} objects, and config.inference.max_objects is {most}; raise it to {len(objects)}, or "
            "merge objects in the masks"
        )


def frame_of(place: str, frames: FrameFiles | VideoFrames, text: str) -> int:
    """The index of the frame that a mask is of, by the frame's name or its number from 0.

    Raises:
      InputError: there is none, or name and number mean two frames.
    """
    number = int(place) if re.fullmatch(r"[0-9]{1,9}", place) else None
    if isinstance(frames, VideoFrames):
        if number is None:
            raise InputError(
                f"--mask {text}: there is no frame {place!r}; frames are called 00000, 00001, ... by number"
            )
        count = frames.most_frames() if number else 0
        if number and count and number >= count:
            raise InputError(
                f"--mask {text}: there is no frame {number}; the video has {count} frames, {frames.name(0)} to "
                f"{frames.name(count - 1)}"
            )
        return number
    names = [frames.name(index) for index in range(frames.frame_count)]
    if place in names:
        return names.index(place)
    named = [index for index, name in enumerate(names) if number is not None and _number_in(name) == number]
    numbered = [number] if number is not None and number < len(names) else []
    found = sorted({*named, *numbered})
    if not found:
        raise InputError(f"--mask {text}: there is no frame {place!r}; frames are called {names[0]} to {names[-1]}")
    if len(found) > 1:
        ways = [f"{names[index]} (by its {'name' if index in named else 'number from 0'})" for index in found]
        raise InputError(f"--mask {text}: {place} may be the frame {' or '.join(ways[:3])}; write the whole name")
    return found[0]


def _number_in(name: str) -> int | None:
    """The number that a frame's name ends with: 1 of '00001' and of 'shot_0001'."""
    found = re.search(r"[0-9]{1,9}$", name)
    return int(found[0]) if found else None


def split_mask(text: str) -> tuple[str, str]:
    """'FRAME=FILE' -> (frame, file); without a frame, or where a file has that very name, ('', file)."""
    place, separator, file = text.partition("=")
    return (place, file) if separator and not Path(text).exists() else ("", text)
