"""Enc-Q and Enc-R (paper Fig. 2): a backbone behind image normalisation."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, FeatureMap, FrameBatch, Inside, ObjectMasks
from munet_jax.models.aggregation import inside_mask, pad_to_stride
from munet_jax.models.resnet import ResNet, per_channel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class QueryFeatures(NamedTuple):
    """What Enc-Q hands out: res2 and res3 for the decoder's skips, res4 = F_s."""

    res2: FeatureMap
    res3: FeatureMap
    res4: FeatureMap


def normalise_image(frames: FrameBatch) -> FrameBatch:
    """RGB in [0, 1] (or uint8) [b, h, w, 3] -> zero mean and unit variance by the ImageNet statistics, f32."""
    if frames.dtype == jnp.uint8:
        frames = frames.astype(jnp.float32) / 255.0
    mean, std = jnp.asarray(IMAGENET_MEAN), jnp.asarray(IMAGENET_STD)
    return (frames - per_channel(mean)) / per_channel(std)


def padded_image(frames: FrameBatch, inside: Inside | None = None) -> AnyMap:
    """Normalise, then pad to multiples of 16; so padding has the mean colour, as has what lies around `inside`."""
    image = normalise_image(frames)
    if inside is not None:
        image = jnp.where(inside_mask(inside, *image.shape[1:3])[None, ..., None], image, 0.0)
    return pad_to_stride(image, height_axis=1)


class QueryEncoder(nn.Module):
    """Enc-Q: one pass per frame, shared by all objects."""

    backbone: ResNet

    def __call__(self, frames: FrameBatch, inside: Inside | None = None) -> QueryFeatures:
        """[b, h, w, 3], padded to multiples of 16 -> maps at strides 4, 8, 16."""
        return QueryFeatures(*self.backbone(padded_image(frames, inside)))


class ReferenceEncoder(nn.Module):
    """Enc-R: RGB and one object's mask -> that object's feature; its own weights, one pass per object."""

    backbone: ResNet

    def __call__(self, frames: FrameBatch, masks: ObjectMasks, inside: Inside | None = None) -> AnyMap:
        """[b, h, w, 3] and [b, n, h, w] (one-hot or soft) -> res4 features [b * n, h/16, w/16, d], object-minor."""
        return self.backbone(padded_image(frames, inside), pad_to_stride(masks, height_axis=2))[-1]
