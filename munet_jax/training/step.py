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
from munet_jax.losses import bootstrapped_cross_entropy, cross_entropy, equation_4, kullback_leibler, mask_iou_loss
from munet_jax.models import MUNet, init_variables
from munet_jax.models.aggregation import object_probabilities
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import choices_of
from munet_jax.training.drawn_motion import DrawnFrame, draw_frames
from munet_jax.training.motion_terms import blank, motion_loss, motion_terms
from munet_jax.training.optimizer import frozen_parameters
from munet_jax.training.options import TrainConfig
from munet_jax.training.teacher import Teacher


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


DEFAULTS = TrainConfig()
Clips = tuple[Batch, Any, Any]  # which of their frames get the motion prior; a drawn frame of each
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
    options: Any = DEFAULTS,
    *,
    teacher: Teacher | None = None,
    axis_name: str | None = None,
) -> TrainStep:
    """The update of a training state by a batch, a pure function.

    Args:
      model: the network.
      optimizer: an optax transformation.
      options: a `TrainConfig`, or `config.train`.
      teacher: what `train.teacher` names, opened.
      axis_name: the pmapped axis. Loss sums, counts and gradients are added over it, so that the result is that of one device
        with the whole batch.

    Returns:
      (state, batch) -> (state, metrics); metrics are f32 scalars 'loss', its parts, 'grad_norm'.
    """
    check_step(options, model)
    if (teacher is not None) != (options.teacher_weight > 0):
        raise ValueError("a teacher wants a train.teacher_weight above 0, and a weight a teacher (open_teacher)")

    def total(x: Any) -> Any:
        return jax.lax.psum(x, axis_name) if axis_name else x

    def losses(
        params: Any, state: TrainState, clips: Clips, counts: dict[str, Scalar]
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """These clips' part of the loss: their sums over the counts of the whole batch."""
        batch, hinted, drawn = clips
        variables = {"params": without_gradient(params, options.freeze), "batch_stats": state.batch_stats}
        n, how = batch.objects.shape[1], {"memory": options.memory, "truncate": options.truncate, "hinted": hinted}
        shown = (batch.frames, one_hot_objects(batch.labels[:, 0], n), batch.objects)
        if drawn is None:
            logits = model.apply(variables, *shown, **how)
        else:
            extra = (drawn.frame, drawn.origin)
            matched = model.apply(variables, *shown, *extra, **how, method="segment_and_match")
            logits = matched.logits
        taught = teacher.logits(*shown, memory=options.memory) if teacher else None
        terms = loss_terms(logits, batch, state.step, options, taught)
        if drawn is not None:
            terms |= motion_terms(matched, drawn, batch.labels, batch.valid, n=n, radius=model.mu_layer.radius)
        parts = {name: term.over(counts[name]) for name, term in terms.items()}
        loss = (
            parts["loss_ce"]
            if options.loss == "ce"
            else equation_4(parts["loss_bsce"], parts["loss_iou"], options.iou_weight)
        )
        if teacher is not None:
            loss += options.teacher_weight * parts["loss_teacher"]
        if drawn is not None:
            loss += options.motion_weight * motion_loss(parts)
        return loss, {"loss": loss, **parts}

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Scalar]]:
        keys = clip_keys(batch, state.step, options.seed, axis_name)
        drawn = draw_motion(keys, batch) if options.motion_weight else None
        counts = total(loss_counts(batch, drawn, state.step, options, model.mu_layer.radius))
        clips = (batch, draw_hinted(keys, batch, options), drawn)
        gradient = in_micro_batches(jax.grad(losses, has_aux=True), options.accumulate)
        gradients, metrics = total(gradient(state.params, state, clips, counts))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = moving_average(state, params, options.ema_decay) if options.ema_decay else state.ema
        metrics["grad_norm"] = optax.tree.norm(gradients)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema), metrics

    return step


def check_step(options: Any, model: MUNet) -> None:
    """Refuse options that a step of this network cannot follow."""
    for field in ("loss", "memory"):
        choices = choices_of(TrainConfig, field)
        if getattr(options, field) not in choices:
            raise InputError(f"config.train.{field} is {getattr(options, field)!r}; choose one of {', '.join(choices)}")
    if not 0 <= options.ema_decay < 1:
        raise InputError(
            f"config.train.ema_decay is {options.ema_decay}; it lies between 0 (no average) and 1 (never reached)"
        )
    if not 0 <= options.prior_dropout < 1:
        raise InputError(
            f"config.train.prior_dropout is {options.prior_dropout}; it is a share of the frames: 0 to less than 1"
        )
    if options.prior_dropout and not model.decoder.motion_prior:
        raise InputError(
            "config.train.prior_dropout needs a motion prior to drop: set config.model.motion_prior to True"
        )
    if options.truncate and options.memory != "sequential":
        raise InputError(
            f"config.train.truncate is True with config.train.memory {options.memory!r}, which remembers no predicted masks; set "
            "memory to 'sequential', or leave truncate out"
        )
    if options.motion_weight < 0 or (options.motion_weight and model.mu_layer.matching != "softargmax"):
        raise InputError(
            f"config.train.motion_weight is {options.motion_weight} with config.model.mu_layer.matching "
            f"{model.mu_layer.matching!r}; give 0 or more, and what points at a match: 'softargmax'"
        )
    if model.decoder.motion_prior and options.memory != "sequential":
        raise InputError("config.model.motion_prior needs the previous frame's masks: set train.memory to 'sequential'")


