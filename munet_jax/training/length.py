"""How long a run is: epochs of clips, and the steps that they take."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from munet_jax.runtime.errors import InputError


class Length(NamedTuple):
    """The steps of a run, and the epochs that they are.

    Clips are what counts: an epoch is as many clips whatever the batch, and need not end with a step.
    """

    clips: int  # of an epoch
    batch_size: int  # clips of a step, over all devices
    steps: int
    given: bool = False  # whether `train.steps` says so, and not `train.epochs`

    def epoch(self, step: int) -> float:
        """Epochs that are done after a step."""
        return step * self.batch_size / self.clips

    def __str__(self) -> str:
        """As a run tells it at its start, such as '100 epochs of 700 clips'."""
        why = " (by train.steps, not train.epochs)" if self.given else ""
        return f"{round(self.epoch(self.steps), 2):g} epochs of {self.clips} clips{why}"


def run_length(config: Any, clips: int) -> Length:
    """The length of a run by `config.train` (fields: `TrainConfig`).

    `epochs` epochs, rounded up to whole steps, unless `steps` is set.

    Args:
      config: `config.train`.
      clips: in an epoch.

    Raises:
      InputError: no epochs, or fewer than no steps.
    """
    if config.steps < 0:
        raise InputError(f"config.train.steps is {config.steps}; 0 lets train.epochs say it, more is a number of steps")
    if not 0 < config.epochs < math.inf:
        raise InputError(f"config.train.epochs is {config.epochs}; give a number above 0, such as 100 or 0.5")
    wanted = math.ceil(round(config.epochs * clips / config.batch_size, 6))
    return Length(clips, config.batch_size, config.steps or wanted, given=config.steps > 0)
