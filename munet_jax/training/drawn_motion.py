"""Frames whose motion is known exactly: a frame of a clip, warped by a motion that is drawn.

The motion is backward, as the MU-Layer's is: what is at x in the new frame was at x + displacement in the clip's. So the new
frame is read where the displacement points, and the displacement is exact wherever what it points at is what shows. The
background moves with the camera; each object has a motion of its own on top of it, and hides what it comes over.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, Displacement, Float, Int, UInt8
from munet_jax.models.mu_layer import window_offsets
from munet_jax.models.padding import STRIDE, pad_to_stride

# Largest motions; each is drawn evenly up to a share of it that is drawn for the clip, so that small ones are frequent.
CAMERA_SHIFT, OBJECT_SHIFT = 24.0, 40.0  # pixels, along each axis
TURN = 0.2  # radians
ZOOM = 0.15  # logarithm of the factor of size
WOBBLE = 4.0  # pixels: amplitude of the waves that bend the background
WAVES = 2  # periods of such a wave in a frame, at most
LIGHT, TINT = 0.15, 0.05  # largest change of brightness, as a share: of all colours, and of each beside it
OBJECT_WEIGHT = 4.0  # of a cell that shows an object, where the background's have 1
NOWHERE = -1  # the layer of a pixel of the new frame that shows nothing of the place where the motion points


class DrawnFrame(NamedTuple):
    """A new frame for each clip, and what its cells of 16 x 16 pixels show.

    Attributes:
      frame: uint8 [b, h, w, 3].
      origin: int32 [b], the clip's frame that it is made of.
      displacement: f32 [b, h', w', 2], (dx, dy) in cells: where a cell's content was in that frame.
      weights: f32 [b, h', w']: 1 background, `OBJECT_WEIGHT` objects, 0 where less than half of the cell was seen before.
    """

    frame: UInt8[Array, "b h w 3"]
    origin: Int[Array, " b"]
    displacement: Displacement
    weights: Float[Array, "b hc wc"]


class Warp(NamedTuple):
    """How a frame is warped, pixel by pixel.

    Attributes:
      displacement: f32 [h, w, 2], (dx, dy) in pixels, of what shows.
      layer: int32 [h, w]: 0 background, i object i, `NOWHERE` where the background behind an object would show.
    """

    displacement: Float[Array, "h w 2"]
    layer: Int[Array, "h w"]


def draw_frames(
    keys: Array,
    frames: UInt8[Array, "b t h w 3"],
    labels: UInt8[Array, "b t h w"],
    valid: Bool[Array, "b t h w"],
    n: int,
) -> DrawnFrame:
    """Draw a frame for each clip.

    Args:
      keys: a random key for each clip, [b].
      frames: the clips.
      labels: their objects, 1..n.
      valid: False where a frame shows nothing of its picture.
      n: object slots.
    """

    def draw(key: Array, frames: Array, labels: Array, valid: Array) -> tuple[Array, ...]:
        which, moves, light = jax.random.split(key, 3)
        origin = jax.random.randint(which, (), 0, frames.shape[0])
        frame, shown, inside = frames[origin], labels[origin].astype(jnp.int32), valid[origin]
        warp = layered(draw_fields(moves, shown, n), shown)
        picture = relit(light, sample(frame.astype(jnp.float32), places(warp)))
        return jnp.round(picture).astype(jnp.uint8), origin, *cells(warp, inside, n)

    return DrawnFrame(*jax.vmap(draw)(keys, frames, labels, valid))


def draw_fields(key: Array, labels: Int[Array, "h w"], n: int) -> Float[Array, "m h w 2"]:
    """Displacements of background and objects, [n + 1, h, w, 2] in pixels."""
    height, width = labels.shape
    grid = pixel_grid(height, width)
    camera, bend, *own = jax.random.split(key, n + 2)
    behind = affine_field(camera, grid, jnp.array([width / 2, height / 2]), CAMERA_SHIFT) + bent(bend, grid)
    fields = [behind]
    for slot, object_key in enumerate(own, start=1):
        mask = (labels == slot).astype(jnp.float32)[..., None]
        middle = jnp.sum(grid * mask, axis=(0, 1)) / jnp.maximum(jnp.sum(mask), 1.0)
        fields.append(behind + affine_field(object_key, grid, middle, OBJECT_SHIFT))
    return jnp.stack(fields)


def pixel_grid(height: int, width: int) -> Float[Array, "h w 2"]:
    """(x, y) of the pixels' centres, the first at 0."""
    y, x = jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij")
    return jnp.stack([x, y], axis=-1)


def affine_field(
    key: Array, grid: Float[Array, "h w 2"], middle: Float[Array, " 2"], shift: float
) -> Float[Array, "h w 2"]:
    """A drawn shift, turn and change of size around `middle`, as displacements."""
    strength, drawn = jax.random.split(key)
    x, y, angle, zoom = jax.random.uniform(drawn, (4,), minval=-1.0) * jax.random.uniform(strength)
    factor = jnp.exp(ZOOM * zoom)
    cos, sin = factor * jnp.cos(TURN * angle), factor * jnp.sin(TURN * angle)
    turned = jnp.array([[cos, -sin], [sin, cos]]) - jnp.eye(2)
    return (grid - middle[None, None]) @ turned.T + shift * jnp.stack([x, y])[None, None]


def bent(key: Array, grid: Float[Array, "h w 2"]) -> Float[Array, "h w 2"]:
    """A drawn smooth wave along each axis, as displacements."""
    amplitude, phase, frequency = jax.random.uniform(key, (3, 2, 2))
    size = jnp.array(grid.shape[1::-1], jnp.float32)
    turns = (grid / size[None, None]) @ (WAVES * (2 * frequency - 1)) + phase[0][None, None]
    return WOBBLE * amplitude[0][None, None] * jnp.sin(2 * jnp.pi * turns)


