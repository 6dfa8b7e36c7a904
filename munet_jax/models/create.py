"""A `MUNet` from a plain config section, with every field checked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from munet_jax.array_types import Array
from munet_jax.models.decoder import Decoder
from munet_jax.models.efficientnet import EfficientNetLite0
from munet_jax.models.encoders import LightReferenceEncoder, QueryEncoder, ReferenceEncoder
from munet_jax.models.fusion import Fusion
from munet_jax.models.matcher import KeyValue, Matcher
from munet_jax.models.mu_layer import MULayer
from munet_jax.models.munet import MUNet
from munet_jax.models.options import ModelConfig, ResNetConfig
from munet_jax.models.resnet import ResNet
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section, fields_of

# Which fields of an encoder's section its ResNet takes.
RESNET_FIELDS = tuple(field.name for field in fields_of(ResNetConfig))


def create_model(config: ConfigDict) -> MUNet:
    """Build the network that `config.model` describes (fields: `ModelConfig`).

    Raises:
      InputError: a field has a value of another type, or one that is not one of its choices.
    """
    check_section("config.model", config, ModelConfig)
    if config["motion_prior"] and config["mu_layer"]["matching"] != "softargmax":
        raise InputError("config.model.motion_prior moves masks to their match: set mu_layer.matching to 'softargmax'")
    similarity = config.get("similarity", "dot")  # runs from before there was a choice have none
    dtype = jnp.dtype(config["dtype"])
    padding = config.get("padding", "mean")  # runs from before there was a choice have none
    query_encoder = _query_encoder(config["query_encoder"], padding, remat=config["remat"], dtype=dtype)
    width = query_encoder.backbone.stage_widths[-1]

    key_dim, value_dim = config["key_dim"], config["value_dim"]
    own_key, precise = config["memory_key"] == "reference", similarity == "l2"
    return MUNet(
        query_encoder=query_encoder,
        reference_encoder=_reference_encoder(config["reference_encoder"], padding, remat=config["remat"], dtype=dtype),
        mu_layer=MULayer(features=width, **config["mu_layer"], dtype=dtype),
        fusion=Fusion(config["fusion"], dtype=dtype),
        query_embedding=KeyValue(key_dim, value_dim, dtype, precise),
        memory_embedding=KeyValue(key_dim if own_key else None, value_dim, dtype, precise),
        matcher=Matcher(config["top_k"] or None, shared_keys=not own_key, similarity=similarity),
        decoder=_decoder(config, dtype),
    )


# Initialisers are hundreds of small random programs; compiled in full they take 22 s on two CPU cores, like this 6 s.
QUICK_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def init_variables(model: MUNet, seed: int, *, frames: Any, masks: Any, objects: Any) -> dict[str, Any]:
    """Initial parameters and, with frozen batch norm, statistics.

    Args:
      model: the network.
      seed: of the random numbers.
      frames: arrays or shapes of a training clip, as `MUNet.__call__` takes it.
      masks: likewise.
      objects: likewise.
    """
    # Either memory makes the same parameters; a motion prior exists only with the sequential one.
    memory = "sequential" if model.decoder.motion_prior else "reference"

    def initialise(key: Array) -> Any:
        clip = [jnp.zeros(x.shape, x.dtype) for x in (frames, masks, objects)]
        return model.init(key, *clip, memory=memory)

    key = jax.random.key(seed)
    if isinstance(key, jax.core.Tracer):  # only shapes are asked for: there is nothing to compile
        return initialise(key)
    options = QUICK_COMPILE if jax.default_backend() == "cpu" else None
    return jax.jit(initialise, compiler_options=options)(key)


def variable_shapes(model: MUNet) -> Any:
    """Shapes of the parameters and statistics; those of no network depend on the size of its frames."""
    shape = jax.ShapeDtypeStruct
    clip = {"frames": shape((1, 2, 32, 32, 3), jnp.uint8), "masks": shape((1, 1, 32, 32), jnp.float32)}
    return jax.eval_shape(lambda: init_variables(model, 0, **clip, objects=shape((1, 1), jnp.bool_)))


def _decoder(config: ConfigDict, dtype: Any) -> Decoder:
    skip_blocks = config.get("skip_blocks", True)  # runs from before there was a choice have none
    widths = _decoder_widths(config["decoder_dim"])
    return Decoder(widths, config["motion_prior"], skip_blocks, config["remat"], dtype=dtype)


def _decoder_widths(given: int | tuple[int, ...]) -> tuple[int, int, int]:
    """Channels at strides 16, 8 and 4; runs from before they could differ have one number."""
    widths = (given,) * 3 if isinstance(given, int) else tuple(given)
    if len(widths) != 3:
        raise InputError(f"config.model.decoder_dim is {given}; give three numbers, for strides 16, 8 and 4")
    return widths[0], widths[1], widths[2]


def _query_encoder(config: ConfigDict, padding: str, **common: Any) -> QueryEncoder:
    if kind_of(config) == "efficientnet_lite0":
        return QueryEncoder(EfficientNetLite0(config["frozen_blocks"], **common), padding)
    return QueryEncoder(ResNet(**{name: config[name] for name in RESNET_FIELDS}, **common), padding)


def _reference_encoder(
    config: ConfigDict, padding: str, *, remat: bool, dtype: Any
) -> ReferenceEncoder | LightReferenceEncoder:
    std, others = config["mask_kernel_std"], config.get("others", False)
    if kind_of(config) == "light":
        widths, features = tuple(config["light_widths"]), config["light_features"]
        return LightReferenceEncoder(widths, features, std, others, padding, dtype=dtype)
    fields = {name: config[name] for name in RESNET_FIELDS}
    masks = {"mask_input": True, "others_input": others, "mask_kernel_std": std}
    return ReferenceEncoder(ResNet(**fields, **masks, remat=remat, dtype=dtype), padding)


def kind_of(config: ConfigDict) -> str:
    """Of an encoder's section; those of runs from before there were several kinds have none."""
    return config.get("kind", "resnet")
