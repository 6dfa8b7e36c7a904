"""What the layers behind the encoders start from. Needs no JAX."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from munet_jax.runtime.nested import flatten, nest

ENCODERS = ("query_encoder", "reference_encoder")


def pytorch_initialised(params: Any, seed: int) -> Any:
    """`params` with the convolutions behind the encoders drawn as PyTorch draws them unless it is told otherwise.

    kaiming_uniform(a=sqrt(5)): kernels and biases uniform between -1 and 1 over the root of the fan-in. Flax's lecun_normal has
    kernels of a variance three times as large, and biases of zero.

    Args:
      params: of a `MUNet`.
      seed: each array follows from it and from the array's name.
    """
    flat = flatten(params)
    drawn = {}
    for path, value in flat.items():
        layer, _, leaf = path.rpartition("/")
        kernel = flat.get(f"{layer}/kernel")
        if path.split("/")[0] in ENCODERS or leaf not in ("kernel", "bias") or kernel is None:
            continue
        bound = float(np.prod(kernel.shape[:-1])) ** -0.5
        rng = np.random.default_rng((seed, zlib.crc32(path.encode())))
        drawn[path] = rng.uniform(-bound, bound, value.shape).astype(value.dtype)
    return nest(flat | drawn)
