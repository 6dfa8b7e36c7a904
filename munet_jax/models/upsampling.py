"""Bilinear enlargement by whole factors."""

from __future__ import annotations

import jax.numpy as jnp

from munet_jax.array_types import AnyMap, Array, FeatureMap


def upsample(x: FeatureMap, factor: int) -> AnyMap:
    """Bilinear enlargement by a whole factor, half-pixel centres, edges repeated.

    Every output row mixes two neighbouring input rows with one of `factor` fixed weights, so it is shifted sums and a
    reshape in place of the dense resize matrices of jax.image.resize (equal to it).
    """
    return _upsample_axis(_upsample_axis(x, factor, axis=1), factor, axis=2)


def _upsample_axis(x: Array, factor: int, *, axis: int) -> Array:
    size = x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding, mode="edge")

    def shifted(offset: int) -> Array:
        index = [slice(None)] * x.ndim
        index[axis] = slice(1 + offset, 1 + offset + size)
        return padded[tuple(index)]

    phases = []
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        neighbour, weight = (1, position) if position >= 0 else (-1, -position)
        phases.append((1 - weight) * x + weight * shifted(neighbour))
    stacked = jnp.stack(phases, axis=axis + 1)
    return stacked.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
