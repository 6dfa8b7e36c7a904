"""MU-Layer (paper Sec. 3.2): cost volume between neighbouring frames, displacement, uncertainty, motion feature.

Two facts to know before reading its output (both in docs/architecture.md): the cost volume holds similarities, and the
paper's softargmin over them is almost flat; what the paper calls uncertainty is high where the match is *sure*.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, Bool, CostVolume, Displacement, FeatureMap, Float, Uncertainty
from munet_jax.models.convolution import Conv
from munet_jax.models.options import TABLE_1

# Inside the norm: the gradient of x / |x| at 0 would be NaN.
NORM_EPSILON = 1e-8

# Numbers of `all_pairs`' largest intermediate (0.27 GB of f32) up to which it is used instead of `window_rows`.
ALL_PAIRS_LIMIT = 2**26
# GPUs and TPUs would round the factors of a product to 10 or 7 bits: the flat softargmin says less than that loses.
HIGHEST = jax.lax.Precision.HIGHEST


class Motion(NamedTuple):
    """What the MU-Layer says about a frame and the frame before it."""

    feature: FeatureMap  # F_m [b, h', w', d]
    displacement: Displacement  # (dx, dy) in stride-16 pixels, t -> t-1
    uncertainty: Uncertainty  # largest cosine in the window, in [-1, 1]; high = sure match
    weights: CostVolume  # the softmax over the window that gave the displacement


def unit_vectors(features: FeatureMap) -> FeatureMap:
    """Scale every position's vector to length 1, in f32; an all-zero vector stays zero."""
    features = features.astype(jnp.float32)
    return features * jax.lax.rsqrt(jnp.sum(features**2, axis=-1, keepdims=True) + NORM_EPSILON)


def cost_volume(query: FeatureMap, reference: FeatureMap, *, radius: int = 12) -> CostVolume:
    """Eq. 1: cosine of each query position with every position of its search window in the reference.

    Args:
      query: features of frame t [b, h, w, d].
      reference: features of frame t-1 [b, h, w, d].
      radius: search radius r in positions.

    Returns:
      [b, h, w, (2r+1)**2] f32 in [-1, 1]; entry (dy + r) * (2r+1) + (dx + r) belongs to reference position (y + dy, x + dx).
      Positions outside the frame give 0.
    """
    b, h, w, _ = query.shape
    fits = b * h * h * w * (w + 2 * radius) <= ALL_PAIRS_LIMIT
    cost = (all_pairs if fits else window_rows)(unit_vectors(query), unit_vectors(reference), radius)
    # Transposed once, and not in each of its uses.
    return jax.lax.optimization_barrier(cost).reshape(b, h, w, (2 * radius + 1) ** 2)


def all_pairs(query: FeatureMap, reference: FeatureMap, radius: int) -> Float[Array, "b h w s s"]:
    """The products of all pairs of positions at once, of which the windows are read: [b, h, w, dy, dx]."""
    b, h, w, _ = query.shape
    side = 2 * radius + 1
    products = jnp.einsum("byxd,bYXd->byYxX", query, reference, precision=HIGHEST)
    columns = banded_diagonals(products.reshape(b, h * h, w, w, 1), radius)  # [b, h * h, w, dx, 1]
    windows = banded_diagonals(columns.reshape(b, 1, h, h, w * side), radius)  # [b, 1, h, dy, w * dx]
    return jnp.swapaxes(windows.reshape(b, h, side, w, side), 2, 3)


def window_rows(query: FeatureMap, reference: FeatureMap, radius: int) -> Float[Array, "b h w s s"]:
    """As `all_pairs`, one row of the window at a time: the largest intermediate is [b, h, w, w + 2 * radius]."""
    height = query.shape[1]
    reference = jnp.pad(reference, ((0, 0), (radius, radius), (0, 0), (0, 0)))

    def window_row(_: None, dy: Array) -> tuple[None, Array]:
        rows = jax.lax.dynamic_slice_in_dim(reference, dy, height, axis=1)
        products = jnp.einsum("byxd,byzd->byxz", query, rows, precision=HIGHEST)
        return None, banded_diagonals(products[..., None], radius)[..., 0]

    # Checkpointed: the backward pass slices the rows again, else 25 copies of the reference would be kept.
    return jnp.moveaxis(jax.lax.scan(jax.checkpoint(window_row), None, jnp.arange(2 * radius + 1))[1], 0, 3)


