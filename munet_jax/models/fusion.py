"""Motion-aware spatial attention (paper Sec. 3.3, Eq. 3) and the two alternatives of the ablation."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import Array, FeatureMap, Float
from munet_jax.models.convolution import Conv

OPEN = 0.5  # the attention that parameters of 0 give: sigmoid(0)


class Fusion(nn.Module):
    """Combine semantic and motion feature.

    Attributes:
      kind: 'msam' (Eq. 3), 'addition' (F_s + F_m) or 'none' (F_s: no motion).
      dtype: compute dtype.
    """

    kind: str = "msam"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, semantic: FeatureMap, motion: FeatureMap) -> tuple[FeatureMap, Float[Array, "b h w 1"]]:
        """F_s, F_m [b, h', w', d] -> F_out [b, h', w', d] and the attention map [b, h', w', 1] (zeros but for 'msam')."""
        if self.kind == "msam":
            attention = nn.sigmoid(Conv(1, 1, dtype=self.dtype, name="attention")(motion))
            return semantic * attention + semantic, attention.astype(jnp.float32)  # Eq. 3
        nothing = jnp.zeros((*semantic.shape[:-1], 1))
        if self.kind == "addition":
            return semantic + motion, nothing
        return semantic, nothing


def with_open_attention(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a MUNet whose MSAM begins anew, at an attention of one half everywhere.

    An attention near 0 has a small gradient and learns little. Where it is 0, it is opened without a change of what the network
    computes: F_out is (1 + 1/2) F_s then, and the kernels of key and value, which alone read it, are that much smaller.

    Args:
      params: of the whole network, with `fusion/attention` and `query_embedding`.
    """
    embedding = {
        name: layer | {"kernel": layer["kernel"] / (1 + OPEN)} for name, layer in params["query_embedding"].items()
    }
    attention = {name: 0 * value for name, value in params["fusion"]["attention"].items()}
    return params | {"fusion": {"attention": attention}, "query_embedding": embedding}
