"""One training step as a pure function of state and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from ml_collections import ConfigDict

from munet_jax.array_types import Array, Float, Int, Scalar, UInt8
from munet_jax.losses import bootstrapped_cross_entropy, cross_entropy, mask_iou_loss
from munet_jax.models import MUNet, init_variables
from munet_jax.models.aggregation import object_probabilities
from munet_jax.runtime.errors import InputError
from munet_jax.training.optimizer import frozen_parameters

LOSSES = ("ce", "bsce_iou")
MEMORIES = ("reference", "sequential")


class TrainState(struct.PyTreeNode):
    """Everything a step changes (step, params, opt_state, ema), and the frozen statistics of the batch norms.

    The fields have no array types: the same tree also holds shapes, and one copy per device.
    """

    step: Any  # int32 []
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = struct.field(default_factory=dict)  # moving average of params; {} where a run keeps none

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def with_variables(self, variables: dict[str, Any]) -> TrainState:
        """The same with other parameters and statistics; a moving average begins with them."""
        params = variables["params"]
        ema = jax.tree.map(np.copy, params) if self.ema else {}
        return self.replace(params=params, batch_stats=variables["batch_stats"], ema=ema)


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


def create_state(
    model: MUNet, optimizer: optax.GradientTransformation, batch: Batch, seed: int, *, ema: bool = False
) -> TrainState:
    """Initialise parameters and optimizer from a seed; `batch` gives the shapes and may be abstract."""
    variables = create_variables(model, batch, seed)
    params = variables["params"]
    opt_state = jax.jit(optimizer.init)(params)
    average = jax.tree.map(jnp.copy, params) if ema else {}  # a copy: the step gives up the memory of each apart
    return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), opt_state, average)


def make_train_step(
    model: MUNet,
    optimizer: optax.GradientTransformation,
    *,
    loss: str = "bsce_iou",
    iou_weight: float = 1.0,
    fraction: Callable[[Int[Array, ""]], Any] | float = 0.4,
    memory: str = "reference",
    accumulate: int = 1,
    ema_decay: float = 0.0,
    freeze: Sequence[str] = (),
    prior_dropout: float = 0.0,
    seed: int = 0,
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
      accumulate: micro-batches that a batch is worked on in, one after the other; the result is that of the whole.
      ema_decay: of the moving average of the parameters; 0 for a state without one.
      freeze: parameters that need no gradient, as the optimizer's.
      prior_dropout: share of the query frames that get no motion prior, where the network has one.
      seed: of what is drawn at random; the same frames are drawn however the batch is split.
      axis_name: the pmapped axis. Loss sums, counts and gradients are added over it, so that the result is that of one
        device with the whole batch.

    Returns:
      (state, batch) -> (state, metrics); metrics are f32 scalars 'loss', its parts, 'grad_norm'.
    """
    _check("train.loss", loss, LOSSES)
    if not 0 <= ema_decay < 1:
        raise InputError(f"config.train.ema_decay is {ema_decay}; it lies between 0 (no average) and 1 (never reached)")
    _check("train.memory", memory, MEMORIES)

    if not 0 <= prior_dropout < 1:
        raise InputError(
            f"config.train.prior_dropout is {prior_dropout}; it is a share of the frames: 0 to less than 1"
        )
    if prior_dropout and not model.decoder.motion_prior:
        raise InputError(
            "config.train.prior_dropout needs a motion prior to drop: set config.model.motion_prior to True"
        )
    if model.decoder.motion_prior and memory != "sequential":
        raise InputError(
            "config.model.motion_prior needs the masks of the frame before: set train.memory to 'sequential'"
        )

    def total(x: Any) -> Any:
        return jax.lax.psum(x, axis_name) if axis_name else x

    def share_of(state: TrainState) -> Any:
        return fraction(state.step) if callable(fraction) else fraction

    def terms(logits: Array, state: TrainState, batch: Batch) -> dict[str, Any]:
        """Sum and count of each term of the loss, of the clips at hand."""
        logits, labels, valid = merge_time(logits), merge_time(batch.labels[:, 1:]), merge_time(batch.valid[:, 1:])
        labels, one_hot = labels.astype(jnp.int32), one_hot_objects(labels, batch.objects.shape[1])
        options: dict[str, Any] = {"valid": valid, "reduction": "sum_and_count"}
        if loss == "ce":
            return {"loss_ce": cross_entropy(logits, labels, **options)}
        hard = bootstrapped_cross_entropy(logits, labels, fraction=share_of(state), **options)
        return {"loss_bsce": hard, "loss_iou": mask_iou_loss(object_probabilities(logits), one_hot, **options)}

    def counts(state: TrainState, batch: Batch) -> dict[str, Scalar]:
        """Of the whole batch on all devices; they depend on the labels alone, so XLA drops all the rest."""
        b, t, h, w = batch.labels.shape
        blank = jnp.zeros((b, t - 1, h, w, batch.objects.shape[1] + 1))
        return {name: total(count) for name, (_, count) in terms(blank, state, batch).items()}

    def draw_hinted(state: TrainState, batch: Batch) -> Any:
        """Which query frames of each clip get the motion prior, [b, s]; None is all. Drawn for each clip of the global batch."""
        if not prior_dropout:
            return None
        b, t = batch.labels.shape[:2]
        first = jax.lax.axis_index(axis_name) * b if axis_name else 0
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        keys = jax.vmap(lambda clip: jax.random.fold_in(key, clip))(first + jnp.arange(b))
        return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - prior_dropout, (t - 1,)))(keys)

    def losses(
        params: Any, state: TrainState, batch: Batch, hinted: Any, over: dict[str, Scalar]
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """These clips' part of the loss: their sums over everybody's counts."""
        if freeze:
            held = frozen_parameters(params, freeze)
            params = jax.tree.map(lambda x, still: jax.lax.stop_gradient(x) if still else x, params, held)
        variables = {"params": params, "batch_stats": state.batch_stats}
        masks = one_hot_objects(batch.labels[:, 0], batch.objects.shape[1])
        logits = model.apply(variables, batch.frames, masks, batch.objects, memory=memory, hinted=hinted)
        sums = {name: own for name, (own, _) in terms(logits, state, batch).items()}
        parts = {name: own / jnp.maximum(over[name], 1.0) for name, own in sums.items()}
        weighted = [value * (iou_weight if name == "loss_iou" else 1.0) for name, value in parts.items()]
        both = sum(weighted[1:], weighted[0])  # Eq. 4
        return both, {"loss": both, **parts}

    def gradients_of(state: TrainState, batch: Batch) -> Any:
        """Gradients and metrics of this device's clips, all at once or in micro-batches."""
        over = jax.tree.map(jax.lax.stop_gradient, counts(state, batch))
        differentiate = jax.grad(losses, has_aux=True)
        clips = (batch, draw_hinted(state, batch))
        if accumulate == 1:
            return differentiate(state.params, state, *clips, over)
        size = batch.objects.shape[0] // accumulate
        micro = jax.tree.map(lambda x: x.reshape(accumulate, size, *x.shape[1:]), clips)
        first = differentiate(state.params, state, *jax.tree.map(lambda x: x[0], micro), over)

        def add(so_far: Any, clips: tuple[Batch, Any]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, so_far, differentiate(state.params, state, *clips, over)), None

        # XLA's CPU convolutions are 6 times slower inside a while loop; elsewhere the loop keeps memory to one turn's.
        unroll = accumulate if jax.default_backend() == "cpu" else 1
        return jax.lax.scan(add, first, jax.tree.map(lambda x: x[1:], micro), unroll=unroll)[0]

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Scalar]]:
        gradients, metrics = gradients_of(state, batch)
        gradients, metrics = total(gradients), total(metrics)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        average = moving_average(state, params, ema_decay) if ema_decay else state.ema
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=average), metrics

    return step


def moving_average(state: TrainState, params: Any, decay: float) -> Any:
    """The average after a step; in the first steps it forgets faster, so that the initial values do not linger."""
    step = state.step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, state.ema, 1.0 - kept)


def merge_time(x: Array) -> Array:
    """[b, s, ...] -> [b * s, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _check(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"config.{field} is {value!r}; choose one of {', '.join(choices)}")
