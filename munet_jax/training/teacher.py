"""Training to say what another network says: knowledge distillation (Hinton et al., 2015), which is not in the paper."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from munet_jax.array_types import Array, ClipBatch, Float, ObjectMasks, ObjectValid
from munet_jax.checkpoints.load import load
from munet_jax.models import MUNet
from munet_jax.runtime.errors import InputError


class Teacher(NamedTuple):
    """A trained network and its variables, on the host; they become constants of the compiled step."""

    model: MUNet
    variables: dict[str, Any]

    def logits(
        self, frames: ClipBatch, masks: ObjectMasks, objects: ObjectValid, *, memory: str
    ) -> Float[Array, "b s h w c"]:
        """What it says of frames 1.. of the clips, from frame 0's masks and its own memory; nothing of it is trained.

        Args:
          frames: [b, s + 1, h, w, 3].
          masks: frame 0's objects, one-hot [b, n, h, w].
          objects: which slots hold an object, [b, n].
          memory: `train.memory`.

        Returns:
          logits [b, s, h, w, n + 1], background first.
        """
        return jax.lax.stop_gradient(self.model.apply(self.variables, frames, masks, objects, memory=memory))


def open_teacher(options: Any) -> Teacher | None:
    """The network that `train.teacher` names, in every process of a run; None where a run has none.

    Raises:
      InputError: it is not there, or cannot be read; or only one of `teacher` and `teacher_weight` is set.
    """
    if options.teacher_weight < 0 or bool(options.teacher) != (options.teacher_weight > 0):
        raise InputError(
            f"config.train.teacher is {options.teacher!r} and teacher_weight {options.teacher_weight}; give both, a network "
            "and a weight above 0, or neither"
        )
    if not options.teacher:
        return None
    model, variables, _ = load(options.teacher)
    return Teacher(model, variables)
