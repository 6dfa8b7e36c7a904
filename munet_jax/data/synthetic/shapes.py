"""Shapes of the synthetic videos, and how they move.

A shape is a function of points (x, y) in units of its radius: negative inside, positive outside, about the distance to
the outline near it. Every shape lies within the unit disc. Motion is a closed formula of the frame number, so that any
frame can be rendered alone. Only sums, products and square roots touch pixels; sines are taken of single numbers and
then rounded, so that processors agree.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from munet_jax.host_types import Float

Points = Float[np.ndarray, "*points"]


@runtime_checkable
class Shape(Protocol):
    """Signed distance to the outline, in radii, of points in radii; negative inside."""

    def __call__(self, x: Points, y: Points) -> Points:
        """The distance at points (x, y): float32, as many as came in."""
        ...


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """Half axes 1 and `aspect`."""

    aspect: float

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        return (np.sqrt(x * x + (y / self.aspect) ** 2) - 1) * self.aspect


@dataclasses.dataclass(frozen=True)
class RoundedBox:
    """Half sides `width` and `height`, corners rounded by `corner`."""

    width: float
    height: float
    corner: float

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        right, below = np.abs(x) - (self.width - self.corner), np.abs(y) - (self.height - self.corner)
        outside = np.sqrt(np.maximum(right, 0) ** 2 + np.maximum(below, 0) ** 2)
        return outside + np.minimum(np.maximum(right, below), 0) - self.corner


@dataclasses.dataclass(frozen=True)
class Cross:
    """Two bars of half width `bar`."""

    bar: float

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        across, along = np.abs(x), np.abs(y)
        length = 0.93
        return np.minimum(np.maximum(across - length, along - self.bar), np.maximum(across - self.bar, along - length))


@dataclasses.dataclass(frozen=True)
class Polygon:
    """Regular, `corners` corners; a star {corners / 2} of at least 5 corners where `star` is set."""

    corners: int
    star: bool

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        inner = math.cos((2 if self.star else 1) * math.pi / self.corners)
        largest = np.full_like(x, -np.inf)
        second = largest
        for corner in range(self.corners):
            angle = 2 * math.pi * corner / self.corners
            plane = x * round(math.cos(angle), 6) + y * round(math.sin(angle), 6) - round(inner, 6)
            second = np.maximum(second, np.minimum(largest, plane))
            largest = np.maximum(largest, plane)
        # A point of a star lies outside one line at most: its tips are what one edge of the inner polygon cuts off.
        return second if self.star else largest


@dataclasses.dataclass(frozen=True)
class Blob:
    """Radius 0.72 plus waves around the outline; `waves` holds cosine and sine of 2, 3, ... waves per turn."""

    waves: tuple[tuple[float, float], ...]

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        radius = np.sqrt(x * x + y * y)
        cos, sin = x / np.maximum(radius, 1e-6), y / np.maximum(radius, 1e-6)
        outline = np.full_like(radius, 0.72)
        cos_k, sin_k = cos, sin
        for weight_cos, weight_sin in self.waves:
            cos_k, sin_k = cos_k * cos - sin_k * sin, sin_k * cos + cos_k * sin  # k + 1 times the angle
            outline = outline + weight_cos * cos_k + weight_sin * sin_k
        return radius - outline


@dataclasses.dataclass(frozen=True)
class Ring:
    """A disc with a hole of radius `hole`."""

    hole: float

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        return np.abs(np.sqrt(x * x + y * y) - (1 + self.hole) / 2) - (1 - self.hole) / 2


@dataclasses.dataclass(frozen=True)
class Crescent:
    """A disc less a disc of radius 0.8 whose centre lies `offset` to the right."""

    offset: float

    def __call__(self, x: Points, y: Points) -> Points:
        """See Shape."""
        bite = np.sqrt((x - self.offset) ** 2 + y * y)
        return np.maximum(np.sqrt(x * x + y * y) - 1, 0.8 - bite)


def _draw_blob(rng: np.random.Generator) -> Shape:
    waves = rng.uniform(-1.0, 1.0, (4, 2)) / np.array([[1.0], [1.0], [1.5], [2.0]])
    waves *= 0.28 / np.abs(waves).sum()  # within the unit disc
    return Blob(tuple((float(cos), float(sin)) for cos, sin in waves))


def _draw_box(rng: np.random.Generator) -> Shape:
    angle = rng.uniform(0.45, 1.1)
    return RoundedBox(round(math.cos(angle), 6), round(math.sin(angle), 6), corner=rng.uniform(0.05, 0.3))


_KINDS: tuple[Callable[[np.random.Generator], Shape], ...] = (
    lambda rng: Ellipse(rng.uniform(0.55, 0.95)),
    _draw_box,
    lambda rng: Cross(rng.uniform(0.28, 0.36)),
    lambda rng: Polygon(int(rng.integers(3, 7)), star=False),
    lambda rng: Polygon(int(rng.integers(5, 8)), star=True),
    _draw_blob,
    _draw_blob,  # the most varied kind, so twice as likely
    lambda rng: Ring(rng.uniform(0.35, 0.55)),
    lambda rng: Crescent(rng.uniform(0.5, 0.8)),
)


def draw_shape(rng: np.random.Generator) -> Shape:
    """A shape of a random kind with random proportions."""
    return _KINDS[int(rng.integers(len(_KINDS)))](rng)


class Affine(NamedTuple):
    """(x, y) -> (a x + b y + c, d x + e y + f), in Pillow's order."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def after(self, first: Affine) -> Affine:
        """The map that does `first` and then this one."""
        return Affine(
            self.a * first.a + self.b * first.d,
            self.a * first.b + self.b * first.e,
            self.a * first.c + self.b * first.f + self.c,
            self.d * first.a + self.e * first.d,
            self.d * first.b + self.e * first.e,
            self.d * first.c + self.e * first.f + self.f,
        )

    def inverse(self) -> Affine:
        """The map back."""
        area = self.a * self.e - self.b * self.d
        a, b, d, e = self.e / area, -self.b / area, -self.d / area, self.a / area
        return Affine(a, b, -(a * self.c + b * self.f), d, e, -(d * self.c + e * self.f))

    def rounded(self) -> Affine:
        """Every number to about 1e-6, which hides the last bits in which sines differ between machines."""
        return Affine(*(round(number * 2**20) / 2**20 for number in self))

    def apply(self, x: Points, y: Points) -> tuple[Points, Points]:
        """Moves float32 points."""
        a, b, c, d, e, f = (np.float32(number) for number in self)
        return a * x + b * y + c, d * x + e * y + f


