"""What a frame brings to the memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from munet_jax.array_types import Array, Float, ObjectValid


class NewFrame(NamedTuple):
    """A frame that is written to a bank, whatever its policy.

    Attributes:
      key: of the frame's p = h' * w' positions, for each object.
      value: of the same positions.
      objects: which slots hold an object.
      new: objects that this frame gives for the first time.
      index: of the frame in its video, int32 [].
      given: whether a mask is given in it, bool [].
    """

    key: Float[Array, "b n p k"]
    value: Float[Array, "b n p v"]
    objects: ObjectValid
    new: ObjectValid
    index: Any
    given: Any
