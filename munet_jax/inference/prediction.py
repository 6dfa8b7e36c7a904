"""What a segmenter says about a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from munet_jax.array_types import Array, Float
from munet_jax.inference.options import MOST_OBJECTS

OUTPUTS = ("labels", "probabilities", "uncertainty", "displacement", "attention")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one step says about its frame of h x w pixels. Parts that were not asked for are None.

    Attributes:
      labels: [h, w], the user's object ids, 0 = background; uint8, or int32 where an id is above 255.
      object_ids: ids of the objects that are followed, ascending: the order of the channels of `probabilities`.
      frame_index: of the frame in its video, from 0.
      probabilities: f32 [h, w, 1 + objects], background first, adding up to 1.
      uncertainty: f32 [h, w], largest cosine with the frame before in [-1, 1]; high = sure match. None for the first frame.
      displacement: f32 [h, w, 2], (dx, dy) in image pixels, where the pixel was in the frame before. None for the first.
      attention: f32 [h, w] in [0, 1], the spatial attention of Eq. 3. None for the first frame.
    """

    labels: np.ndarray
    object_ids: tuple[int, ...]
    frame_index: int
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    displacement: np.ndarray | None = None
    attention: np.ndarray | None = None

    def at(self, frame_index: int) -> Prediction:
        """The same under another number."""
        return dataclasses.replace(self, frame_index=frame_index)

    def without_probabilities(self) -> Prediction:
        """The same for who did not ask for them."""
        return dataclasses.replace(self, probabilities=None)


def label_dtype(ids: Iterable[int]) -> type[np.generic]:
    """Of label maps with these ids: uint8 where they fit."""
    return np.int32 if max(ids, default=0) > MOST_OBJECTS else np.uint8


@jax.jit
def argmax_labels(probabilities: Float[Array, "1 n h w"]) -> Array:
    """0 for background, else 1 + slot: the most probable of n + 1, background where equal; uint8 [h, w]."""
    background = 1.0 - jnp.sum(probabilities, axis=1, keepdims=True)
    return jnp.argmax(jnp.concatenate([background, probabilities], axis=1), axis=1)[0].astype(jnp.uint8)
