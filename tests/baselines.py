"""What a method without learning gets: the bar that a trained model has to clear."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


@jax.jit
def nearest_colour_step(frame: jax.Array, previous: jax.Array, labels: jax.Array, radius: jax.Array) -> jax.Array:
    """Each pixel takes the label of the most similar colour within `radius` pixels (a disk) in the frame before.

    Args:
      frame: RGB uint8 [h, w, 3].
      previous: the frame before.
      labels: its label map [h, w].
      radius: in pixels; of equally similar pixels the first in reading order wins.

    Returns:
      label map [h, w].
    """
    h, w, _ = frame.shape
    reach = 24
    colours = jnp.pad(previous.astype(jnp.int32), ((reach, reach), (reach, reach), (0, 0)), constant_values=10_000)
    names = jnp.pad(labels, reach)
    side = 2 * reach + 1

    def look(index: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        dy, dx = index // side, index % side
        there = jax.lax.dynamic_slice(colours, (dy, dx, 0), (h, w, 3))
        distance = jnp.sum((frame.astype(jnp.int32) - there) ** 2, axis=-1)
        inside = (dy - reach) ** 2 + (dx - reach) ** 2 <= radius**2
        better = (distance < best[0]) & inside
        name = jax.lax.dynamic_slice(names, (dy, dx), (h, w))
        return jnp.where(better, distance, best[0]), jnp.where(better, name, best[1])

    start = (jnp.full((h, w), 2**30, jnp.int32), jnp.zeros((h, w), labels.dtype))
    return jax.lax.fori_loop(0, side**2, look, start)[1]


def nearest_colour_propagation(frames: list[np.ndarray], first: np.ndarray) -> list[np.ndarray]:
    """Label maps of all frames, from the first frame's, by nearest colour within 24 pixels from frame to frame."""
    results = [first]
    for before, now in zip(frames, frames[1:], strict=False):
        step = nearest_colour_step(jnp.asarray(now), jnp.asarray(before), jnp.asarray(results[-1]), jnp.int32(24))
        results.append(np.asarray(step))
    return results
