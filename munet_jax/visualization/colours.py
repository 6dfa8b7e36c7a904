"""Numbers as colours: a wheel for displacements and a dark-to-bright map for one-channel maps."""

from __future__ import annotations

import functools

import numpy as np

from munet_jax.host_types import Float, Image, UInt8
from munet_jax.runtime.errors import InputError

FlowField = Float[np.ndarray, "h w 2"]
ScalarMap = Float[np.ndarray, "h w"]

# Colours of the directions right, down-right, down, ... up-right, in steps of 45 degrees. Opposite directions differ in
# brightness or in blue, never only between red and green, so that eyes that lack either can tell them apart.
_WHEEL = np.array(
    [
        (226, 58, 58),
        (240, 128, 28),
        (246, 205, 24),
        (70, 140, 44),
        (0, 116, 132),
        (28, 104, 196),
        (84, 60, 184),
        (206, 74, 188),
    ],
    np.float64,
)

# Night blue, violet, carmine, orange, pale yellow: luminance rises all the way, so the order survives a grey printer,
# and blue against yellow survives every common form of colour blindness.
_HEAT = np.array([(6, 8, 34), (66, 34, 116), (166, 50, 104), (236, 124, 58), (255, 244, 190)], np.float64)


def flow_colours(displacement: FlowField, max_length: float | int | None = None) -> Image:
    """Direction as hue and length as saturation: white stands still, full colour moves by `max_length` or more.

    Args:
      displacement: [h, w, 2] as (x to the right, y down), in any unit.
      max_length: the length of full colour, in that unit. Default: the longest displacement of this picture.

    Returns:
      RGB uint8 [h, w, 3]. Displacements that are not finite are grey.

    Raises:
      InputError: `max_length` is not positive.
    """
    if max_length is not None and not max_length > 0:
        raise InputError(f"max_length is {max_length}; it must be positive")
    field = displacement.astype(np.float64)
    finite = np.isfinite(field).all(-1, keepdims=True)
    x, y = np.where(finite, field, 0).transpose(2, 0, 1)
    length = np.hypot(x, y)
    # A still picture has no longest displacement to divide by; any positive number leaves it white.
    full = max_length or float(length.max(initial=0)) or 1.0
    saturation = np.minimum(length / full, 1)[..., None]
    colours = 255 + saturation * (_hue(np.arctan2(y, x)) - 255)
    return np.where(finite, colours.round(), 128).astype(np.uint8)


def flow_wheel(size: int) -> Image:
    """The legend of `flow_colours`: a disk of `size` pixels across, white around it.

    The colour at a point is that of a displacement from the centre to that point; the rim has full colour.
    """
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    field = np.stack(np.meshgrid(axis, axis), -1)
    outside = np.hypot(field[..., 0], field[..., 1]) > 1
    field[outside] = 0
    return flow_colours(field, 1.0)


def heat_map(values: ScalarMap, low: float | int, high: float | int) -> Image:
    """Values as colours of rising luminance: night blue at `low` and below, pale yellow at `high` and above.

    Args:
      values: [h, w]; NaN is drawn as `low`.
      low: the value of the darkest colour.
      high: the value of the brightest; greater than `low`.

    Returns:
      RGB uint8 [h, w, 3].

    Raises:
      InputError: `high` is not greater than `low`.
    """
    if not high > low:
        raise InputError(f"a heat map needs low < high, not {low} and {high}")
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return _heat_table()[(np.nan_to_num(share) * 255).round().astype(np.uint8)]


def _hue(angle: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """The wheel's colour at an angle in radians, clockwise from the right as y points down; 0 to 255."""
    position = angle / (2 * np.pi) * len(_WHEEL)
    knots = np.arange(len(_WHEEL))
    return np.stack([np.interp(position, knots, channel, period=len(_WHEEL)) for channel in _WHEEL.T], -1)


@functools.cache
def _heat_table() -> UInt8[np.ndarray, "256 3"]:
    knots = np.linspace(0, 255, len(_HEAT))
    return np.stack([np.interp(np.arange(256), knots, channel) for channel in _HEAT.T], -1).round().astype(np.uint8)
