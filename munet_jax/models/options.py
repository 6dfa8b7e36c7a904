"""The fields of `config.model`; the defaults are the paper's network (Sec. 3). Nothing here needs jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from munet_jax.runtime.fields import field_of

# Table 1 of the paper: (input channels, output channels, kernel) of the motion network. The last output is D, the semantic
# feature's width, which is 1024 in the paper's size.
TABLE_1 = ((3, 3, 7), (3, 16, 1), (16, 16, 3), (16, 32, 1), (32, 32, 3), (32, 32, 1), (32, 64, 3), (64, 1024, 1))


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """A ResNet up to res4; the defaults are ResNet-50 with frozen batch norm."""

    stage_sizes: tuple[int, int, int] = field_of((3, 4, 6), "resnet: blocks of res2, res3 and res4")
    width: int = field_of(64, "resnet: channels of the stem and of res2's 3x3 convolutions; each stage doubles them")
    block: Literal["bottleneck", "basic"] = field_of("bottleneck", "resnet: kind of its blocks")
    norm: Literal["frozen_batch", "group"] = field_of(
        "frozen_batch", "resnet: frozen_batch is for weights that were trained before, group for training from scratch"
    )


@dataclasses.dataclass(frozen=True)
class QueryEncoderConfig(ResNetConfig):
    """Enc-Q, which sees frames."""

    kind: Literal["resnet", "efficientnet_lite0"] = field_of("resnet", "which backbone")
    frozen_blocks: int = field_of(0, "efficientnet_lite0: the first N blocks get no gradient")


@dataclasses.dataclass(frozen=True)
class ReferenceEncoderConfig(ResNetConfig):
    """Enc-R, which sees a frame with the mask of one object."""

    kind: Literal["resnet", "light"] = field_of("resnet", "which network; light takes Enc-Q's feature of the frame too")
    mask_kernel_std: float = field_of(
        0.01, "standard deviation of the mask's part of the first kernel before training; its mean is 0"
    )
    others: bool = field_of(False, "also show it where the other objects are, as STM does; not in the paper")
    light_widths: tuple[int, int, int, int] = field_of((16, 32, 48, 64), "light: channels at strides 2, 4, 8 and 16")
    light_features: int = field_of(128, "light: channels of its output")


@dataclasses.dataclass(frozen=True)
class MULayerConfig:
    """The MU-Layer: cost volume, displacement, uncertainty."""

    channels: int = field_of(0, "channels that are matched; 0 takes a quarter of the semantic feature's")
    radius: int = field_of(12, "search radius in stride-16 positions; 12 is a window of 25 x 25")
    matching: Literal["softargmin", "softargmax"] = field_of(
        "softargmin", "softargmin is the paper's formula; softargmax points at the match"
    )
    temperature: float = field_of(1.0, "temperature of the softmax over the window; where it is learned, its start")
    learn_temperature: bool = field_of(False, "train the temperature with the network")
    outside: Literal["zero", "mask"] = field_of(
        "zero", "count places outside the frame as similarity 0, or leave them out of the window"
    )
    displacement: bool = field_of(True, "feed the displacement to the motion network")
    uncertainty: bool = field_of(True, "feed the uncertainty to the motion network")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network. The defaults are the paper's (Sec. 3)."""

    query_encoder: QueryEncoderConfig = QueryEncoderConfig()
    reference_encoder: ReferenceEncoderConfig = ReferenceEncoderConfig()
    mu_layer: MULayerConfig = MULayerConfig()
    fusion: Literal["msam", "addition", "none"] = field_of(
        "msam", "how semantic and motion feature are combined; addition and none are for the ablation"
    )
    memory_key: Literal["reference", "query"] = field_of(
        "reference", "remember a frame by a key of Enc-R for each object (the paper), or by the key it asked with"
    )
    key_dim: int = field_of(128, "channels of keys")
    value_dim: int = field_of(512, "channels of values")
    # Runs from before they could differ have one number.
    decoder_dim: tuple[int, ...] | int = field_of((256, 256, 256), "channels of the decoder at strides 16, 8 and 4")
    skip_blocks: bool = field_of(True, "a residual block in each of the decoder's two skip branches, as in the paper")
    initialisation: Literal["pytorch", "lecun_normal"] = field_of(
        "pytorch",
        "what convolutions behind the encoders start from: PyTorch's kaiming_uniform(sqrt 5) with biases, or Flax's",
    )
    motion_prior: bool = field_of(
        False, "show the decoder the masks of the frame before, moved to their match; not in the paper"
    )
    padding: Literal["mean", "black"] = field_of(
        "mean", "what frames are padded with to multiples of 16: the mean colour, or black as STM's are"
    )
    similarity: Literal["dot", "l2"] = field_of(
        "dot",
        "similarity of keys: their product, or minus their squared distance; each divided by the root of the channels",
    )
    top_k: int = field_of(0, "memory positions that each query position reads, the most similar; 0 reads all")
    remat: bool = field_of(
        False, "in training, compute inner maps of encoders and decoder twice: less memory, more time"
    )
    dtype: Literal["float32", "bfloat16"] = field_of(
        "float32", "type of compute; parameters, softmax, cost volume and losses stay float32"
    )
