"""EfficientNet-Lite0 cut at stride 16: a light backbone whose ImageNet weights can be had (Tan and Le, 2019; the 'lite' form has
ReLU6 and no squeeze-and-excitation).

Paddings are TensorFlow's 'SAME' (for even sizes and stride 2 nothing before, one after), as its weights were trained with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float
from munet_jax.models.convolution import parameter
from munet_jax.models.resnet import FrozenBatchNorm, backbone_conv, kernel_init

EPSILON = 1e-3  # of its batch norms
# What its weights were trained with: (x - 127) / 128 of pixels up to 255.
PIXEL_MEAN, PIXEL_STD = (127 / 255,) * 3, (128 / 255,) * 3


class BlockSpec(NamedTuple):
    """A mobile inverted bottleneck: expansion of the channels, depthwise kernel, stride, channels that come out."""

    expansion: int
    kernel: int
    stride: int
    features: int


# Up to stride 16; what comes after (stride 32, head) is not used.
BLOCKS = (
    BlockSpec(1, 3, 1, 16),
    BlockSpec(6, 3, 2, 24),
    BlockSpec(6, 3, 1, 24),
    BlockSpec(6, 5, 2, 40),
    BlockSpec(6, 5, 1, 40),
    BlockSpec(6, 3, 2, 80),
    BlockSpec(6, 3, 1, 80),
    BlockSpec(6, 3, 1, 80),
    BlockSpec(6, 5, 1, 112),
    BlockSpec(6, 5, 1, 112),
    BlockSpec(6, 5, 1, 112),
)
STEM = 32
# The last block of strides 4, 8 and 16.
OUTPUTS = (2, 4, 10)
WIDTHS = tuple(BLOCKS[index].features for index in OUTPUTS)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, so that ceil(size / stride) comes out, one more after where they are odd in number."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def depthwise(x: FeatureMap, kernel: Float[Array, "kh kw d"], stride: int) -> AnyMap:
    """A depthwise convolution with 'SAME' padding, as a sum of shifted products.

    XLA's own runs at 1 GFLOP/s on CPUs; this form is 20 to 40 times faster there.
    """
    height, width = x.shape[1:3]
    side = kernel.shape[0]
    top, left = (same_padding(size, side, stride) for size in (height, width))
    padded = jnp.pad(x, ((0, 0), top, left, (0, 0)))
    rows, columns = -(-height // stride), -(-width // stride)
    total = None
    for dy in range(side):
        for dx in range(side):
            part = padded[:, dy : dy + (rows - 1) * stride + 1 : stride, dx : dx + (columns - 1) * stride + 1 : stride]
            product = part * kernel[dy, dx][None, None, None]
            total = product if total is None else total + product
    assert total is not None
    return total


def relu6(x: AnyMap) -> AnyMap:
    """min(max(x, 0), 6)."""
    return jnp.clip(x, 0, 6)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; added to what came in where the shape stays."""

    spec: BlockSpec
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, d] -> [b, h / stride, w / stride, features]."""
        spec, y = self.spec, x
        if spec.expansion > 1:
            y = backbone_conv(x.shape[-1] * spec.expansion, 1, dtype=self.dtype, name="expand")(y)
            y = relu6(FrozenBatchNorm(EPSILON, self.dtype, name="expand_norm")(y))
        shape = (spec.kernel, spec.kernel, y.shape[-1])
        kernel = parameter(
            self, "depthwise", nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal"), shape
        )
        y = depthwise(y, kernel.astype(self.dtype), spec.stride)
        y = relu6(FrozenBatchNorm(EPSILON, self.dtype, name="depthwise_norm")(y))
        y = backbone_conv(spec.features, 1, dtype=self.dtype, name="project")(y)
        y = FrozenBatchNorm(EPSILON, self.dtype, name="project_norm")(y)
        return x + y if spec.stride == 1 and x.shape[-1] == spec.features else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to stride 16: 24, 40 and 112 channels at strides 4, 8 and 16.

    Attributes:
      frozen_blocks: the stem and this many blocks get no gradient: training then keeps nothing of the large early maps.
      remat: keep the blocks' inputs alone for the backward pass, and compute the rest again.
      dtype: compute dtype; parameters stay f32.
      pixel_mean: of RGB in [0, 1], subtracted from images that it is given.
      pixel_std: what they are divided by then.
    """

    frozen_blocks: int = 0
    remat: bool = False
    dtype: Any = jnp.float32
    pixel_mean: tuple[float, ...] = PIXEL_MEAN
    pixel_std: tuple[float, ...] = PIXEL_STD
    stage_widths = WIDTHS

    @nn.compact
    def __call__(self, image: FeatureMap) -> tuple[AnyMap, AnyMap, AnyMap]:
        """[b, h, w, 3], normalised, h and w multiples of 16 -> res2, res3, res4 at strides 4, 8, 16: [b, h/s, w/s, d]."""
        height, width = image.shape[1:3]
        padding = (same_padding(height, 3, 2), same_padding(width, 3, 2))
        stem = nn.Conv(
            STEM, (3, 3), (2, 2), padding, use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name="stem"
        )
        x = relu6(FrozenBatchNorm(EPSILON, self.dtype, name="stem_norm")(stem(image.astype(self.dtype))))
        block_type = nn.remat(InvertedBottleneck) if self.remat else InvertedBottleneck
        outputs = []
        for index, spec in enumerate(BLOCKS):
            x = block_type(spec, self.dtype, name=f"block{index}")(x)
            if index < self.frozen_blocks:  # each, as the decoder's skips are of inner ones
                x = jax.lax.stop_gradient(x)
            if index in OUTPUTS:
                outputs.append(x)
        res2, res3, res4 = outputs
        return res2, res3, res4
