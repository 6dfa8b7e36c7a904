"""AdamW, its learning-rate schedules (paper Sec. 3.5), and which parameters it leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section
from munet_jax.training.options import OptimizerConfig


def create_schedule(config: ConfigDict, *, steps: int, steps_per_epoch: int, batch_size: int = 1) -> optax.Schedule:
    """Learning rate by step.

    Args:
      config: `config.optimizer` (fields: `OptimizerConfig`).
      steps: length of the whole run; where 'cosine' reaches 0.
      steps_per_epoch: for 'halving', which halves the rate every `halve_every_epochs` epochs.
      batch_size: clips in a step; with `scale_lr` the rate is that of one clip (the paper's batch) times this.
    """
    check_section("config.optimizer", config, OptimizerConfig)
    rate, warmup = config["learning_rate"], config["warmup_steps"]
    if config["scale_lr"]:
        rate *= batch_size
    kind = config["schedule"]
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


def create_optimizer(
    config: ConfigDict, schedule: optax.Schedule, *, freeze: Sequence[str] = ()
) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay on all parameters, as in PyTorch; `clip_norm` > 0 clips the global norm first.

    Enc-Q's rate is `encoder_rate` times that of the rest.
    Parameters that `freeze` names (see `frozen_parameters`) get no update, no decay and no moments.
    """
    optimizer = optax.adamw(schedule, b1=config["beta1"], b2=config["beta2"], weight_decay=config["weight_decay"])
    if config["encoder_rate"] != 1:
        optimizer = optax.chain(optimizer, slower_encoder(config["encoder_rate"]))
    if config["clip_norm"] > 0:
        optimizer = optax.chain(optax.clip_by_global_norm(config["clip_norm"]), optimizer)
    if not freeze:
        return optimizer

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda still: "still" if still else "trained", frozen_parameters(params, freeze))

    return optax.partition({"trained": optimizer, "still": optax.set_to_zero()}, labels)


def slower_encoder(factor: float | int) -> optax.GradientTransformation:
    """Enc-Q's updates times a factor: what was trained before is to change less than what was not."""

    def of_encoder(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "query_encoder", params)

    return optax.masked(optax.scale(factor), of_encoder)


def frozen_parameters(params: Any, prefixes: Sequence[str]) -> Any:
    """Which parameters a run leaves as they are.

    Args:
      params: the parameters, arrays or shapes.
      prefixes: paths such as 'query_encoder' or 'reference_encoder/backbone/res2_0'; all below them is frozen.

    Returns:
      A tree like `params` of bools.

    Raises:
      InputError: a prefix that no parameter has.
    """

    def below(path: Any) -> list[str]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return [prefix for prefix in prefixes if f"{name}/".startswith(f"{prefix.rstrip('/')}/")]

    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    unknown = sorted(set(prefixes) - {prefix for path in paths for prefix in below(path)})
    if unknown:
        parts = ", ".join(params)
        raise InputError(f"config.train.freeze: no parameter is below {unknown[0]!r}; the parts are {parts}")
    return jax.tree_util.tree_map_with_path(lambda path, _: bool(below(path)), params)
