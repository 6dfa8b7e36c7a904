"""MUNet in JAX and Flax: motion uncertainty-aware semi-supervised video object segmentation."""

from __future__ import annotations

import os
from typing import Any

__version__ = "0.1.0"


def load(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any], Any]:
    """A trained network: (model, variables, config), of a file of `munet export-weights` or of a training run's folder.

    Raises:
      InputError: there is no such file or run, or it is not one of this package.
    """
    from munet_jax.training.export import load_weights  # takes seconds: jax and Orbax

    return load_weights(path)
