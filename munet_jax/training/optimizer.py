"""AdamW, its learning-rate schedules (paper Sec. 3.5), and which parameters it leaves as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section
from munet_jax.training.length import Length
from munet_jax.training.options import OptimizerConfig

# Factor of the learning rate by the clips of a step.
SCALES: dict[str, Callable[[int], float]] = {"none": lambda _: 1.0, "sqrt": math.sqrt, "linear": float}
OLDER = {True: "linear", False: "none"}  # what configs held before there was a choice


def create_schedule(config: ConfigDict, length: Length) -> optax.Schedule:
    """Learning rate by step; of an int it is computed on the host, where no device is waited for.

    Args:
      config: `config.optimizer` (fields: `OptimizerConfig`).
      length: of the run. 'halving' counts its clips, so that an epoch has one rate whatever the batch; 'cosine' reaches 0 with
        its last step, and so does any with `decay_steps`; `scale_lr` multiplies the rate, which is meant for one clip (the
        paper's batch), by its batch.

    Raises:
      InputError: a value that a field does not take.
    """
    scale = config["scale_lr"]
    config = config.to_dict() | {"scale_lr": OLDER[scale] if isinstance(scale, bool) else scale}
    check_section("config.optimizer", config, OptimizerConfig)
    kind, rate = config["schedule"], config["learning_rate"] * SCALES[config["scale_lr"]](length.batch_size)
    warmup = _warmup(config, length)
    if config["decay_steps"] < 0:
        raise InputError(f"config.optimizer.decay_steps is {config['decay_steps']}; give 0 or more")
    if config["halve_every_epochs"] < 1:
        raise InputError(f"config.optimizer.halve_every_epochs is {config['halve_every_epochs']}; give 1 or more")

    def schedule(step: Any) -> Any:
        x = jnp if isinstance(step, jax.Array) else np
        now = x.asarray(step, np.float32)
        value = x.ones_like(now)
        if kind == "halving":
            halvings = step * length.batch_size // (config["halve_every_epochs"] * length.clips)
            value = x.exp2(-x.asarray(halvings, np.float32))
        elif kind == "cosine":
            part = x.clip((now - warmup) / max(length.steps - warmup, 1), 0.0, 1.0)
            value = 0.5 * (1.0 + x.cos(np.pi * part))
        if config["decay_steps"]:
            value *= x.clip((length.steps - now) / config["decay_steps"], 0.0, 1.0)
        return rate * value * (x.minimum(now / warmup, 1.0) if warmup else 1.0)

    return schedule


def _warmup(config: Mapping[str, Any], length: Length) -> float | int:
    """Steps over which the rate rises; they need not be whole."""
    steps, epochs = config["warmup_steps"], config["warmup_epochs"]
    if min(steps, epochs) < 0 or (steps and epochs):
        raise InputError(
            f"config.optimizer.warmup_steps is {steps} and warmup_epochs {epochs}; set one of them, to 0 or more"
        )
    return steps or epochs * length.clips / length.batch_size


def create_optimizer(
    config: ConfigDict, schedule: optax.Schedule, *, freeze: Sequence[str] = ()
) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay on all parameters, as in PyTorch; `clip_norm` > 0 clips the global norm first.

    Enc-Q's rate is `encoder_rate` times that of the rest; other parts have the factors of `rates`, decay included.
    Parameters that `freeze` names (see `frozen_parameters`) get no update, no decay and no moments.
    """
    optimizer = optax.adamw(schedule, b1=config["beta1"], b2=config["beta2"], weight_decay=config["weight_decay"])
    if config["encoder_rate"] != 1:
        optimizer = optax.chain(optimizer, at_other_rate("query_encoder", config["encoder_rate"], strict=False))
    for part, factor in config["rates"]:
        optimizer = optax.chain(optimizer, at_other_rate(part, factor))
    if config["clip_norm"] > 0:
        optimizer = optax.chain(optax.clip_by_global_norm(config["clip_norm"]), optimizer)
    if not freeze:
        return optimizer

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda still: "still" if still else "trained", frozen_parameters(params, freeze))

    return optax.partition({"trained": optimizer, "still": optax.set_to_zero()}, labels)


def at_other_rate(part: str, factor: float | int, *, strict: bool = True) -> optax.GradientTransformation:
    """A part's updates times a factor: what was trained before is to change less than what was not.

    Where `strict`, a part that no trained parameter belongs to is an InputError.
    """

    def below(params: Any) -> Any:
        return parameters_below(params, (part,), "config.optimizer.rates" if strict else "")

    return optax.masked(optax.scale(factor), below)


def frozen_parameters(params: Any, prefixes: Sequence[str]) -> Any:
    """Which parameters a run leaves as they are; see `parameters_below`."""
    return parameters_below(params, prefixes, "config.train.freeze")


def parameters_below(params: Any, prefixes: Sequence[str], field: str) -> Any:
    """Which parameters belong to some parts.

    Args:
      params: the parameters, arrays or shapes.
      prefixes: paths such as 'query_encoder' or 'reference_encoder/backbone/res2_0'; all below them is meant.
      field: of the config that names them; '' lets those be that no parameter has.

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
    if unknown and field:
        parts = ", ".join(params)
        raise InputError(f"{field}: no parameter is below {unknown[0]!r}; the parts are {parts}")
    return jax.tree_util.tree_map_with_path(lambda path, _: bool(below(path)), params)
