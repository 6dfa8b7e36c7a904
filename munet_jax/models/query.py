"""What the network makes of one frame, before any object or memory comes in."""

from __future__ import annotations

from typing import NamedTuple

from munet_jax.array_types import AnyMap, Array, Float
from munet_jax.models.decoder import Skips
from munet_jax.models.encoders import QueryFeatures
from munet_jax.models.mu_layer import Motion


class Encoded(NamedTuple):
    """A frame after Enc-Q: its features, and the reduced feature that the next frame's MU-Layer takes."""

    features: QueryFeatures
    reduced: AnyMap


class Query(NamedTuple):
    """A query frame ready to be matched: everything that does not depend on the memory or on an object."""

    key: Float[Array, "b h w k"]
    value: Float[Array, "b h w v"]
    skips: Skips
    motion: Motion
    attention: Float[Array, "b h w 1"]
    semantic: AnyMap | None  # F_s, where Enc-R takes it
