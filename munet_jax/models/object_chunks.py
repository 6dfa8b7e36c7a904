"""Working on some objects at a time: the largest maps of a frame exist once per object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def over_objects(chunk: int, function: Callable[..., Any], *inputs: Any) -> Any:
    """`function` of arrays [b, n, ...], on slices of at most `chunk` of the n objects, its results put together again.

    Args:
      chunk: objects of a slice; 0 is all at once.
      function: of arrays [b, part of n, ...] (or None) to a tree of such arrays.
      inputs: arrays [b, n, ...], or None.
    """
    n = inputs[0].shape[1]
    size = chunk or n
    if size >= n:
        return function(*inputs)
    parts = [
        function(*[None if x is None else x[:, first : first + size] for x in inputs]) for first in range(0, n, size)
    ]
    return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=1), *parts)
