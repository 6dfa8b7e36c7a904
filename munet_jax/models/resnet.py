"""ResNet cut at stride 16 (res4), as both encoders use it, with frozen batch norm or group norm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float, ObjectMasks
from munet_jax.models.convolution import Conv, convolve, parameter

Dtype = Any

# What frames are normalised by for it: mean and standard deviation of ImageNet's pixels.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MASK_KERNELS = ("conv1_mask", "conv1_others")  # parameters of Enc-R's first convolution that no other ResNet has

# What PyTorch's ResNet starts from: variance by the number of outputs.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


def per_channel(vector: Float[Array, " d"]) -> Float[Array, "1 1 1 d"]:
    """Shape a per-channel vector for maps [b, h, w, d] (rank promotion stays explicit)."""
    return vector[None, None, None, :]


EPSILON = 1e-5  # of the batch norms that ResNets were trained with
GROUP, GROUP_EPSILON = 8, 1e-6  # of group norms


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics never change: scale and bias train, mean and variance are in 'batch_stats'."""

    epsilon: float = EPSILON
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Normalise [b, h, w, d] by the stored statistics."""
        channels = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones_init(), channels)
        bias = parameter(self, "bias", nn.initializers.zeros_init(), channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        variance = self.variable("batch_stats", "var", jnp.ones, channels)
        # Folded in f32 first, so that bf16 compute sees one product and one sum.
        factor = scale * jax.lax.rsqrt(jax.lax.stop_gradient(variance.value) + self.epsilon)
        shift = bias - jax.lax.stop_gradient(mean.value) * factor
        return x * per_channel(factor).astype(self.dtype) + per_channel(shift).astype(self.dtype)


class Norm(nn.Module):
    """The norm a config asks for: 'frozen_batch' (pre-trained weights) or 'group' (training from scratch)."""

    kind: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Normalise [b, h, w, d]."""
        if self.kind == "frozen_batch":
            return FrozenBatchNorm(dtype=self.dtype, name="bn")(x)
        return GroupNorm(self.dtype, name="gn")(x)


