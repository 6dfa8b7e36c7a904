"""The network: encoders, MU-Layer, fusion, memory, decoder, and MUNet itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from munet_jax.models.create import create_model, init_variables
    from munet_jax.models.munet import MUNet
    from munet_jax.models.resnet import ResNet, ResNet50

__all__ = ["MUNet", "ResNet", "ResNet50", "create_model", "init_variables"]

_HOMES = {
    "MUNet": "munet", "ResNet": "resnet", "ResNet50": "resnet", "create_model": "create", "init_variables": "create"
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: configs read `models.options` without loading JAX."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
