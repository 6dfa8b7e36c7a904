"""A contact sheet of training clips, as the network sees them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import PIL.Image

from munet_jax.visualization.overlays import grid, overlay_labels

_OUTSIDE = (255, 255, 255)


def contact_sheet(batch: Mapping[str, np.ndarray]) -> PIL.Image.Image:
    """One row per clip, one column per frame, with the objects to follow in colour.

    Pixels that do not count (outside the image, or 'ignore') are white.

    Args:
      batch: of a loader: frames uint8 [b, t, h, w, 3], labels uint8 [b, t, h, w], valid bool [b, t, h, w].
    """
    rows = []
    for frames, labels, valid in zip(batch["frames"], batch["labels"], batch["valid"], strict=True):
        row = [overlay_labels(frame, slots) for frame, slots in zip(frames, labels, strict=True)]
        for picture, inside in zip(row, valid, strict=True):
            picture[~inside] = _OUTSIDE
        rows.append(row)
    count = len(rows[0])
    captions = ["given", *(f"query {number}" for number in range(1, count))]
    return grid(rows, column_captions=captions)
