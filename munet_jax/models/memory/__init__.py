"""Memory banks: keys and values of past frames per object, and who reads them (paper Fig. 2).

Both policies have the same methods: `policy.init` makes an empty bank, `bank.write` puts a frame into it, `bank.read` gives the
readout and the bank after it, `bank.grow` makes room. A bank is a value: every method returns a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool
from munet_jax.models.memory.adaptive import Adaptive, AdaptiveBank
from munet_jax.models.memory.every_k import EveryK, FrameBank
from munet_jax.models.memory.new_frame import NewFrame
from munet_jax.models.memory.readout import Memory, MemoryFormat, readout
from munet_jax.runtime.errors import InputError

Bank: TypeAlias = FrameBank | AdaptiveBank
Policy: TypeAlias = EveryK | Adaptive

POLICIES: dict[str, Callable[[Any], Policy]] = {
    "every_k": lambda options: EveryK(options.memory_interval, options.memory_capacity, options.read_chunk),
    "adaptive": lambda options: Adaptive(**options.adaptive, chunk=options.read_chunk),
}

__all__ = [
    "POLICIES", "Adaptive", "AdaptiveBank", "Bank", "EveryK", "FrameBank", "Memory", "NewFrame", "Policy", "MemoryFormat",
    "create_policy", "forget_objects", "more_objects", "readout",
]  # fmt: skip


def create_policy(options: Any) -> Policy:
    """The policy that `config.inference` describes.

    Raises:
      InputError: a field has a value that cannot be.
    """
    try:
        return POLICIES[options.memory_policy](options)
    except ValueError as error:
        raise InputError(f"config.inference: {error}") from error


def more_objects(bank: Bank, objects: int) -> Bank:
    """The same memory with room for `objects` objects."""

    def pad(x: Array) -> Array:
        return jnp.pad(x, [(0, 0), (0, objects - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]) if x.ndim > 1 else x

    return jax.tree.map(pad, bank)


def forget_objects(bank: Bank, objects: Bool[Array, " n"]) -> Bank:
    """Empty the memory of the named objects."""
    forgotten = objects.reshape(1, -1, *[1] * (bank.occupied.ndim - 2))
    return bank._replace(occupied=bank.occupied & ~forgotten)
