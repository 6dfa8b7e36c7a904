"""One training step as a pure function of state and batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from ml_collections import ConfigDict

from munet_jax.array_types import Array, Float, Int, Scalar, UInt8
from munet_jax.errors import InputError
from munet_jax.losses import bootstrapped_cross_entropy, cross_entropy, mask_iou_loss
from munet_jax.models import MUNet, init_variables
from munet_jax.models.aggregation import object_probabilities

LOSSES = ("ce", "bsce_iou")
MEMORIES = ("reference", "sequential")


class TrainState(struct.PyTreeNode):
    """Everything a step changes (step, params, opt_state), and the frozen statistics of the batch norms.

    The fields have no array types: the same tree also holds shapes, and one copy per device.
    """

    step: Any  # int32 []
    params: Any
    batch_stats: Any
    opt_state: Any


class Batch(struct.PyTreeNode):
    """Clips as the loader makes them; frame 0 is the reference. On the host, or split over devices by a leading axis."""

    frames: Any  # uint8 [b, t, h, w, 3]
    labels: Any  # uint8 [b, t, h, w]; 0 background, 1..n slots
    valid: Any  # bool [b, t, h, w]; False where augmentation looked outside the picture
    objects: Any  # bool [b, n]


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Scalar]]]


def one_hot_objects(labels: Int[Array, "b h w"] | UInt8[Array, "b h w"], n: int) -> Float[Array, "b n h w"]:
    """Label map -> masks of the n object slots, f32."""
    slots = jnp.arange(1, n + 1, dtype=labels.dtype)
    return (labels[:, None] == slots[None, :, None, None]).astype(jnp.float32)


def abstract_batch(config: ConfigDict, size: int) -> Batch:
    """Shapes of a batch of `size` clips as `config.data` describes them."""
    pixels = (size, config.data.clip_length, *config.data.size)
    shape = jax.ShapeDtypeStruct
    return Batch(
        frames=shape((*pixels, 3), np.uint8),
        labels=shape(pixels, np.uint8),
        valid=shape(pixels, np.bool_),
        objects=shape((size, config.data.max_objects), np.bool_),
    )


def create_variables(model: MUNet, batch: Batch, seed: int) -> dict[str, Any]:
    """Parameters and statistics from a seed; `batch` gives the shapes and may be abstract."""
    masks = jax.ShapeDtypeStruct((*batch.objects.shape, *batch.frames.shape[2:4]), jnp.float32)
    return init_variables(model, seed, frames=batch.frames, masks=masks, objects=batch.objects)


def create_state(model: MUNet, optimizer: optax.GradientTransformation, batch: Batch, seed: int) -> TrainState:
    """Initialise parameters and optimizer from a seed; `batch` gives the shapes and may be abstract."""
    variables = create_variables(model, batch, seed)
    params = variables["params"]
    opt_state = jax.jit(optimizer.init)(params)
    return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), opt_state)


def make_train_step(
    model: MUNet,
    optimizer: optax.GradientTransformation,
    *,
    loss: str = "bsce_iou",
    iou_weight: float = 1.0,
    fraction: Callable[[Int[Array, ""]], Any] | float = 0.4,
    memory: str = "reference",
    axis_name: str | None = None,
) -> TrainStep:
    """Close the statics of a step over its pure part.

    Args:
      model: the network.
      optimizer: an optax transformation.
      loss: 'bsce_iou' (Eq. 4) or 'ce'.
      iou_weight: lambda of Eq. 4.
      fraction: share of hardest pixels, or a function of the step number.
      memory: what a training clip remembers, 'reference' or 'sequential'.
      axis_name: the pmapped axis. Loss sums, counts and gradients are added over it, so that the result is that of one
        device with the whole batch.

    Returns:
      (state, batch) -> (state, metrics); metrics are f32 scalars 'loss', its parts, 'grad_norm'.
    """
    _check("train.loss", loss, LOSSES)
    _check("train.memory", memory, MEMORIES)

    if model.decoder.motion_prior and memory != "sequential":
        raise InputError(
            "config.model.motion_prior needs the masks of the frame before: set train.memory to 'sequential'"
        )

    def total(x: Any) -> Any:
        return jax.lax.psum(x, axis_name) if axis_name else x

    def mean(sum_and_count: Any) -> Scalar:
        """This device's part of the mean over all devices: its own sum over everybody's count."""
        own, count = sum_and_count
        return own / jnp.maximum(jax.lax.stop_gradient(total(count)), 1.0)

    def losses(params: Any, state: TrainState, batch: Batch) -> tuple[Scalar, dict[str, Scalar]]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        n = batch.objects.shape[1]
        masks = one_hot_objects(batch.labels[:, 0], n)
        logits = model.apply(variables, batch.frames, masks, batch.objects, memory=memory)
        logits, labels, valid = merge_time(logits), merge_time(batch.labels[:, 1:]), merge_time(batch.valid[:, 1:])
        labels = labels.astype(jnp.int32)
        if loss == "ce":
            entropy = mean(cross_entropy(logits, labels, valid=valid, reduction="sum_and_count"))
            return entropy, {"loss": entropy, "loss_ce": entropy}
        share = fraction(state.step) if callable(fraction) else fraction
        hard = mean(bootstrapped_cross_entropy(logits, labels, fraction=share, valid=valid, reduction="sum_and_count"))
        overlap = mean(
            mask_iou_loss(
                object_probabilities(logits), one_hot_objects(labels, n), valid=valid, reduction="sum_and_count"
            )
        )
        both = hard + iou_weight * overlap  # Eq. 4
        return both, {"loss": both, "loss_bsce": hard, "loss_iou": overlap}

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Scalar]]:
        gradients, metrics = jax.grad(losses, has_aux=True)(state.params, state, batch)
        gradients, metrics = total(gradients), total(metrics)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return step


def merge_time(x: Array) -> Array:
    """[b, s, ...] -> [b * s, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _check(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"config.{field} is {value!r}; choose one of {', '.join(choices)}")
