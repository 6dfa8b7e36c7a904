"""Variables as inference wants them: what depends on the parameters alone is computed once, before the first frame."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from munet_jax.models import winograd
from munet_jax.models.folding import fold_norms
from munet_jax.models.munet import MUNet

_transform = jax.jit(winograd.transformed_kernels)


def prepare(model: MUNet, variables: Any, *, transform: bool) -> dict[str, Any]:
    """Fold frozen norms; with `transform`, also transform the kernels of wide 3x3 convolutions.

    Args:
      model: the network; kernels are transformed for f32 alone.
      variables: its parameters and statistics; what does not change is shared with the result.
      transform: whether wide 3x3 convolutions get transformed kernels too, which is the faster form on CPUs.
    """
    params = jax.device_put(fold_norms(variables)["params"])
    prepared = {"params": params}
    if transform and model.decoder.dtype == jnp.float32:
        prepared[winograd.COLLECTION] = _transform(params)
    return prepared
