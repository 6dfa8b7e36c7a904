"""Why a label map may have another size than its frame: the likely cause, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from munet_jax.data.images import describe_size, exif_orientation, image_size
from munet_jax.runtime.errors import InputError

_SAME_SHAPE = 0.02  # by which the shapes of two pictures of one thing may differ, from rounding to whole pixels
_PADDINGS = (8, 16, 32, 64)  # to multiples of which networks and codecs pad

Size = tuple[int, ...]


def explain_size(
    found: Size, expected: Size, others: Mapping[str, Size] | None = None, *, called: str = "its frame"
) -> str:
    """'A, but its frame is B (width x height): the likely cause; the remedy'.

    Args:
      found: (height, width) of a label map.
      expected: of what it belongs to.
      others: sizes of what else it may have been made of, by what that is and how to come to it.
      called: what it belongs to.
    """
    sizes = f"{describe_size(found)}, but {called} is {describe_size(expected)} (width x height)"
    return f"{sizes}: {likely_cause(found, expected, others)}"


def likely_cause(found: Size, expected: Size, others: Mapping[str, Size] | None = None) -> str:
    """Why a label map has another size than its frame, and the remedy; arguments as of `explain_size`."""
    fits = next((called for called, size in (others or {}).items() if tuple(size) == tuple(found)), None)
    if fits is not None:
        return f"it fits {fits}"
    if found == expected[::-1]:
        return (
            "width and height are exchanged, as by a quarter turn (a phone's) or an array indexed [x, y]; turn it back, or "
            "make it anew of the picture as viewers show it"
        )
    if any(found == tuple(-(-side // multiple) * multiple for side in expected) for multiple in _PADDINGS):
        return "it looks padded, as networks and codecs do; cut off what was added, on the side where it was added"
    (height, width), (h, w) = found, expected
    if abs(width * h / (w * height) - 1) <= _SAME_SHAPE:
        kind = "a thumbnail or a smaller version" if width < w else "a larger version"
        return (
            f"it is {width / w:.3g} times as large, so it was made of {kind}; take both from one, or if it shows the same "
            "cut-out, scale the label map with nearest neighbour, which alone keeps ids"
        )
    if abs(width * w / (h * height) - 1) <= _SAME_SHAPE:
        return "it has the shape turned by a quarter, at another size; make it anew of the picture as viewers show it"
    return "it has another shape, so it is of another picture or of a cut-out; check that both belong together"


def sizes_of_image(path: Path) -> dict[str, Size]:
    """What a label map of an image file may have been made of, beside the picture that is shown."""
    orientation = exif_orientation(path)
    if orientation == 1:
        return {}
    stored = f"the picture as it lies in its file, which viewers turn by its EXIF orientation {orientation}"
    return {
        f"{stored}; turn the label map the same way, or remove the tag from the picture": image_size(
            path, upright=False
        )
    }


def require_size(path: Path | str, labels: Size, frame: Path) -> None:
    """Raises InputError where a label map of a size, read from `path`, has another one than the image file `frame`."""
    shown = image_size(frame)
    if labels != shown:
        found = explain_size(labels, shown, sizes_of_image(frame), called=f"its frame {frame}")
        raise InputError(f"{path}: the label map is {found}")
