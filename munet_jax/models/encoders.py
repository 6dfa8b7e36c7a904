"""Enc-Q and Enc-R (paper Fig. 2): a backbone behind image normalisation; and a lighter Enc-R."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, FeatureMap, FrameBatch, ObjectMasks, ObjectValid
from munet_jax.models.convolution import Conv
from munet_jax.models.efficientnet import EfficientNetLite0
from munet_jax.models.padding import pad_to_stride
from munet_jax.models.resnet import IMAGENET_MEAN, IMAGENET_STD, Norm, ResNet, mask_convolution, per_channel

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


def padded_image(
    frames: FrameBatch, mean: Pixel = IMAGENET_MEAN, std: Pixel = IMAGENET_STD, padding: str = "mean"
) -> AnyMap:
    """Normalised and padded to multiples of 16: with the mean colour, which is 0 then, or with 'black'."""
    if padding == "black":
        return normalise_image(pad_to_stride(frames, height_axis=1), mean, std)
    return pad_to_stride(normalise_image(frames, mean, std), height_axis=1)


def other_objects(masks: ObjectMasks, objects: ObjectValid | None = None) -> ObjectMasks:
    """For each object, where the others are: the sum of their masks, at most 1.

    `objects` says which slots hold one; None: all.
    """
    shown = masks if objects is None else jnp.where(objects[:, :, None, None], masks, 0.0)
    return jnp.clip(jnp.sum(shown, axis=1, keepdims=True) - shown, 0.0, 1.0)


class QueryEncoder(nn.Module):
    """Enc-Q: one pass per frame, shared by all objects.

    Attributes:
      backbone: the network.
      padding: what frames are padded with, 'mean' or 'black'.
    """

    backbone: ResNet | EfficientNetLite0
    padding: str = "mean"

    def __call__(self, frames: FrameBatch) -> QueryFeatures:
        """[b, h, w, 3], padded to multiples of 16 -> maps at strides 4, 8, 16."""
        backbone = self.backbone
        image = padded_image(frames, backbone.pixel_mean, backbone.pixel_std, self.padding)
        return QueryFeatures(*backbone(image))


class ReferenceEncoder(nn.Module):
    """Enc-R: RGB and one object's mask -> that object's feature; its own weights, one pass per object.

    Attributes:
      backbone: the network.
      padding: what frames are padded with, 'mean' or 'black'.
    """

    backbone: ResNet
    padding: str = "mean"
    takes_semantic = False

    @property
    def others(self) -> bool:
        """Whether it takes the other objects' masks (`other_objects`)."""
        return self.backbone.others_input

    def __call__(
        self, frames: FrameBatch, masks: ObjectMasks, semantic: AnyMap | None = None, others: ObjectMasks | None = None
    ) -> AnyMap:
        """[b, h, w, 3] and [b, n, h, w] (one-hot or soft) -> res4 features [b * n, h/16, w/16, d], object-minor."""
        del semantic
        backbone = self.backbone
        image = padded_image(frames, backbone.pixel_mean, backbone.pixel_std, self.padding)
        others = None if others is None else pad_to_stride(others, height_axis=2)
        return backbone(image, pad_to_stride(masks, height_axis=2), others)[-1]


class LightReferenceEncoder(nn.Module):
    """A light Enc-R (not in the paper): a few convolutions on image and mask say where the object is, Enc-Q's own feature of the
    frame says what is there.

    Attributes:
      widths: channels at strides 2, 4, 8 and 16.
      features: channels that come out.
      mask_kernel_std: standard deviation of the mask's part of the first kernel at initialisation.
      others: whether it takes the other objects' masks (`other_objects`).
      padding: what frames are padded with, 'mean' or 'black'.
      dtype: compute dtype.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64)
    features: int = 128
    mask_kernel_std: float = 0.5
    others: bool = False
    padding: str = "mean"
    dtype: Any = jnp.float32
    takes_semantic = True

    @nn.compact
    def __call__(
        self, frames: FrameBatch, masks: ObjectMasks, semantic: AnyMap | None = None, others: ObjectMasks | None = None
    ) -> AnyMap:
        """[b, h, w, 3], [b, n, h, w] and F_s of the frame [b, h/16, w/16, d] -> [b * n, h/16, w/16, features]."""
        assert semantic is not None
        image, masks = padded_image(frames, padding=self.padding), pad_to_stride(masks, height_axis=2)
        others = None if others is None else pad_to_stride(others, height_axis=2)
        n = masks.shape[1]
        first, *later = self.widths
        # The image's part of the first convolution is computed once for all objects.
        x = Conv(first, 3, 2, dtype=self.dtype, name="conv1")(image.astype(self.dtype))
        shown = mask_convolution(masks, others, first, 3, self.mask_kernel_std, self.dtype)
        x = nn.relu(Norm("group", self.dtype, name="norm1")(jnp.repeat(x, n, axis=0) + shown))
        for number, width in enumerate(later, start=2):
            x = Conv(width, 3, 2, use_bias=False, dtype=self.dtype, name=f"conv{number}")(x)
            x = nn.relu(Norm("group", self.dtype, name=f"norm{number}")(x))
        what = Conv(self.features, 1, dtype=self.dtype, name="semantic")(semantic)
        x = Conv(self.features, 1, dtype=self.dtype, name="place")(x) + jnp.repeat(what, n, axis=0)
        y = Conv(self.features, 3, dtype=self.dtype, name="mix1")(nn.relu(x))
        return x + Conv(self.features, 3, dtype=self.dtype, name="mix2")(nn.relu(y))
