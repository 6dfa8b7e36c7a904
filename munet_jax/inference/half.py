"""A network in another type of compute, as inference chooses it (`config.inference.dtype`)."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.models import MUNet

Module = TypeVar("Module", bound=nn.Module)

# In names of parameters that are computed with in f32 whatever the type: norms, and the temperature of the MU-Layer's softmax.
KEPT = ("norm", "log_temperature")
KEY = "key"  # likewise, where keys are compared by distance


def in_dtype(module: Module, dtype: Any) -> Module:
    """The same network, all of whose parts compute in `dtype`; what they keep in f32 they keep (cost volume, softmax, masks)."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name) if field.name != "parent" else None
        if isinstance(value, nn.Module):
            changed[field.name] = in_dtype(value, dtype)
        elif field.name == "dtype":
            changed["dtype"] = jnp.dtype(dtype)
    return module.clone(**changed)


def cast_parameters(model: MUNet, params: Any) -> Any:
    """Parameters as the layers of `model` would cast them at every frame; those of f32 stay as they are."""
    dtype = jnp.dtype(model.decoder.dtype)
    if dtype == jnp.float32:
        return params
    names = (*KEPT, KEY) if model.query_embedding.precise_key else KEPT

    def cast(path: Any, x: Any) -> Any:
        kept = any(part in key.key for key in path for part in names)
        return x if kept else x.astype(dtype)

    return jax.tree_util.tree_map_with_path(cast, params)
