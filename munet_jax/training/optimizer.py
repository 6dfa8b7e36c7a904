"""AdamW and its learning-rate schedules (paper Sec. 3.5)."""

from __future__ import annotations

from typing import Any

import optax
from ml_collections import ConfigDict

from munet_jax.errors import InputError

SCHEDULES = ("halving", "cosine", "constant")


def create_schedule(config: ConfigDict, *, steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step.

    Args:
      config: `config.optimizer`: learning_rate, schedule, halve_every_epochs, warmup_steps.
      steps: length of the whole run; where 'cosine' reaches 0.
      steps_per_epoch: for 'halving', which halves the rate every `halve_every_epochs` epochs.
    """
    rate, warmup = config["learning_rate"], config["warmup_steps"]
    kind = config["schedule"]
    if kind not in SCHEDULES:
        raise InputError(f"config.optimizer.schedule is {kind!r}; choose one of {', '.join(SCHEDULES)}")
    if kind == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0 if warmup else rate, rate, warmup, max(steps, warmup + 1))
    if kind == "constant":
        main = optax.constant_schedule(rate)
    else:
        interval = max(1, config["halve_every_epochs"] * steps_per_epoch)
        main = optax.exponential_decay(rate, transition_steps=interval, decay_rate=0.5, staircase=True)
    if not warmup:
        return main

    def warmed(step: Any) -> Any:
        # The main schedule counts from step 0, so that epochs stay epochs.
        return main(step) * optax.linear_schedule(0.0, 1.0, warmup)(step)

    return warmed


def create_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay on all parameters, as in PyTorch; `clip_norm` > 0 clips the global norm first."""
    adamw = optax.adamw(schedule, b1=config["beta1"], b2=config["beta2"], weight_decay=config["weight_decay"])
    if config["clip_norm"] > 0:
        return optax.chain(optax.clip_by_global_norm(config["clip_norm"]), adamw)
    return adamw
