"""Textures of the synthetic videos: small RGB images drawn from a random generator.

Only sums, products and Pillow's fixed-point resize touch pixels, no sine or exponential, so that the same seed gives
the same bytes on every processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image as PillowImage

from munet_jax.host_types import Float, UInt8

Texture = UInt8[np.ndarray, "_ _ 3"]  # square; each of a scene has a size of its own
Colour = tuple[int, int, int]
Weight = Float[np.ndarray, "side side"]

_LEAST_COLOUR_DISTANCE = 90.0  # of two colours in a palette, Euclidean in RGB; closer ones look alike beside each other


def draw_palette(rng: np.random.Generator, size: int) -> tuple[Colour, ...]:
    """`size` RGB colours that a person can tell apart; farther apart where few are asked for."""
    palette: list[Colour] = []
    while len(palette) < size:
        tries = rng.integers(25, 231, (12, 3))
        distance = [min((math.dist(new, old) for old in palette), default=1e3) for new in tries.tolist()]
        # The first that is far enough, or the farthest: a large palette cannot keep the distance.
        chosen = next((i for i, d in enumerate(distance) if d >= _LEAST_COLOUR_DISTANCE), int(np.argmax(distance)))
        red, green, blue = tries[chosen].tolist()
        palette.append((red, green, blue))
    return tuple(palette)


def flat_texture(side: int, colour: Colour) -> Texture:
    """One colour everywhere: uint8 [side, side, 3]."""
    return np.full((side, side, 3), colour, np.uint8)


def draw_texture(rng: np.random.Generator, side: int, period: float, colours: Sequence[Colour]) -> Texture:
    """A random pattern of the colours: uint8 [side, side, 3].

    Args:
      rng: where every choice comes from.
      side: height and width in pixels.
      period: the pattern's wavelength in pixels, at least about 4 to survive bilinear sampling.
      colours: two or more; the pattern blends from the first to the last.
    """
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    weight = pattern(rng, side, period)
    light = 0.85 + 0.3 * smooth_noise(rng, side, 2.0 * period)
    return _coloured(weight, light, colours)


def draw_background(rng: np.random.Generator, side: int, period: float, colours: Sequence[Colour]) -> Texture:
    """Two patterns in large soft patches, of three or more colours: uint8 [side, side, 3]; units as in draw_texture."""
    first = draw_texture(rng, side, period, colours[:2])
    second = draw_texture(rng, side, 1.5 * period, colours[1:])
    patch = _contrast(smooth_noise(rng, side, 8.0 * period), 6.0)[..., None]
    return (first * (1.0 - patch) + second * patch + 0.5).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, side: int, period: float) -> Weight:
    """Random values on a grid of `period` pixels, bicubic between: float32 [side, side] in [0, 1]."""
    cells = max(3, math.ceil(side / period) + 1)
    grid = PillowImage.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    smooth = grid.resize((side, side), PillowImage.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / np.float32(255)


def _coloured(weight: Weight, light: Weight, colours: Sequence[Colour]) -> Texture:
    """Blends through the colours by weight in [0, 1], then multiplies by light."""
    position = weight * np.float32(len(colours) - 1)
    rgb = np.empty((*weight.shape, 3), np.float32)
    rgb[:] = colours[0]
    for step, colour in enumerate(colours[1:]):
        share = np.clip(position - np.float32(step), 0, 1)[..., None]
        rgb += share * (np.asarray(colour, np.float32) - rgb)
    return np.clip(rgb * light[..., None] + 0.5, 0, 255).astype(np.uint8)


def _contrast(weight: Weight, gain: float) -> Weight:
    return np.clip((weight - np.float32(0.5)) * np.float32(gain) + np.float32(0.5), 0, 1)


def _lattice(rng: np.random.Generator, side: int, period: float) -> tuple[Weight, Weight]:
    """Coordinates in periods along two perpendicular directions, turned and slightly bent: [side, side] each."""
    angle = rng.uniform(0.0, math.pi)
    cos, sin = (round(turn(angle) / period, 6) for turn in (math.cos, math.sin))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    bend = np.float32(rng.uniform(0.0, 1.0)) * smooth_noise(rng, side, 5.0 * period)
    return x * np.float32(cos) + y * np.float32(sin) + bend, y * np.float32(cos) - x * np.float32(sin) + bend


def _zigzag(position: Weight, period: float) -> Weight:
    """A wave of length 1 between 0 and 1 whose edges are as sharp as about 3 pixels allow."""
    return _contrast(np.abs(2 * (position - np.floor(position)) - 1), max(1.0, period / 5))


def _noise(rng: np.random.Generator, side: int, period: float) -> Weight:
    coarse, fine = smooth_noise(rng, side, 1.5 * period), smooth_noise(rng, side, 0.6 * period)
    return _contrast(np.float32(0.65) * coarse + np.float32(0.35) * fine, 2.2)


def _stripes(rng: np.random.Generator, side: int, period: float) -> Weight:
    along, _ = _lattice(rng, side, period)
    return _zigzag(along, period)


def _checks(rng: np.random.Generator, side: int, period: float) -> Weight:
    first, second = (_zigzag(axis, 1.4 * period) for axis in _lattice(rng, side, 1.4 * period))
    return first + second - 2 * first * second


def _spots(rng: np.random.Generator, side: int, period: float) -> Weight:
    along, across = _lattice(rng, side, 1.2 * period)
    column, row = np.floor(along), np.floor(across)
    radii = rng.uniform(0.2, 0.45, (16, 16)).astype(np.float32)
    radius = radii[row.astype(np.int32) % 16, column.astype(np.int32) % 16]
    distance = np.sqrt((along - column - np.float32(0.5)) ** 2 + (across - row - np.float32(0.5)) ** 2)
    return np.clip((radius - distance) * np.float32(period / 2) + np.float32(0.5), 0, 1)


def _gradient(rng: np.random.Generator, side: int, period: float) -> Weight:
    along, _ = _lattice(rng, side, 2.0 * side)
    slope = (along - along.min()) / (along.max() - along.min())
    return np.float32(0.7) * slope + np.float32(0.3) * smooth_noise(rng, side, period)


_PATTERNS: tuple[Callable[[np.random.Generator, int, float], Weight], ...] = (
    _noise, _stripes, _checks, _spots, _gradient,
)  # fmt: skip
