"""A `MUNet` from a plain config section, with every field checked."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from munet_jax.errors import InputError
from munet_jax.models.decoder import Decoder
from munet_jax.models.encoders import QueryEncoder, ReferenceEncoder
from munet_jax.models.fusion import FUSIONS, Fusion
from munet_jax.models.memory import KeyValue, Matcher
from munet_jax.models.mu_layer import MATCHINGS, OUTSIDES, MULayer
from munet_jax.models.munet import MUNet
from munet_jax.models.resnet import BLOCKS, NORMS, ResNet

# Where a remembered frame's key comes from: Enc-R, one per object (the paper), or the key that the frame asked with.
MEMORY_KEYS = ("reference", "query")

CHOICES = {
    "fusion": FUSIONS,
    "memory_key": MEMORY_KEYS,
    "dtype": ("float32", "bfloat16"),
    "mu_layer.matching": MATCHINGS,
    "mu_layer.outside": OUTSIDES,
    "query_encoder.block": tuple(BLOCKS),
    "query_encoder.norm": NORMS,
    "reference_encoder.block": tuple(BLOCKS),
    "reference_encoder.norm": NORMS,
}


def create_model(config: ConfigDict) -> MUNet:
    """Build the network that `config.model` describes (see configs/common.py for every field).

    Raises:
      InputError: a field has a value that is not one of its choices.
    """
    for field, choices in CHOICES.items():
        _check_choice(config, field, choices)
    dtype = jnp.dtype(config["dtype"])
    query_backbone = ResNet(**config["query_encoder"], dtype=dtype)
    reference_backbone = ResNet(**config["reference_encoder"], mask_input=True, dtype=dtype)
    width = query_backbone.width * 4 * BLOCKS[query_backbone.block].expansion

    key_dim, value_dim = config["key_dim"], config["value_dim"]
    own_key = config["memory_key"] == "reference"
    return MUNet(
        query_encoder=QueryEncoder(query_backbone),
        reference_encoder=ReferenceEncoder(reference_backbone),
        mu_layer=MULayer(features=width, **config["mu_layer"], dtype=dtype),
        fusion=Fusion(config["fusion"], dtype=dtype),
        query_embedding=KeyValue(key_dim, value_dim, dtype=dtype),
        memory_embedding=KeyValue(key_dim if own_key else None, value_dim, dtype=dtype),
        matcher=Matcher(config["top_k"] or None),
        decoder=Decoder(config["decoder_dim"], dtype=dtype),
    )


def _check_choice(config: ConfigDict, field: str, choices: tuple[str, ...]) -> None:
    value: Any = config
    for part in field.split("."):
        value = value[part]
    if value not in choices:
        raise InputError(f"config.model.{field} is {value!r}; choose one of {', '.join(choices)}")