def layered(fields: Float[Array, "m h w 2"], labels: Int[Array, "h w"]) -> Warp:
    """What shows where the layers move by `fields`: the objects' lower numbers in front, the background behind all."""
    grid = pixel_grid(*labels.shape)
    found = jax.vmap(lambda field: nearest(labels, grid + field))(fields)
    covers = found == jnp.arange(fields.shape[0])[:, None, None]
    layer = jnp.full(labels.shape, NOWHERE, jnp.int32)
    displacement = fields[0]
    for slot in [0, *range(fields.shape[0] - 1, 0, -1)]:
        layer = jnp.where(covers[slot], slot, layer)
        displacement = jnp.where(covers[slot][..., None], fields[slot], displacement)
    return Warp(displacement, layer)


def nearest(labels: Int[Array, "h w"], at: Float[Array, "h w 2"]) -> Int[Array, "h w"]:
    """The labels at (x, y) positions, by nearest neighbour; 0 outside, as what comes into sight is background."""
    height, width = labels.shape
    x, y = (jnp.round(at[..., axis]).astype(jnp.int32) for axis in range(2))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(inside, labels[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)], 0)


def places(warp: Warp) -> Float[Array, "h w 2"]:
    """Where each pixel of the new frame is read: `NOWHERE` across the frame's middle, so that it looks like something."""
    height, width = warp.layer.shape
    grid = pixel_grid(height, width)
    mirrored = jnp.stack([width - 1 - grid[..., 0], grid[..., 1]], axis=-1)
    return jnp.where((warp.layer == NOWHERE)[..., None], mirrored, grid + warp.displacement)


def sample(picture: Float[Array, "h w c"], at: Float[Array, "h w 2"]) -> Float[Array, "h w c"]:
    """A picture at (x, y) positions, bilinear; what is outside takes the edge's."""
    height, width = picture.shape[:2]
    x, y = jnp.clip(at[..., 0], 0, width - 1), jnp.clip(at[..., 1], 0, height - 1)
    left, top = jnp.clip(jnp.floor(x), 0, width - 2), jnp.clip(jnp.floor(y), 0, height - 2)
    across, down = (x - left)[..., None], (y - top)[..., None]
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    upper = picture[top, left] * (1 - across) + picture[top, left + 1] * across
    lower = picture[top + 1, left] * (1 - across) + picture[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def relit(key: Array, picture: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Colours in [0, 255] under a drawn light."""
    drawn = jax.random.uniform(key, (4,), minval=-1.0)
    factors = (1 + LIGHT * drawn[:1]) * (1 + TINT * drawn[1:])
    return jnp.clip(picture * factors[None, None], 0.0, 255.0)


def cells(warp: Warp, inside: Bool[Array, "h w"], n: int) -> tuple[Float[Array, "hc wc 2"], Float[Array, "hc wc"]]:
    """Displacement and weight of each cell: those of the layer that fills most of it with what was seen before."""
    height, width = warp.layer.shape
    x, y = jnp.moveaxis(pixel_grid(height, width) + warp.displacement, -1, 0)
    seen = (
        (x >= 0)
        & (x <= width - 1)
        & (y >= 0)
        & (y <= height - 1)
        & (nearest(inside.astype(jnp.int32), jnp.stack([x, y], -1)) > 0)
    )
    shown = ((warp.layer[..., None] == jnp.arange(n + 1)[None, None]) & seen[..., None]).astype(jnp.float32)
    shares = cell_means(shown)
    moved = cell_means((shown[..., None] * warp.displacement[:, :, None]).reshape(height, width, -1))
    best = jnp.argmax(shares, axis=-1)[..., None]
    share = jnp.take_along_axis(shares, best, axis=-1)
    total = jnp.take_along_axis(moved.reshape(*shares.shape, 2), best[..., None], axis=-2)[..., 0, :]
    weight = jnp.where(best[..., 0] > 0, OBJECT_WEIGHT, 1.0)
    return total / jnp.maximum(share, 1e-6) / STRIDE, jnp.where(share[..., 0] >= 0.5, weight, 0.0)


def cell_means(x: Float[Array, "h w c"]) -> Float[Array, "hc wc c"]:
    """Means over the network's cells; padding counts as 0."""
    x = pad_to_stride(x, height_axis=0)
    return x.reshape(x.shape[0] // STRIDE, STRIDE, x.shape[1] // STRIDE, STRIDE, -1).mean(axis=(1, 3))


def window_target(displacement: Displacement, weights: Float[Array, "b hc wc"], radius: int) -> tuple[Array, Array]:
    """A displacement spread bilinearly over the window's four entries around it.

    Args:
      displacement: [b, h', w', 2] in cells.
      weights: [b, h', w'].
      radius: of the search window.

    Returns:
      [b, h', w', u], which adds up to 1, and the weights: 0 where the displacement leaves the window.
    """
    _, rows, columns, _ = displacement.shape
    grid, last = pixel_grid(rows, columns)[None], jnp.array([columns - 1, rows - 1], jnp.float32)
    # The outermost half of a cell has no cell behind it.
    displacement = jnp.clip(grid + displacement, 0.0, last[None, None, None]) - grid
    distance = jnp.abs(displacement[..., None, :] - window_offsets(radius)[None, None, None])
    target = jnp.prod(jnp.maximum(1.0 - distance, 0.0), axis=-1)
    return target, jnp.where(jnp.all(jnp.abs(displacement) <= radius, axis=-1), weights, 0.0)