class Wave(NamedTuple):
    """A sine, or a zigzag of the same length and height: straight ways with bounces."""

    amplitude: float
    rate: float  # radians per frame
    phase: float
    bounces: bool = False

    def at(self, frame: int) -> float:
        """The value at a frame."""
        sine = math.sin(self.rate * frame + self.phase)
        return self.amplitude * (2 / math.pi * math.asin(sine) if self.bounces else sine)


class Track(NamedTuple):
    """One number over time: a start, a steady change per frame and waves."""

    start: float
    rate: float = 0.0
    waves: tuple[Wave, ...] = ()

    def at(self, frame: int) -> float:
        """The value at a frame."""
        return self.start + self.rate * frame + sum(wave.at(frame) for wave in self.waves)


class Course(NamedTuple):
    """Place in pixels, angle in radians and stretch (1 is natural size) over time."""

    x: Track
    y: Track
    angle: Track
    stretch_x: Track
    stretch_y: Track

    def at(self, frame: int) -> Affine:
        """From the thing's own coordinates, in pixels from its centre, to where the course puts them."""
        cos, sin = math.cos(self.angle.at(frame)), math.sin(self.angle.at(frame))
        wide, high = self.stretch_x.at(frame), self.stretch_y.at(frame)
        return Affine(cos * wide, -sin * high, self.x.at(frame), sin * wide, cos * high, self.y.at(frame))