def banded_diagonals(products: Float[Array, "b h w z e"], radius: int) -> Float[Array, "b h w s e"]:
    """out[..., x, j, :] = products[..., x, x + j - r, :] for j in 0..2r, 0 outside (z = w): reshapes in place of a gather."""
    b, h, w, _, e = products.shape
    band = jnp.pad(products, ((0, 0), (0, 0), (0, 0), (radius, radius), (0, 0)))
    z = w + 2 * radius
    # Row x of length z starts at x * z; read with rows of z + 1, the same memory starts one further right at each row.
    flat = jnp.pad(band.reshape(b, h, w * z, e), ((0, 0), (0, 0), (0, w), (0, 0)))
    return flat.reshape(b, h, w, z + 1, e)[..., : 2 * radius + 1, :]


def window_offsets(radius: int) -> Float[Array, "u 2"]:
    """(dx, dy) of every window entry, in the order of `cost_volume`."""
    steps = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    dy, dx = jnp.meshgrid(steps, steps, indexing="ij")
    return jnp.stack([dx.ravel(), dy.ravel()], axis=-1)


def window_inside(height: int, width: int, radius: int) -> Bool[Array, "1 h w u"]:
    """True where the window entry of a position lies inside the frame."""
    steps = jnp.arange(-radius, radius + 1)

    def entries(size: int) -> Bool[Array, "a s"]:
        at = jnp.arange(size)[:, None] + steps[None, :]
        return (at >= 0) & (at < size)

    within = entries(height)[:, None, :, None] & entries(width)[None, :, None, :]
    # Made once, before it is flattened: else each use of it finds rows and columns of the window by divisions again.
    return jax.lax.optimization_barrier(within).reshape(1, height, width, steps.size**2)


def displacement(
    cost: CostVolume,
    *,
    radius: int,
    matching: str = "softargmin",
    temperature: float | Float[Array, ""] = 1.0,
    valid: Bool[Array, "#b h w u"] | None = None,
) -> Displacement:
    """Sec. 3.2: mean window offset under a softmax of the cost volume.

    Args:
      cost: [b, h, w, (2r+1)**2].
      radius: search radius r.
      matching: 'softargmin' is the paper's softmax(-C / temperature), which for similarities points away from the match;
        'softargmax' is softmax(+C / temperature), which points at it.
      temperature: the smaller, the closer to the single best match.
      valid: entries to take part; None takes all.

    Returns:
      [b, h, w, 2] f32, (dx, dy) in stride-16 pixels: where the position was in frame t-1, relative to itself.
    """
    weights = window_weights(cost, matching=matching, temperature=temperature, valid=valid)
    return jnp.matmul(weights, window_offsets(radius), precision=HIGHEST)


def window_weights(
    cost: CostVolume, *, matching: str, temperature: float | Float[Array, ""], valid: Bool[Array, "#b h w u"] | None
) -> CostVolume:
    """The softmax over the window that `displacement` averages with; arguments as there."""
    return jax.nn.softmax(window_scores(cost, matching=matching, temperature=temperature, valid=valid), axis=-1)


def window_scores(
    cost: CostVolume, *, matching: str, temperature: float | Float[Array, ""], valid: Bool[Array, "#b h w u"] | None
) -> CostVolume:
    """What `window_weights` takes the softmax of."""
    scores = (-1.0 if matching == "softargmin" else 1.0) * cost / temperature
    return scores if valid is None else jnp.where(valid, scores, -jnp.inf)


def uncertainty(cost: CostVolume, *, valid: Bool[Array, "#b h w u"] | None = None) -> Uncertainty:
    """Eq. 2: the largest cosine of the window, [b, h, w, 1] in [-1, 1]. High means a sure match."""
    if valid is not None:
        cost = jnp.where(valid, cost, -jnp.inf)
    return jnp.max(cost, axis=-1, keepdims=True)


