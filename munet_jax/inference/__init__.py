"""Segmenting videos: `VideoSegmenter` frame by frame, `propagate` from any annotated frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from munet_jax.inference.prediction import Prediction
    from munet_jax.inference.propagation import propagate
    from munet_jax.inference.segmenter import VideoSegmenter

__all__ = ["Prediction", "VideoSegmenter", "propagate"]

_HOMES = {"Prediction": "prediction", "VideoSegmenter": "segmenter", "propagate": "propagation"}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: command lines read `inference.options` without loading JAX."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
