"""Which objects of a label map a clip follows, and in which slots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from munet_jax.data.masks import IGNORE
from munet_jax.host_types import LabelMap, UInt8


def pick_objects(
    labels: LabelMap, rng: np.random.Generator, *, max_objects: int, min_pixels: int = 16
) -> tuple[int, ...]:
    """At most `max_objects` ids, chosen at random and sorted, of the objects with at least `min_pixels` pixels."""
    pixels = np.bincount(labels.ravel(), minlength=256)
    pixels[[0, IGNORE]] = 0
    present = np.flatnonzero(pixels >= max(1, min_pixels))
    if len(present) > max_objects:
        present = np.sort(rng.choice(present, max_objects, replace=False))
    return tuple(present.tolist())


def slots_by_id(ids: Sequence[int]) -> UInt8[np.ndarray, " 256"]:
    """A table from ids to slots: the given ids are 1, 2, ... in their order, all others 0."""
    slots = np.zeros(256, np.uint8)
    slots[list(ids)] = np.arange(1, len(ids) + 1)
    return slots