class GroupNorm(nn.Module):
    """Group norm (Wu and He, 2018) with groups of 8 channels; with fewer than 16, of all.

    flax's own, up to rounding: sums of each channel first and one product and sum for each value, in half its time on CPUs.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """Normalise [b, h, w, d] by each group's mean and variance over the map, in f32."""
        b, d = x.shape[0], x.shape[-1]
        scale = parameter(self, "scale", nn.initializers.ones_init(), (d,))
        bias = parameter(self, "bias", nn.initializers.zeros_init(), (d,))
        groups = max(1, d // GROUP)
        values = x.astype(jnp.float32)

        def group_means(maps: Array) -> Array:
            """Each channel's group's, [b, d]."""
            channels = jnp.mean(maps, axis=(1, 2))
            return jnp.repeat(jnp.mean(channels.reshape(b, groups, -1), axis=-1), d // groups, axis=1)

        mean = group_means(values)
        variance = jnp.maximum(group_means(values**2) - mean**2, 0.0)
        factor = jnp.asarray(scale, jnp.float32)[None] * jax.lax.rsqrt(variance + GROUP_EPSILON)
        shift = jnp.asarray(bias, jnp.float32)[None] - mean * factor
        normalised = values * factor[:, None, None] + shift[:, None, None]
        return normalised.astype(self.dtype)


def backbone_conv(features: int, kernel: int, stride: int = 1, *, dtype: Dtype, name: str) -> Conv:
    """A bias-free convolution, initialised as PyTorch's ResNet is."""
    return Conv(features, kernel, stride, use_bias=False, dtype=dtype, kernel_init=kernel_init, name=name)


def conv_norm(
    x: AnyMap, features: int, kernel: int, stride: int = 1, *, norm: str, dtype: Dtype, number: int | str = ""
) -> AnyMap:
    """A backbone's convolution `conv{number}` and its norm `norm{number}`, in the module that calls it."""
    y = backbone_conv(features, kernel, stride, dtype=dtype, name=f"conv{number}")(x)
    return Norm(norm, dtype, name=f"norm{number}")(y)


class ResidualBlock(nn.Module):
    """What both kinds of block have: channels, stride, kind of norm, compute dtype."""

    width: int
    stride: int
    norm: str
    dtype: Dtype = jnp.float32


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 residual block of ResNet-50; the stride sits on the 3x3 as in torchvision."""

    expansion = 4

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, d] -> [b, h / stride, w / stride, 4 * width]."""
        out = self.width * self.expansion
        y = nn.relu(conv_norm(x, self.width, 1, norm=self.norm, dtype=self.dtype, number=1))
        y = nn.relu(conv_norm(y, self.width, 3, self.stride, norm=self.norm, dtype=self.dtype, number=2))
        y = conv_norm(y, out, 1, norm=self.norm, dtype=self.dtype, number=3)
        return nn.relu(y + Shortcut(out, self.stride, self.norm, self.dtype, name="shortcut")(x))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, the residual block of ResNet-18 and of the small models."""

    expansion = 1

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, d] -> [b, h / stride, w / stride, width]."""
        y = nn.relu(conv_norm(x, self.width, 3, self.stride, norm=self.norm, dtype=self.dtype, number=1))
        y = conv_norm(y, self.width, 3, norm=self.norm, dtype=self.dtype, number=2)
        return nn.relu(y + Shortcut(self.width, self.stride, self.norm, self.dtype, name="shortcut")(x))


class Shortcut(nn.Module):
    """Identity, or a strided 1x1 projection where the shape changes."""

    features: int
    stride: int
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, d] -> [b, h / stride, w / stride, features]."""
        if self.stride == 1 and x.shape[-1] == self.features:
            return x
        return conv_norm(x, self.features, 1, self.stride, norm=self.norm, dtype=self.dtype)


BLOCKS: dict[str, type[Bottleneck] | type[BasicBlock]] = {"bottleneck": Bottleneck, "basic": BasicBlock}


class ResNet(nn.Module):
    """ResNet up to res4.

    Attributes:
      stage_sizes: blocks of res2, res3, res4.
      width: channels of the stem and of res2's 3x3 convolutions; doubled at each stage.
      block: 'bottleneck' (output 4 * width) or 'basic'.
      norm: 'frozen_batch' or 'group'.
      mask_input: whether the stem also takes a one-channel object mask (Enc-R).
      others_input: whether it takes the mask of the other objects beside it.
      mask_kernel_std: standard deviation of the mask's part of the first kernel at initialisation, zero mean.
      remat: keep the blocks' inputs alone for the backward pass, and compute the rest again.
      dtype: compute dtype; parameters stay f32.
      pixel_mean: of RGB in [0, 1], subtracted from images that it is given.
      pixel_std: what they are divided by then.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6)
    width: int = 64
    block: str = "bottleneck"
    norm: str = "frozen_batch"
    mask_input: bool = False
    others_input: bool = False
    mask_kernel_std: float = 0.01
    remat: bool = False
    dtype: Dtype = jnp.float32
    pixel_mean: tuple[float, ...] = IMAGENET_MEAN
    pixel_std: tuple[float, ...] = IMAGENET_STD

    @property
    def stage_widths(self) -> tuple[int, int, int]:
        """Channels of res2, res3, res4."""
        first = self.width * BLOCKS[self.block].expansion
        return first, 2 * first, 4 * first

    @nn.compact
    def __call__(
        self, image: FeatureMap, masks: ObjectMasks | None = None, others: ObjectMasks | None = None
    ) -> tuple[AnyMap, AnyMap, AnyMap]:
        """Run the stem and three stages.

        Args:
          image: [b, h, w, 3], already normalised; h and w multiples of 16.
          masks: [b, n, h, w] in [0, 1]; given exactly when `mask_input`.
          others: the other objects' masks, likewise; given exactly when `others_input`.

        Returns:
          res2, res3, res4 at strides 4, 8, 16: [b, h/s, w/s, d], or [b * n, ...] with masks (object-minor).
        """
        x = backbone_conv(self.width, 7, 2, dtype=self.dtype, name="conv1")(image.astype(self.dtype))
        if self.mask_input:
            assert masks is not None
            assert (others is not None) == self.others_input
            # The image's part is computed once for all objects.
            shown = mask_convolution(masks, others, self.width, 7, self.mask_kernel_std, self.dtype)
            x = jnp.repeat(x, masks.shape[1], axis=0) + shown
        x = nn.relu(Norm(self.norm, self.dtype, name="norm1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        block_type = nn.remat(BLOCKS[self.block]) if self.remat else BLOCKS[self.block]
        outputs = []
        for stage, blocks in enumerate(self.stage_sizes):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                width = self.width * 2**stage
                x = block_type(width, stride, self.norm, self.dtype, name=f"res{stage + 2}_{index}")(x)
            outputs.append(x)
        res2, res3, res4 = outputs
        return res2, res3, res4


def mask_convolution(
    masks: ObjectMasks, others: ObjectMasks | None, features: int, size: int, std: float, dtype: Dtype
) -> AnyMap:
    """The masks' part of an encoder's first convolution, of stride 2: [b, n, h, w] -> [b * n, h/2, w/2, features].

    Its kernels are `MASK_KERNELS`. That of the object's own masks begins as noise of standard deviation `std`. That of the
    others, where they are given, begins at 0: a network that was never shown them goes on from what it can do.
    """
    b, n, h, w = masks.shape
    own, second = MASK_KERNELS
    shown = [masks.reshape(b * n, h, w, 1)]
    kernels = [Kernel((size, size, 1, features), nn.initializers.normal(std), name=own)()]
    if others is not None:
        shown.append(others.reshape(b * n, h, w, 1))
        kernels.append(Kernel((size, size, 1, features), nn.initializers.zeros_init(), name=second)())
    # One convolution of two channels takes less time than two of one.
    return convolve(jnp.concatenate(shown, -1).astype(dtype), jnp.concatenate(kernels, axis=2).astype(dtype), 2)


class Kernel(nn.Module):
    """The kernel of a convolution that is computed elsewhere.

    Attributes:
      shape: [height, width, in, out].
      start: what it starts from.
    """

    shape: tuple[int, ...]
    start: Any

    @nn.compact
    def __call__(self) -> Array:
        """The array."""
        return jnp.asarray(parameter(self, "kernel", self.start, self.shape))


def ResNet50(**fields: Any) -> ResNet:  # noqa: N802 - reads as the class it configures
    """ResNet-50 to res4 (256, 512, 1024 channels), frozen batch norm: the paper's backbone."""
    return ResNet(**{"stage_sizes": (3, 4, 6), "width": 64, "block": "bottleneck", **fields})
