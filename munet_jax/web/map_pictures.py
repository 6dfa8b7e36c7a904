"""What the network sees of a frame, as pictures to lay over it, and what their colours mean."""

from __future__ import annotations

import json

import numpy as np

from munet_jax.inference.maps import MotionMaps
from munet_jax.visualization.colours import flow_colours, flow_wheel, heat_map
from munet_jax.web.footage import encode

KINDS = ("uncertainty", "displacement", "attention")
_BAR, _WHEEL = (12, 256), 96  # pixels
_LEAST_LENGTH = 1.0  # image pixels: shorter motion is not stretched to full colour
_FULL = 0.95  # of all pixels move less than what has the full colour; single wrong matches point far away


def draw_map(kind: str, maps: MotionMaps) -> tuple[bytes, str]:
    """A map as PNG, and its scale as JSON: {"low": .., "high": ..} of its darkest and brightest or fullest colour."""
    if kind == "displacement":
        lengths = np.hypot(*np.moveaxis(maps.displacement, -1, 0))
        longest = max(_LEAST_LENGTH, float(np.quantile(lengths, _FULL)))
        return encode(flow_colours(maps.displacement, longest), "PNG", compress_level=1), _scale(0.0, longest)
    values = getattr(maps, kind)
    low, high = (
        (0.0, 1.0)
        if kind == "attention"
        else (float(values.min()), max(float(values.max()), float(values.min()) + 0.01))
    )
    return encode(heat_map(values, low, high), "PNG", compress_level=1), _scale(low, high)


def draw_legend(kind: str) -> bytes:
    """The colours of a map: a wheel of directions, or a bar from low to high."""
    if kind == "displacement":
        return encode(flow_wheel(_WHEEL), "PNG")
    return encode(heat_map(np.tile(np.linspace(0, 1, _BAR[1]), (_BAR[0], 1)), 0, 1), "PNG")


def _scale(low: float | int, high: float | int) -> str:
    return json.dumps({"low": round(low, 3), "high": round(high, 3)})
