"""What the MU-Layer and MSAM see between two frames: maps for pictures. They depend on no mask and no memory."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import Array
from munet_jax.host_types import Float, Image, UInt8
from munet_jax.inference.arguments import check_frame
from munet_jax.inference.cpu import prepared_layers
from munet_jax.inference.views import Geometry, displacement_to_source, fit_frame, geometry_for, map_to_source
from munet_jax.models import MUNet
from munet_jax.models.padding import STRIDE
from munet_jax.models.shown_motion import shown_motion
from munet_jax.models.video import observe
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import device_jit


class MatchingWindow(NamedTuple):
    """How well one place of a frame matches the places around it in the frame before (Fig. 3).

    Attributes:
      cosines: [2 r + 1, 2 r + 1], rows down and columns to the right; targets outside the frame are NaN.
      centre: (x, y) in image pixels of the place itself, the middle of the stride-16 cell that was asked for.
      step: (x, y) in image pixels from one column and row to the next.
    """

    cosines: Float[np.ndarray, "u u"]
    centre: tuple[float, float]
    step: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class MotionMaps:
    """Maps of a frame of h x w pixels against the frame before.

    Attributes:
      uncertainty: f32 [h, w], largest cosine in the window, in [-1, 1]; high = sure match (Eq. 2).
      displacement: f32 [h, w, 2], (dx, dy) in image pixels: where the pixel was in the frame before.
      attention: f32 [h, w] in [0, 1], the spatial attention of Eq. 3.
      chance: f32 [h, w] in [0, 1], that the pixel was within one cell of where its displacement points (`shown_motion`).
      cost: f32 [h', w', u], the cost volume of the padded frame at stride 16 (Eq. 1).
      geometry: how the frame lies in it.
    """

    uncertainty: Float[np.ndarray, "h w"]
    displacement: Float[np.ndarray, "h w 2"]
    attention: Float[np.ndarray, "h w"]
    chance: Float[np.ndarray, "h w"]
    cost: Float[np.ndarray, "rows columns u"]
    geometry: Geometry

    def window(self, x: float | int, y: float | int) -> MatchingWindow:
        """The matching window of the cell that pixel (x, y) lies in.

        Raises:
          InputError: the pixel is not in the frame.
        """
        height, width = self.geometry.size
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"pixel {x},{y} is not in the frame, which is {width} x {height}")
        scale = [size / work for size, work in zip(self.geometry.size, self.geometry.work, strict=True)]
        (top, left), (rows, columns) = self.geometry.offset, self.cost.shape[:2]
        row, column = int((y / scale[0] + top) // STRIDE), int((x / scale[1] + left) // STRIDE)
        side = round(self.cost.shape[-1] ** 0.5)
        offsets = np.arange(side) - side // 2
        inside = [(at + offsets >= 0) & (at + offsets < count) for at, count in ((row, rows), (column, columns))]
        cosines = np.where(inside[0][:, None] & inside[1], self.cost[row, column].reshape(side, side), np.nan)
        centre = ((column + 0.5) * STRIDE - left) * scale[1], ((row + 0.5) * STRIDE - top) * scale[0]
        return MatchingWindow(cosines, centre, (STRIDE * scale[1], STRIDE * scale[0]))


@device_jit(static_argnums=0)
def motion_step(model: MUNet, variables: Any, frame: Array, before: Array) -> tuple[Array, ...]:
    """Uncertainty, attention, chance, displacement as users see it in pixels of the worked-on frame, and cost volume."""

    def run(net: MUNet) -> tuple[Array, ...]:
        previous = net.encode(before).reduced
        encoded, query = observe(net, frame, previous, is_first=False)
        cost, _ = net.mu_layer.cost(encoded.reduced, previous)
        shown = shown_motion(cost, radius=net.mu_layer.radius)
        return query.motion.uncertainty, query.attention, shown.chance, shown.displacement, cost

    with prepared_layers():  # a segmenter's variables may come in, too
        return model.apply(variables, method=run)


def motion_maps(
    model: MUNet, variables: Any, config: ConfigDict, before: UInt8[np.ndarray, "_ _ 3"], frame: Image
) -> MotionMaps:
    """Compares a frame with the one before it, both RGB uint8 [h, w, 3], at the size that `config.inference` asks for.

    Raises:
      InputError: the frames differ in size or are no frames.
    """
    for number, image in enumerate((before, frame)):
        check_frame(image, number)
    if before.shape != frame.shape:
        raise InputError(f"the frame before is {list(before.shape)} but the frame is {list(frame.shape)}")
    geometry = geometry_for(config.inference, (frame.shape[0], frame.shape[1]))
    fitted = [fit_frame(jnp.asarray(image), geometry) for image in (frame, before)]
    *maps, moved, cost = motion_step(model, variables, *fitted)
    uncertainty, attention, chance = (np.asarray(map_to_source(x, geometry))[..., 0] for x in maps)
    shown = displacement_to_source(moved, geometry)
    return MotionMaps(uncertainty, shown, attention, chance, np.asarray(cost)[0], geometry)
