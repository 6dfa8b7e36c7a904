"""MUNet in JAX and Flax: motion uncertainty-aware semi-supervised video object segmentation."""

from __future__ import annotations

import os
from typing import Any

__version__ = "0.2.0"


def load(name_or_path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any], Any]:
    """A trained network: (model, variables, config).

    Args:
      name_or_path: 'lite', the network that the package ships, or 'lite-1', its predecessor; a file of `munet export-weights`;
        or a training run's folder.

    Raises:
      InputError: there is no such file or run, or it is not one of this package.
    """
    from munet_jax.checkpoints.load import load as load_network  # takes a second: jax and flax

    return load_network(name_or_path)
