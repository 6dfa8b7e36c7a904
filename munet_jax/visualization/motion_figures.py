"""One picture of what the network saw in one frame: masks, matching, motion and attention."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from munet_jax.host_types import Float, Image, UInt8
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.colours import flow_colours, flow_wheel, heat_map
from munet_jax.visualization.overlays import blend, enlarge, grid, overlay_labels

_STRIDE = 16
_HEAT_ALPHA = 0.65
_MIN_PANEL_WIDTH = 320  # the legends' text must fit
_MAX_PANEL_WIDTH = 640  # four of them fill a wide screen

Range = tuple[float | int, float | int]


def motion_figure(
    frame: Image,
    uncertainty: Float[np.ndarray, "rows columns"],
    displacement: Float[np.ndarray, "rows columns 2"],
    attention: Float[np.ndarray, "rows columns"],
    *,
    labels: UInt8[np.ndarray, "_ _"] | None = None,
    size: int | None = None,
    uncertainty_range: Range | None = None,
    max_length: float | int | None = None,
) -> PIL.Image.Image:
    """Four captioned panels: the frame with its masks, matching certainty, motion, and attention (paper, Fig. 5 to 7).

    Ranges are those of this frame unless they are given; give them to compare frames. What the colours mean is written
    below each panel.

    Args:
      frame: RGB uint8 [h, w, 3].
      uncertainty: the best cosine similarity of each pixel with the frame before, [h, w], in [-1, 1], as
        `inference.maps.motion_maps` gives it; the network's own stride-16 map of the padded frame, [h', w'], is
        enlarged.
      displacement: where each pixel was in the frame before, [h, w, 2] as (x to the right, y down), in image pixels;
        or [h', w', 2].
      attention: the weight that motion gives each pixel, [h, w], in [0, 1]; or [h', w'].
      labels: label map uint8 [h, w] to draw over the frame.
      size: width of a panel in pixels. Default: the frame's, but 320 at least and 640 at most.
      uncertainty_range: the cosines of the darkest and the brightest colour.
      max_length: the length of the full colour of a displacement, in image pixels.

    Raises:
      InputError: labels and frame differ in size, or a range is empty.
    """
    height, width = frame.shape[:2]
    panel_width = size or min(max(width, _MIN_PANEL_WIDTH), _MAX_PANEL_WIDTH)
    panel = (panel_width, max(1, round(height * panel_width / width)))
    low, high = uncertainty_range or _range_of(uncertainty)
    length = max_length or float(np.hypot(*np.moveaxis(displacement, -1, 0)).max(initial=0)) or 1.0
    masks = frame if labels is None else overlay_labels(frame, labels)
    flow = np.stack([_over_frame(displacement[..., k], height, width) for k in (0, 1)], -1)
    panels = [
        _panel(masks, panel),
        _panel(_heat_over(frame, uncertainty, low, high), panel),
        _panel(flow_colours(flow, length), panel),
        _panel(_heat_over(frame, attention, 0, 1), panel),
    ]
    legends = [
        _blank(panel_width),
        colour_bar(panel_width, low, high, "cosine: low = unsure, high = sure match"),
        wheel_legend(panel_width, length),
        colour_bar(panel_width, 0, 1, "weight: high = the motion feature is let through"),
    ]
    captions = [
        "frame" if labels is None else "frame and masks",
        "motion uncertainty (best match in the frame before)",
        "displacement (where each cell came from)",
        "attention by motion",
    ]
    return grid([panels, legends], column_captions=captions)


def colour_bar(width: int, low: float | int, high: float | int, text: str, *, grey: bool = False) -> PIL.Image.Image:
    """The legend of `heat_map`, or of a map in grey: its colours from `low` to `high`, both numbers, and what they mean.

    Raises:
      InputError: `high` is not greater than `low`.
    """
    font = _legend_font(width)
    bar_height, line = max(8, width // 32), round(font.size * 1.3)
    paper = PIL.Image.new("RGB", (width, bar_height + 2 * line + 4), (255, 255, 255))
    ramp = np.tile(np.linspace(low, high, width), (bar_height, 1))
    heat = PIL.Image.fromarray(heat_map(ramp, low, high))
    paper.paste(PIL.Image.linear_gradient("L").rotate(90).resize(heat.size) if grey else heat, (0, 0))
    draw = PIL.ImageDraw.Draw(paper)
    draw.text((0, bar_height + 2), f"{low:.2f}", (30, 30, 30), font)
    draw.text((width - 1, bar_height + 2), f"{high:.2f}", (30, 30, 30), font, anchor="ra")
    draw.text((width // 2, bar_height + 2 + line), text, (30, 30, 30), font, anchor="ma")
    return paper


def wheel_legend(width: int, length: float | int) -> PIL.Image.Image:
    """The legend of `flow_colours`: the wheel, and how long a displacement in full colour is, in image pixels."""
    font = _legend_font(width)
    size = max(32, width // 6)
    paper = PIL.Image.new("RGB", (width, size), (255, 255, 255))
    paper.paste(PIL.Image.fromarray(flow_wheel(size)), (0, 0))
    text = f"colour = direction, seen from the centre\nwhite = 0, rim = {length:.1f} image pixels"
    PIL.ImageDraw.Draw(paper).text((size + 8, size // 2), text, (30, 30, 30), font, anchor="lm")
    return paper


def _heat_over(frame: Image, values: Float[np.ndarray, "_ _"], low: float | int, high: float | int) -> Image:
    height, width = frame.shape[:2]
    return blend(frame, heat_map(_over_frame(values, height, width), low, high), _HEAT_ALPHA)


def _over_frame(values: Float[np.ndarray, "_ _"], height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """A map at the size of its frame; one that has that size stays as it is.

    A stride-16 map is of the padded frame. Frames are padded to a multiple of 16, half of it on each side (the odd pixel
    after), before the network sees them: what lies on the padding is cut off again. Any other map is stretched.
    """
    rows, columns = (n * _STRIDE for n in values.shape)
    if not (0 <= rows - height < _STRIDE and 0 <= columns - width < _STRIDE):
        return enlarge(values, height, width)
    top, left = (rows - height) // 2, (columns - width) // 2
    return enlarge(values, rows, columns)[top : top + height, left : left + width]


def _range_of(values: Float[np.ndarray, "_ _"]) -> Range:
    if not np.isfinite(values).any():
        raise InputError("the uncertainty map has no finite value")
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # A constant map still needs a bar with two ends.
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _panel(picture: Image, size: tuple[int, int]) -> PIL.Image.Image:
    return PIL.Image.fromarray(picture).resize(size, PIL.Image.Resampling.LANCZOS)


def _blank(width: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (width, 1), (255, 255, 255))


def _legend_font(width: int) -> PIL.ImageFont.FreeTypeFont:
    font = PIL.ImageFont.load_default(size=min(20, max(9, round(width / 30))))
    assert isinstance(font, PIL.ImageFont.FreeTypeFont)
    return font
