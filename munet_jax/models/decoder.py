"""Decoder (the space-time memory network's): matched features to two channels per object at the frame's size."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float
from munet_jax.models.convolution import Conv
from munet_jax.models.encoders import QueryFeatures
from munet_jax.models.motion_prior import cell_means


class Skips(NamedTuple):
    """Skip branches of the decoder: functions of the frame only, computed once and shared by all objects."""

    stride4: AnyMap
    stride8: AnyMap


def upsample(x: FeatureMap, factor: int) -> AnyMap:
    """Bilinear enlargement by a whole factor, half-pixel centres, edges repeated.

    Every output row mixes two neighbouring input rows with one of `factor` fixed weights, so it is shifted sums and a
    reshape in place of the dense resize matrices of jax.image.resize (equal to it).
    """
    return _upsample_axis(_upsample_axis(x, factor, axis=1), factor, axis=2)


def _upsample_axis(x: Array, factor: int, *, axis: int) -> Array:
    size = x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding, mode="edge")

    def shifted(offset: int) -> Array:
        index = [slice(None)] * x.ndim
        index[axis] = slice(1 + offset, 1 + offset + size)
        return padded[tuple(index)]

    phases = []
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        neighbour, weight = (1, position) if position >= 0 else (-1, -position)
        phases.append((1 - weight) * x + weight * shifted(neighbour))
    stacked = jnp.stack(phases, axis=axis + 1)
    return stacked.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])


class ResidualBlock(nn.Module):
    """Pre-activation: ReLU, 3x3 conv, ReLU, 3x3 conv, add. No norm."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """[b, h, w, d] -> the same shape."""
        y = Conv(x.shape[-1], 3, dtype=self.dtype, name="conv1")(nn.relu(x))
        y = Conv(x.shape[-1], 3, dtype=self.dtype, name="conv2")(nn.relu(y))
        return x + y


class SkipBranch(nn.Module):
    """Convolution and residual block on one of Enc-Q's early maps.

    Attributes:
      features: channels that come out.
      with_block: whether there is the residual block.
      dtype: compute dtype.
    """

    features: int
    with_block: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, d] -> [b, h, w, features]."""
        x = Conv(self.features, 3, dtype=self.dtype, name="conv")(x)
        return ResidualBlock(self.dtype, name="block")(x) if self.with_block else x


class Decoder(nn.Module):
    """Refine the matcher's output from stride 16 to 4 with Enc-Q's res3 and res2, then enlarge to the frame.

    Attributes:
      features: channels inside the decoder at strides 16, 8 and 4 (256 each in the paper's size).
      motion_prior: whether it is also given the moved masks of the frame before (not in the paper).
      skip_blocks: whether the skip branches have their residual blocks.
      remat: keep the blocks' inputs alone for the backward pass, and compute the rest again.
      dtype: compute dtype; the two output channels are f32.
    """

    features: tuple[int, int, int] = (256, 256, 256)
    motion_prior: bool = False
    skip_blocks: bool = True
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Parameters, named by their place on the way up."""
        block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        branch = nn.remat(SkipBranch) if self.remat else SkipBranch
        at16, at8, at4 = self.features
        self.entry = Conv(at16, 3, dtype=self.dtype)
        self.entry_block = block(self.dtype)
        # Where the way up narrows, a 1x1 convolution before the enlargement.
        self.narrow8 = Conv(at8, 1, dtype=self.dtype) if at8 != at16 else None
        self.narrow4 = Conv(at4, 1, dtype=self.dtype) if at4 != at8 else None
        self.skip8 = branch(at8, self.skip_blocks, self.dtype)
        self.skip4 = branch(at4, self.skip_blocks, self.dtype)
        self.refine8 = block(self.dtype)
        self.refine4 = block(self.dtype)
        self.prediction = Conv(2, 3, dtype=self.dtype)
        if self.motion_prior:
            self.prior4 = Conv(at4, 3, dtype=self.dtype)

    def skips(self, frame: QueryFeatures) -> Skips:
        """What the frame alone gives; call it once per frame."""
        return Skips(self.skip4(frame.res2), self.skip8(frame.res3))

    def __call__(
        self, matched: Float[Array, "b n h w e"], skips: Skips, prior: Float[Array, "b n hp wp"] | None = None
    ) -> Float[Array, "b n fh fw 2"]:
        """From stride 16 to the frame.

        Args:
          matched: the matcher's output.
          skips: the frame's, [b, ...].
          prior: the moved masks at stride 4, where `motion_prior` is on.

        Returns:
          background and object channel of each object, f32, at the (padded) frame's size.
        """
        b, n = matched.shape[:2]
        hint = None
        if self.motion_prior:
            assert prior is not None
            matched = jnp.concatenate([matched, cell_means(prior)[..., None].astype(matched.dtype)], axis=-1)
            hint = self.prior4(prior.reshape(b * n, *prior.shape[2:], 1).astype(self.dtype))
        x = self.entry_block(self.entry(matched.reshape(b * n, *matched.shape[2:])))
        x = x if self.narrow8 is None else self.narrow8(x)
        x = self.refine8(upsample(x, 2) + per_object(skips.stride8, n))
        x = x if self.narrow4 is None else self.narrow4(x)
        x = upsample(x, 2) + per_object(skips.stride4, n)
        x = self.refine4(x if hint is None else x + hint)
        x = self.prediction(nn.relu(x)).astype(jnp.float32)
        x = upsample(x, 4)
        return x.reshape(b, n, *x.shape[1:])


def per_object(x: FeatureMap, n: int) -> AnyMap:
    """Repeat each frame's map for its n object slots: [b, ...] -> [b * n, ...], object-minor."""
    return jnp.repeat(x, n, axis=0)
