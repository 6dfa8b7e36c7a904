"""The size at which a video is worked on: that of its frames, within limits, or a larger one for small objects."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Size = tuple[int, int]  # height, width
STEP = 80  # rows: few sizes, so that videos share compiled programs


def typical_size(mask: np.ndarray, object_ids: Iterable[int]) -> float:
    """How large objects are in a label map [h, w], in pixels: the square root of an object's area, of several the geometric mean.

    Objects that it does not show do not count; 0.0 where it shows none.
    """
    areas = [area for i in object_ids if (area := int(np.count_nonzero(mask == i)))]
    return float(np.exp(np.mean(np.log(areas)) / 2)) if areas else 0.0


def working_size(
    size: Size,
    min_size: int = 0,
    max_size: int = 0,
    *,
    objects: float = 0.0,
    object_size: int = 0,
    object_max_size: int = 0,
) -> Size:
    """(height, width) at which frames of `size` are worked on: their own within two limits, or more for small objects.

    Args:
      size: of the frames.
      min_size: of the short side at least.
      max_size: of the short side at most, 0 for any; counts where the two contradict each other.
      objects: the `typical_size` in the frame of what is followed; 0.0 where it is not known.
      object_size: where `objects` would be smaller than this, it is enlarged to it, to the nearest `STEP` of the short side.
      object_max_size: of the short side at most for that.
    """
    short = min(size)
    wanted = max(short, min_size)
    wanted = min(wanted, max_size) if max_size else wanted
    if objects:
        for_objects = round(short * object_size / objects / STEP) * STEP
        wanted = max(wanted, min(for_objects, object_max_size))
    return size if wanted == short else (round(size[0] * wanted / short), round(size[1] * wanted / short))
