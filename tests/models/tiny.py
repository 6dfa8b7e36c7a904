"""The tests' model and clips: real code, few channels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import testing
from munet_jax.models import MUNet, create_model, init_variables


def tiny_model(**changes: Any) -> MUNet:
    """The network of configs/testing.py with some of `config.model`'s fields changed ('mu_layer.outside' style)."""
    config = testing.get_config().model
    config.motion_prior = False  # the paper's; tests of it switch it on
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return create_model(config)


def random_clip(
    seed: int = 0, *, b: int = 2, t: int = 3, n: int = 2, size: tuple[int, int] = (40, 56)
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Frames [b, t, h, w, 3] in [0, 1], one-hot masks of frame 0 [b, n, h, w], which slots hold an object [b, n]."""
    rng = np.random.default_rng(seed)
    frames = rng.random((b, t, *size, 3), np.float32)
    labels = rng.integers(0, n + 1, (b, 1, *size))
    masks = (labels == np.arange(1, n + 1)[None, :, None, None]).astype(np.float32)
    return jnp.asarray(frames), jnp.asarray(masks), jnp.ones((b, n), bool)


def random_variables(model: MUNet, seed: int = 0, **clip: Any) -> Any:
    """Initialised variables with every leaf made random, so that zero biases hide nothing."""
    frames, masks, objects = random_clip(**clip)
    variables = init_variables(model, seed, frames=frames, masks=masks, objects=objects)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.asarray(0.05 * rng.standard_normal(x.shape), x.dtype), variables)


def run_clip(model: MUNet, variables: Any, *clip: jax.Array, memory: str = "reference") -> jax.Array:
    """The network on a clip, compiled as a whole: quicker than one operation after the other."""
    return jax.jit(lambda *inputs: model.apply(*inputs, memory=memory))(variables, *clip)
