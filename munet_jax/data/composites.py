"""Clips of two videos: the objects of one pass over the other, with their own motion, and hide what is behind them."""

from __future__ import annotations

import numpy as np
from PIL import Image as PILImage
from PIL import ImageFilter

from munet_jax.data.stills import Frames

_HALF = 128  # of alpha: where half of a pixel or more is the pasted object's, the pixel is


def paste_objects(behind: Frames, above: Frames, slot: int) -> Frames:
    """Puts every object of the clip `above` over the clip `behind`.

    Args:
      behind: frames uint8 [t, h, w, 3], labels uint8 [t, h, w], valid bool [t, h, w].
      above: likewise; what is not an object of it does not show.
      slot: the label of what was pasted; 0 makes it a thing that only hides.

    Returns:
      A clip like `behind`, whose labels say what is in front.
    """
    frames, labels, valid = behind
    edges = [_soft_edge(objects > 0) for objects in above[1]]
    pictures = np.stack([_paste(frame, over, edge) for frame, over, edge in zip(frames, above[0], edges, strict=True)])
    shown = np.stack([np.asarray(edge) >= _HALF for edge in edges])
    return pictures, np.where(shown, np.uint8(slot), labels), valid | shown


def _soft_edge(mask: np.ndarray) -> PILImage.Image:
    """Alpha of a mask [h, w]: its edge mixed over 3 x 3 pixels, as a camera does."""
    return PILImage.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(1))


def _paste(frame: np.ndarray, over: np.ndarray, alpha: PILImage.Image) -> np.ndarray:
    picture = PILImage.fromarray(frame)
    picture.paste(PILImage.fromarray(over), mask=alpha)
    return np.asarray(picture)
