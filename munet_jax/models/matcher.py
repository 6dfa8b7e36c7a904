"""Key and value embeddings, and the matcher that reads the memory with them (paper Fig. 2)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float
from munet_jax.models.convolution import Conv
from munet_jax.models.memory import Bank


class KeyValue(nn.Module):
    """Key and value embeddings: one 3x3 convolution each. Query and memory have their own.

    Attributes:
      key_dim: channels k; None makes no key (a memory that keeps the query's).
      value_dim: channels v.
      dtype: compute dtype.
      precise_key: compute keys in f32 whatever `dtype` is: their squared distances are small differences of large numbers.
    """

    key_dim: int | None = 128
    value_dim: int = 512
    dtype: Any = jnp.float32
    precise_key: bool = False

    @property
    def key_dtype(self) -> Any:
        """Of the keys that come out."""
        return jnp.float32 if self.precise_key else self.dtype

    @nn.compact
    def __call__(self, features: FeatureMap) -> tuple[AnyMap | None, AnyMap]:
        """[b, h', w', d] -> key [b, h', w', k], value [b, h', w', v]."""
        key = None
        if self.key_dim is not None:
            key = Conv(self.key_dim, 3, dtype=self.key_dtype, name="key")(features)
        value = Conv(self.value_dim, 3, dtype=self.dtype, name="value")(features)
        return key, value


class Matcher(nn.Module):
    """Read the memory for a query frame and put the query's own value beside the readout; has no parameters.

    Attributes:
      top_k: memory positions that take part for each query position; None takes all.
      shared_keys: all objects of a bank of frames remember the same keys (those of the query).
      similarity: of two keys: 'dot' is k_m . k_q / sqrt(k), 'l2' is -|k_m - k_q|^2 / sqrt(k).
    """

    top_k: int | None = None
    shared_keys: bool = False
    similarity: str = "dot"

    def remembered(self, key: Float[Array, "*shape k"]) -> Float[Array, "*shape e"]:
        """A key as memory keeps it. For 'l2' one channel more makes every form of the read, which takes products, compute it.

        -|k_m - k_q|^2 is 2 k_m . k_q - |k_m|^2, up to what all that a position reads have in common.
        """
        if self.similarity == "dot":
            return key
        return jnp.concatenate([2 * key, -jnp.sum(key**2, axis=-1, keepdims=True)], axis=-1)

    def asked(self, key: Float[Array, "*shape k"]) -> Float[Array, "*shape e"]:
        """A key as it asks what `remembered` made; the read divides by the root of one channel more."""
        if self.similarity == "dot":
            return key
        k = key.shape[-1]
        return jnp.concatenate([key, jnp.ones_like(key[..., :1])], axis=-1) * ((k + 1) / k) ** 0.5

    def __call__(
        self, bank: Bank, key: Float[Array, "b h w k"], value: Float[Array, "b h w v"]
    ) -> tuple[Float[Array, "b n h w e"], Bank]:
        """Query key and value -> readout and query value, concatenated (e = 2 v), and the memory after the read."""
        b, h, w, _ = key.shape
        asked = self.asked(key).reshape(b, h * w, -1)
        found, bank = bank.read(asked, top_k=self.top_k, shared_keys=self.shared_keys)
        n, v = found.shape[1], found.shape[-1]
        found = found.reshape(b, n, h, w, v).astype(value.dtype)
        own = jnp.broadcast_to(value[:, None], (b, n, h, w, v))
        return jnp.concatenate([found, own], axis=-1), bank


def with_scores_multiplied(params: dict[str, Any], factor: float) -> dict[str, Any]:
    """Parameters of a MUNet whose keys are as much larger or smaller as makes every score `factor` times what it was.

    Scores are products of two keys, or their squared distances: each key takes the root of it.

    Args:
      params: of the whole network, with `query_embedding` and `memory_embedding`.
      factor: above 0; less than 1 makes the softmax over the memory softer.
    """
    root = np.float32(np.sqrt(factor))
    embeddings = {
        name: params[name] | {"key": {part: root * array for part, array in params[name]["key"].items()}}
        for name in ("query_embedding", "memory_embedding")
        if "key" in params[name]  # a memory that keeps the query's keys makes none
    }
    return params | embeddings
