"""Frozen batch norms folded into the convolutions before them, for inference: their factor goes into the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from munet_jax.models import efficientnet, resnet


def fold_norms(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The same network with no frozen norm left: kernels times factor, and of each norm its shift alone, as 'bias'.

    Args:
      variables: 'params' and, where the network has frozen norms, 'batch_stats'; f32.

    Returns:
      variables of the same network; those of a network without frozen norms as they are. They are not to be trained further.
      What changed is on the host: compiling this would take longer than the first frame.
    """
    folded = dict(variables)
    statistics = folded.pop("batch_stats", {})
    if not statistics:
        return dict(variables)
    params = variables["params"]
    normed = jax.tree.map(np.asarray, {name: params[name] for name in statistics})
    folded["params"] = {**params, **_fold(normed, jax.tree.map(np.asarray, statistics))}
    return folded


def _fold(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """A level of the tree and all below it."""
    folded = dict(params)
    for name, inner in statistics.items():
        if "bn" in inner:  # as `resnet.Norm` nests it
            factor, shift = _factor_and_shift(params[name]["bn"], inner["bn"], resnet.EPSILON)
            folded[name] = {"bn": {"bias": shift}}
        elif "mean" in inner:  # of EfficientNet
            factor, shift = _factor_and_shift(params[name], inner, efficientnet.EPSILON)
            folded[name] = {"bias": shift}
        else:
            folded[name] = _fold(params[name], inner)
            continue
        for partner in partners(name):
            if partner in params:
                folded[partner] = _scale(params[partner], factor)
    return folded


def _factor_and_shift(
    norm: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    factor = norm["scale"] / np.sqrt(statistics["var"] + np.float32(epsilon))
    return factor, norm["bias"] - statistics["mean"] * factor


def partners(norm: str) -> list[str]:
    """Names of what a norm comes after: 'expand_norm' of 'expand', 'norm1' of 'conv1' and of the mask's part of it."""
    if norm.endswith("_norm"):
        return [norm.removesuffix("_norm")]
    before = norm.replace("norm", "conv")
    return [before, f"{before}_mask"]


def _scale(kernel: Any, factor: np.ndarray) -> Any:
    """A convolution's parameters, or a bare kernel, whose last axis is the outputs; `factor` is [d]."""
    if isinstance(kernel, Mapping):
        return {**kernel, "kernel": _scale(kernel["kernel"], factor)}
    return kernel * factor.reshape(*[1] * (kernel.ndim - 1), -1)