class MotionNetwork(nn.Module):
    """Table 1: displacement and uncertainty (3 channels) -> motion feature of the semantic feature's width."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, motion: FeatureMap) -> AnyMap:
        """[b, h', w', 3] -> [b, h', w', features]; ReLU between layers, none after the last."""
        x = motion.astype(self.dtype)
        for number, (_, channels, kernel) in enumerate(TABLE_1[:-1], start=1):
            x = nn.relu(Conv(channels, kernel, dtype=self.dtype, name=f"conv{number}")(x))
        return Conv(self.features, TABLE_1[-1][2], dtype=self.dtype, name=f"conv{len(TABLE_1)}")(x)


class MULayer(nn.Module):
    """Motion uncertainty-aware layer.

    Attributes:
      features: channels D of the semantic feature.
      channels: to which it is reduced before matching; 0 is D / 4, the paper's.
      radius: search radius in stride-16 positions.
      matching: 'softargmin' (paper) or 'softargmax'.
      temperature: of the softmax; the starting value where it is learned.
      learn_temperature: train the temperature (its logarithm) with the network.
      outside: 'zero' counts window entries outside the frame as similarity 0, 'mask' leaves them out.
      displacement: feed the displacement to the motion network; zeros where off.
      uncertainty: feed the uncertainty to the motion network; zeros where off.
      dtype: compute dtype of the convolutions; the cost volume is always f32.
    """

    features: int
    channels: int = 0
    radius: int = 12
    matching: str = "softargmin"
    temperature: float = 1.0
    learn_temperature: bool = False
    outside: str = "zero"
    displacement: bool = True
    uncertainty: bool = True
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Parameters of the 1x1 reduction, the motion network and, where asked for, the temperature."""
        self.reduction = Conv(self.channels or self.features // 4, 1, dtype=self.dtype)
        self.motion_network = MotionNetwork(self.features, self.dtype)
        if self.learn_temperature:
            start = nn.initializers.constant(math.log(self.temperature))
            self.log_temperature = self.param("log_temperature", start, ())

    def reduce(self, semantic: FeatureMap) -> AnyMap:
        """F_s [b, h', w', D] -> the feature that is matched [b, h', w', D / 4 or `channels`]; same weights for both frames."""
        return self.reduction(semantic)

    def cost(self, reduced: FeatureMap, previous: FeatureMap) -> tuple[CostVolume, Bool[Array, "1 h w u"] | None]:
        """Cost volume of two reduced features, and which of its entries count (None: all)."""
        _, h, w, _ = reduced.shape
        valid = window_inside(h, w, self.radius) if self.outside == "mask" else None
        return cost_volume(reduced, previous, radius=self.radius), valid

    def log_weights(self, reduced: FeatureMap, previous: FeatureMap) -> CostVolume:
        """The logarithm of the softmax over the window, of two reduced features; arguments as in `__call__`."""
        cost, valid = self.cost(reduced, previous)
        return jax.nn.log_softmax(window_scores(cost, **self._softmax(valid)), axis=-1)

    def _softmax(self, valid: Bool[Array, "1 h w u"] | None) -> dict[str, Any]:
        temperature = jnp.exp(self.log_temperature) if self.learn_temperature else self.temperature
        return {"matching": self.matching, "temperature": temperature, "valid": valid}

    def __call__(self, reduced: FeatureMap, previous: FeatureMap) -> Motion:
        """Reduced features of frames t and t-1 [b, h', w', D / 4] -> motion feature, displacement, uncertainty."""
        cost, valid = self.cost(reduced, previous)  # Eq. 1
        softmax = self._softmax(valid)
        moved = displacement(cost, radius=self.radius, **softmax)  # Sec. 3.2
        certainty = uncertainty(cost, valid=valid)  # Eq. 2
        motion_input = [
            moved if self.displacement else jnp.zeros_like(moved),
            certainty if self.uncertainty else jnp.zeros_like(certainty),
        ]
        feature = self.motion_network(jnp.concatenate(motion_input, axis=-1))  # Table 1
        # The same softmax as in `displacement`: compiled, it is computed once.
        return Motion(feature, moved, certainty, window_weights(cost, **softmax))
