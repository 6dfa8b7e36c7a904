"""Enc-Q and Enc-R (paper Fig. 2): a backbone behind image normalisation; and a lighter Enc-R."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, FeatureMap, FrameBatch, ObjectMasks
from munet_jax.models.convolution import Conv
from munet_jax.models.efficientnet import EfficientNetLite0
from munet_jax.models.padding import pad_to_stride
from munet_jax.models.resnet import IMAGENET_MEAN, IMAGENET_STD, Norm, ResNet, per_channel

Pixel: TypeAlias = tuple[float, ...]


class QueryFeatures(NamedTuple):
    """What Enc-Q hands out: res2 and res3 for the decoder's skips, res4 = F_s."""

    res2: FeatureMap
    res3: FeatureMap
    res4: FeatureMap


def normalise_image(frames: FrameBatch, mean: Pixel = IMAGENET_MEAN, std: Pixel = IMAGENET_STD) -> FrameBatch:
    """RGB in [0, 1] (or uint8) [b, h, w, 3] -> zero mean and unit variance by a backbone's statistics, f32."""
    if frames.dtype == jnp.uint8:
        frames = frames.astype(jnp.float32) / 255.0
    return (frames - per_channel(jnp.asarray(mean))) / per_channel(jnp.asarray(std))


def padded_image(frames: FrameBatch, mean: Pixel = IMAGENET_MEAN, std: Pixel = IMAGENET_STD) -> AnyMap:
    """Normalise, then pad to multiples of 16; so padding has the mean colour."""
    return pad_to_stride(normalise_image(frames, mean, std), height_axis=1)


class QueryEncoder(nn.Module):
    """Enc-Q: one pass per frame, shared by all objects."""

    backbone: ResNet | EfficientNetLite0

    def __call__(self, frames: FrameBatch) -> QueryFeatures:
        """[b, h, w, 3], padded to multiples of 16 -> maps at strides 4, 8, 16."""
        backbone = self.backbone
        return QueryFeatures(*backbone(padded_image(frames, backbone.pixel_mean, backbone.pixel_std)))


class ReferenceEncoder(nn.Module):
    """Enc-R: RGB and one object's mask -> that object's feature; its own weights, one pass per object."""

    backbone: ResNet
    takes_semantic = False

    def __call__(self, frames: FrameBatch, masks: ObjectMasks, semantic: AnyMap | None = None) -> AnyMap:
        """[b, h, w, 3] and [b, n, h, w] (one-hot or soft) -> res4 features [b * n, h/16, w/16, d], object-minor."""
        del semantic
        backbone = self.backbone
        image = padded_image(frames, backbone.pixel_mean, backbone.pixel_std)
        return backbone(image, pad_to_stride(masks, height_axis=2))[-1]


class LightReferenceEncoder(nn.Module):
    """A light Enc-R (not in the paper): a few convolutions on image and mask say where the object is, Enc-Q's own feature of the
    frame says what is there.

    Attributes:
      widths: channels at strides 2, 4, 8 and 16.
      features: channels that come out.
      mask_kernel_std: standard deviation of the mask's part of the first kernel at initialisation.
      dtype: compute dtype.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64)
    features: int = 128
    mask_kernel_std: float = 0.5
    dtype: Any = jnp.float32
    takes_semantic = True

    @nn.compact
    def __call__(self, frames: FrameBatch, masks: ObjectMasks, semantic: AnyMap | None = None) -> AnyMap:
        """[b, h, w, 3], [b, n, h, w] and F_s of the frame [b, h/16, w/16, d] -> [b * n, h/16, w/16, features]."""
        assert semantic is not None
        image, masks = padded_image(frames), pad_to_stride(masks, height_axis=2)
        b, n, h, w = masks.shape
        first, *others = self.widths
        # The image's part of the first convolution is computed once for all objects.
        x = Conv(first, 3, 2, dtype=self.dtype, name="conv1")(image.astype(self.dtype))
        noise = nn.initializers.normal(self.mask_kernel_std)
        shown = Conv(first, 3, 2, use_bias=False, dtype=self.dtype, kernel_init=noise, name="conv1_mask")
        x = jnp.repeat(x, n, axis=0) + shown(masks.reshape(b * n, h, w, 1).astype(self.dtype))
        x = nn.relu(Norm("group", self.dtype, name="norm1")(x))
        for number, width in enumerate(others, start=2):
            x = Conv(width, 3, 2, use_bias=False, dtype=self.dtype, name=f"conv{number}")(x)
            x = nn.relu(Norm("group", self.dtype, name=f"norm{number}")(x))
        what = Conv(self.features, 1, dtype=self.dtype, name="semantic")(semantic)
        x = Conv(self.features, 1, dtype=self.dtype, name="place")(x) + jnp.repeat(what, n, axis=0)
        y = Conv(self.features, 3, dtype=self.dtype, name="mix1")(nn.relu(x))
        return x + Conv(self.features, 3, dtype=self.dtype, name="mix2")(nn.relu(y))