def loss_terms(logits: Array, batch: Batch, step: Array, options: Any, taught: Array | None = None) -> dict[str, Any]:
    """`SumAndCount` of each term of the loss, over the query frames of the clips at hand; `taught`: the teacher's logits."""
    logits, labels, valid = merge_time(logits), merge_time(batch.labels[:, 1:]), merge_time(batch.valid[:, 1:])
    labels, one_hot = labels.astype(jnp.int32), one_hot_objects(labels, batch.objects.shape[1])
    sums: dict[str, Any] = {"valid": valid, "reduction": "sum_and_count"}
    terms = {} if taught is None else {"loss_teacher": kullback_leibler(logits, merge_time(taught), valid=valid)}
    if options.loss == "ce":
        return terms | {"loss_ce": cross_entropy(logits, labels, **sums)}
    hard = bootstrapped_cross_entropy(logits, labels, fraction=hard_fraction(step, options), **sums)
    return terms | {"loss_bsce": hard, "loss_iou": mask_iou_loss(object_probabilities(logits), one_hot, **sums)}


def loss_counts(batch: Batch, drawn: DrawnFrame | None, step: Array, options: Any, radius: int) -> dict[str, Scalar]:
    """The counts alone; they depend on the labels and the drawn motion, so XLA drops all the rest."""
    b, t, h, w = batch.labels.shape
    n = batch.objects.shape[1]
    nothing = jnp.zeros((b, t - 1, h, w, n + 1))
    terms = loss_terms(nothing, batch, step, options, nothing if options.teacher_weight else None)
    if drawn is not None:
        terms |= motion_terms(blank(drawn, t - 1, radius), drawn, batch.labels, batch.valid, n=n, radius=radius)
    return {name: jax.lax.stop_gradient(term.entries) for name, term in terms.items()}


def hard_fraction(step: Array, options: Any) -> Any:
    """Share of hardest pixels that count: from all of them down to `bootstrap_fraction` over `bootstrap_warmup_steps` steps."""
    if not options.bootstrap_warmup_steps:
        return options.bootstrap_fraction
    return 1.0 - (1.0 - options.bootstrap_fraction) * jnp.minimum(step / options.bootstrap_warmup_steps, 1.0)


def clip_keys(batch: Batch, step: Array, seed: int, axis_name: str | None) -> Array:
    """A random key for each clip, by its place in the global batch: [b]."""
    b = batch.labels.shape[0]
    first = jax.lax.axis_index(axis_name) * b if axis_name else 0
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda clip: jax.random.fold_in(key, clip))(first + jnp.arange(b))


def draw_hinted(keys: Array, batch: Batch, options: Any) -> Any:
    """Which query frames of each clip get the motion prior, [b, s]; None is all."""
    if not options.prior_dropout:
        return None
    frames = (batch.labels.shape[1] - 1,)
    return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - options.prior_dropout, frames))(keys)


def draw_motion(keys: Array, batch: Batch) -> DrawnFrame:
    """A frame of known motion for each clip, from random numbers of its own."""
    own = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    return draw_frames(own, batch.frames, batch.labels, batch.valid, batch.objects.shape[1])


def without_gradient(params: Any, freeze: Sequence[str]) -> Any:
    """`params`, of which the frozen ones get no gradient."""
    if not freeze:
        return params
    return jax.tree.map(
        lambda x, still: jax.lax.stop_gradient(x) if still else x, params, frozen_parameters(params, freeze)
    )


def in_micro_batches(gradient: Callable[..., Any], count: int) -> Callable[..., Any]:
    """`gradient(params, state, clips, counts)`, computed on `count` parts of the clips one after the other, and added up."""
    if count == 1:
        return gradient

    def accumulated(params: Any, state: TrainState, clips: Clips, counts: dict[str, Scalar]) -> Any:
        parts = jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), clips)
        first = gradient(params, state, jax.tree.map(lambda x: x[0], parts), counts)

        def add(so_far: Any, clips: Clips) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, so_far, gradient(params, state, clips, counts)), None

        # XLA's CPU convolutions are 6 times slower inside a while loop; elsewhere the loop keeps memory to one part's.
        unroll = count if jax.default_backend() == "cpu" else 1
        return jax.lax.scan(add, first, jax.tree.map(lambda x: x[1:], parts), unroll=unroll)[0]

    return accumulated


def moving_average(state: TrainState, params: Any, decay: float) -> Any:
    """The average after a step; in the first steps it forgets faster, so that the initial values do not linger."""
    step = state.step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, state.ema, 1.0 - kept)


def merge_time(x: Array) -> Array:
    """[b, s, ...] -> [b * s, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
