"""Whether a device computes what the CPU computes: every part of the network by itself, a frame, and a step's gradients.

Each part gets the inputs that the CPU made in f32, so that errors do not add up on the way. An error is the norm of the
difference over the norm of what the CPU has in f32, the largest of the part's results. What bf16 itself costs is no fault of a
device: where a part is further off than its bar, the CPU's own half precision decides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.common import first_mask, moving_picture, random_variables
from munet_jax.inference.half import in_dtype
from munet_jax.losses import bootstrapped_cross_entropy, mask_iou_loss
from munet_jax.models import MUNet, video
from munet_jax.models.aggregation import object_probabilities
from munet_jax.models.memory import EveryK, NewFrame
from munet_jax.training.options import TrainConfig
from munet_jax.training.step import Batch, TrainState, make_train_step, one_hot_objects

# How products are computed: JAX's name of their precision, the network's type, and the largest error that passes.
PRECISIONS = {
    "highest": ("highest", "float32", 1e-4),
    "default": ("default", "float32", 3e-2),
    "half": ("default", "bfloat16", 3e-2),
}
TINY = 1e-12
WORSE = 1.5  # times the error of the CPU's own half precision, which passes too
OBJECTS = 2

Inputs = dict[str, Any]
Part = Callable[[MUNet, Any, Inputs], Any]


def applied(method: Callable[[MUNet, Inputs], Any]) -> Part:
    """A part of the network as a function of its variables."""
    return lambda model, variables, x: model.apply(variables, x, method=method)


def two_frames(model: MUNet, variables: Any, x: Inputs) -> Any:
    """The first frame with its mask, and the masks of the second: every part, one behind the other."""
    size = x["frames"].shape[2:4]
    state = video.init_state(model, variables, size, OBJECTS, policy=EveryK())
    given = video.Given(x["labels"], jnp.ones((1, OBJECTS), jnp.bool_))
    state, _ = video.step(model, variables, state, x["frames"][:, 0], given)
    return video.step(model, variables, state, x["frames"][:, 1])[1].probabilities


def losses(model: MUNet, variables: Any, x: Inputs) -> Any:
    """Both parts of Eq. 4, of the same logits."""
    del model, variables
    masks = one_hot_objects(x["labels"], OBJECTS)
    return bootstrapped_cross_entropy(x["logits"], x["labels"]), mask_iou_loss(object_probabilities(x["logits"]), masks)


def gradients(model: MUNet, variables: Any, x: Inputs) -> Any:
    """Of a training step, as one vector."""
    keep = optax.trace(0.0)  # an optimizer whose state is the gradient
    memory = "sequential" if model.decoder.motion_prior else "reference"
    step = make_train_step(model, keep, TrainConfig(memory=memory))
    params = variables["params"]
    state = TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), keep.init(params))
    labels = jnp.broadcast_to(x["labels"][:, None], x["frames"].shape[:4]).astype(jnp.uint8)
    batch = Batch(x["frames"], labels, jnp.ones(labels.shape, jnp.bool_), jnp.ones((1, OBJECTS), jnp.bool_))
    found = step(state, batch)[0].opt_state.trace
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)])


PARTS: dict[str, Part] = {
    "Enc-Q": applied(lambda net, x: net.encode(x["frames"][:, 1])),
    "MU-Layer": applied(lambda net, x: net.mu_layer(x["now"].reduced, x["before"].reduced)),
    "query": applied(lambda net, x: net.query(x["now"], x["before"].reduced)),
    "Enc-R": applied(
        lambda net, x: net.memorise(x["frames"][:, 0], x["masks"], x["query"].key, x["query"].semantic)[1]
    ),
    "memory read": applied(lambda net, x: net.matcher(x["bank"], x["query"].key, x["query"].value)[0]),
    "decoder": applied(lambda net, x: net.match(x["query"], x["bank"], x["objects"], x["masks"])[0]),
    "two frames": two_frames,
    "losses": losses,
    "gradients": gradients,
}


def known_inputs(model: MUNet, variables: Any, frames: Any, labels: Any) -> Inputs:
    """What the parts are given: what the network makes of two frames and the label map of the first."""

    def inside(net: MUNet) -> Inputs:
        before, now = net.encode(frames[:, 0]), net.encode(frames[:, 1])
        query, masks = net.query(now, before.reduced), one_hot_objects(labels, OBJECTS)
        objects = jnp.ones((1, OBJECTS), jnp.bool_)
        key, value = net.memorise(frames[:, 0], masks, query.key, query.semantic)
        bank = EveryK().init(1, OBJECTS, key.shape[2], net.memory_format)
        bank = bank.write(NewFrame(key, value, objects, objects, jnp.int32(0), jnp.bool_(True)))
        logits, _ = net.match(query, bank, objects, masks)
        made = {"now": now, "before": before, "query": query, "bank": bank, "masks": masks, "objects": objects}
        return made | {"logits": logits, "frames": frames, "labels": labels}

    return model.apply(variables, method=inside)


def largest_error(found: Any, expected: Any) -> float:
    """Of the results of a part; one that is not finite is infinitely wrong."""
    errors = []
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if other.dtype.kind in "bi":
            continue
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        error = np.linalg.norm(one - other) / max(np.linalg.norm(other), TINY)
        errors.append(float(error) if np.isfinite(error) else np.inf)
    return max(errors)


class Parity:
    """The parts of one network, on a device and on the CPU of the same process."""

    def __init__(self, model: MUNet, size: tuple[int, int], device: Any, variables: Any = None) -> None:
        """Frames of `size` that are made here; random variables where none are given."""
        self.model, self.device, self._cpu = model, device, jax.devices("cpu")[0]
        self._programs: dict[tuple[str, str], Any] = {}
        self.variables = random_variables(model) if variables is None else variables
        frames = np.stack([moving_picture(size, number) for number in range(2)])[None]
        self._shown = frames, first_mask(size, OBJECTS).astype(np.int32)[None]
        given = jax.device_put((self.variables, *self._shown), self._cpu)
        with jax.default_matmul_precision("highest"):
            self._inputs = jax.device_get(jax.jit(functools.partial(known_inputs, model))(*given))

    def case(self, part: str) -> dict[str, Any]:
        """The largest error in each precision, and whether all pass."""
        expected = self.run(part, self._cpu, "highest")
        errors = {name: largest_error(self.run(part, self.device, name), expected) for name in PRECISIONS}
        late = [name for name, error in errors.items() if not error <= PRECISIONS[name][2]]
        if late == ["half"]:
            errors["half_of_the_cpu"] = largest_error(self.run(part, self._cpu, "half"), expected)
            late = ["half"] * (errors["half"] > WORSE * errors["half_of_the_cpu"])
        return {"passed": not late, **{name: float(f"{error:.3g}") for name, error in errors.items()}}

    def run(self, part: str, device: Any, precision: str) -> Any:
        """A part's results on the host, as computed on a device; its inputs are of the type that the network makes them in."""
        products, dtype, _ = PRECISIONS[precision]
        model = in_dtype(self.model, dtype)
        types = jax.eval_shape(functools.partial(known_inputs, model), self.variables, *self._shown)
        inputs = jax.tree.map(lambda x, made: x.astype(made.dtype), self._inputs, types)
        with jax.default_matmul_precision(products):
            run = self._programs.setdefault((part, dtype), jax.jit(functools.partial(PARTS[part], model)))
            return jax.device_get(run(*jax.device_put((self.variables, inputs), device)))
