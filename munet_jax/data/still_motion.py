"""How a still image moves when a clip is made of it (paper Fig. 4, protocols 3 to 3.2): smooth paths of affine maps."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from munet_jax.data.transforms import Matrix, affine
from munet_jax.host_types import Float
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import field_of

_BEND = 0.5  # of a path's middle, relative to its end


@dataclasses.dataclass(frozen=True)
class StillMotionConfig:
    """How still images move in training clips. A strength of s means uniform in [-s, s] at the clip's end."""

    shift: float = field_of(0.1, "strength of the shift, as a part of the frame's height and width")
    rotation: float = field_of(10.0, "strength of the rotation, in degrees")
    scale: float = field_of(0.15, "strength of the change of size, as the logarithm of its factor")
    shear: float = field_of(5.0, "strength of the shear along x, in degrees")
    separate: float = field_of(
        0.0, "chance that the objects move on their own, over the image with their places filled in"
    )
    own_factor: float = field_of(2.0, "how many times stronger their own motion is than that of the whole")
    paste: float = field_of(
        0.0, "chance that objects which move on their own do so over another image, at another place and size"
    )
    placed_min: float = field_of(0.6, "smallest factor of size of something pasted, relative to its own image")
    placed_max: float = field_of(1.2, "largest factor of size of something pasted")
    crossing: float = field_of(
        0.0,
        "chance that objects which move on their own meet one of another image, which passes in front of or behind them, and "
        "is an object to follow too where a slot is free",
    )

    def __post_init__(self) -> None:
        """Raises InputError for a strength outside its limits."""
        # With a course's bend and an object's factor, half as much again and three times as much are reached.
        limits = {"shift": 1, "rotation": 180, "scale": 0.5, "shear": 15, "own_factor": 3}
        for name, most in (limits | dict.fromkeys(("separate", "paste", "crossing"), 1)).items():
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"still_motion.{name} lies between 0 and {most}, not {getattr(self, name)}")
        if not 0 < self.placed_min <= self.placed_max <= 4:
            found = f"{self.placed_min} and {self.placed_max}"
            raise InputError(f"still_motion needs 0 < placed_min <= placed_max <= 4, not {found}")


@dataclasses.dataclass(frozen=True)
class Course:
    """A smooth path of affine maps between output positions; at time 0 it leaves everything where it is.

    Attributes:
      middle: (x, y) around which it turns and scales, in pixels.
      end: x shift, y shift, angle, shear (radians) and logarithm of the factor at time 1.
      bend: what is added half-way.
    """

    middle: Float[np.ndarray, " 2"]
    end: Float[np.ndarray, " 5"]
    bend: Float[np.ndarray, " 5"]

    def at(self, time: float) -> Matrix:
        """The map at a time in [0, 1]."""
        x, y, angle, shear, factor = self.end * time + self.bend * 4 * time * (1 - time)
        return affine(self.middle, angle=angle, shear=shear, factor=math.exp(factor), move=(x, y))


def draw_course(
    rng: np.random.Generator,
    config: StillMotionConfig,
    size: tuple[int, int],
    *,
    middle: Float[np.ndarray, " 2"] | None = None,
    factor: float = 1.0,
) -> Course:
    """Draws a motion for frames of `size` (height, width), `factor` times as strong as configured.

    It turns and scales around `middle` (x, y), in pixels; default: the middle of the frame.
    """
    height, width = size
    turns = np.deg2rad([config.rotation, config.shear])
    strengths = factor * np.array([config.shift * width, config.shift * height, *turns, config.scale])
    end, bend = rng.uniform(-1, 1, size=(2, 5)) * strengths
    return Course(np.array((width / 2, height / 2)) if middle is None else middle, end, _BEND * bend)
