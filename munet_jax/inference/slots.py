"""Where objects are in the arrays: numbered slots, more than there are objects, and label maps in their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from munet_jax.array_types import Int
from munet_jax.data.masks import IGNORE
from munet_jax.inference.options import MOST_OBJECTS
from munet_jax.models.video import UNKNOWN

# Object slots are padded up to these, above the last to its multiples, so that a new object seldom compiles anything.
OBJECT_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)
NOBODY = 0  # in a slot


def slot_labels(slots: Sequence[int], mask: np.ndarray) -> Int[np.ndarray, "h w"]:
    """A label map of the user's ids -> one of slots, counted from 1; background where an id has none."""
    table = {i: slot for slot, i in enumerate(slots, start=1) if i != NOBODY} | {IGNORE: UNKNOWN}
    ids, where = np.unique(mask, return_inverse=True)
    return np.array([table.get(int(i), 0) for i in ids], np.int32)[where].reshape(mask.shape)


def slot_bucket(count: int) -> int:
    """Slots for that many objects."""
    largest = OBJECT_BUCKETS[-1]
    if count > largest:
        return min(-(-count // largest) * largest, MOST_OBJECTS)
    return next(size for size in OBJECT_BUCKETS if size >= count)
