"""A stream's state as plain numpy arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from munet_jax.inference.stream import Carried, Stream
from munet_jax.models.adaptive_memory import Adaptive, AdaptiveBank
from munet_jax.models.memory import MemoryBank

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_MARK = ":bfloat16"  # numpy's own files do not know the type


def pack_stream(stream: Stream) -> dict[str, np.ndarray]:
    """Named arrays; the number of frames that stayed, alone, for a stream that has seen no frame."""
    state: dict[str, Any] = {"kept": np.array(stream.kept)}
    if stream.bank is None or stream.carried is None:
        return state
    parts = {f"bank.{name}": array for name, array in stream.bank._asdict().items()}
    parts |= {f"carried.{name}": array for name, array in stream.carried._asdict().items() if array is not None}
    for name, array in (parts | {"masks": stream.masks}).items():
        host = np.array(array)  # a copy: a view would keep the next step from using the memory again
        if host.dtype == BFLOAT16:
            state[name + _MARK] = host.view(np.uint16)
        else:
            state[name] = host
    return state


def unpack_stream(stream: Stream, state: Mapping[str, np.ndarray]) -> None:
    """Bring a new stream to what `pack_stream` saw."""
    stream.kept = int(state["kept"])
    if "masks" not in state:
        return
    arrays = {
        name.removesuffix(_MARK): jnp.asarray(array.view(BFLOAT16) if name.endswith(_MARK) else array)
        for name, array in state.items()
    }
    bank = AdaptiveBank if isinstance(stream.settings.policy, Adaptive) else MemoryBank
    stream.bank = bank(**{name: arrays[f"bank.{name}"] for name in bank._fields})
    stream.carried = Carried(arrays["carried.reduced"], arrays["carried.key"], arrays.get("carried.semantic"))
    stream.masks = arrays["masks"]
