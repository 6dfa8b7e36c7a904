"""Options beyond the paper, and the convolution with a gradient of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.convolution import convolve, same_convolution, weight_gradient_by_products
from munet_jax.models.motion_prior import banded, cell_means, motion_prior, move_by_matching
from munet_jax.models.mu_layer import banded_diagonals
from munet_jax.models.padding import pad_to_stride


def test_moving_by_matching_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    weights = rng.random((2, 4, 5, 25)).astype(np.float32)
    features = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
    expected = np.zeros_like(features)
    for i, y, x, u in np.ndindex(2, 4, 5, 25):
        dy, dx = u // 5 - 2, u % 5 - 2
        if 0 <= y + dy < 4 and 0 <= x + dx < 5:
            expected[i, y, x] += weights[i, y, x, u] * features[i, y + dy, x + dx]
    np.testing.assert_allclose(move_by_matching(jnp.asarray(weights), jnp.asarray(features)), expected, atol=1e-5)


def test_bands_and_diagonals_are_inverse() -> None:
    diagonals = jnp.asarray(np.random.default_rng(0).random((1, 2, 5, 7)), jnp.float32)
    columns = np.arange(5)[:, None] + np.arange(7) - 3
    expected = np.where((columns >= 0) & (columns < 5), diagonals, 0.0)  # what falls outside the five columns is lost
    found = banded_diagonals(banded(diagonals)[..., 3:-3, None], 3)[..., 0]
    np.testing.assert_array_equal(found, expected)


def test_a_mask_follows_a_whole_cell_match() -> None:
    """Everything came from one cell to the left: the prior is the mask, 16 pixels further right, at stride 4."""
    masks = np.zeros((1, 2, 48, 64), np.float32)
    masks[0, 0, 8:30, 4:20] = 1.0
    masks[0, 1, 20:40, 30:44] = 1.0
    weights = np.zeros((1, 3, 4, 9), np.float32)
    weights[..., 3] = 1.0  # dy = 0, dx = -1
    moved = np.zeros_like(masks)
    moved[..., 16:] = masks[..., :-16]
    expected = moved.reshape(1, 2, 12, 4, 16, 4).mean(axis=(3, 5))
    prior = motion_prior(jnp.asarray(weights), jnp.asarray(masks))
    np.testing.assert_allclose(prior, expected, atol=1e-6)
    np.testing.assert_allclose(cell_means(prior), moved.reshape(1, 2, 3, 16, 4, 16).mean(axis=(3, 5)), atol=1e-6)


def test_a_frame_that_needs_padding_has_a_prior_of_the_padded_size() -> None:
    masks = jnp.asarray(np.random.default_rng(0).random((1, 1, 40, 50)), jnp.float32)
    still = np.zeros((1, 3, 4, 9), np.float32)
    still[..., 4] = 1.0
    expected = np.asarray(pad_to_stride(masks, height_axis=2)).reshape(1, 1, 12, 4, 16, 4).mean(axis=(3, 5))
    np.testing.assert_allclose(motion_prior(jnp.asarray(still), masks), expected, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_the_own_gradient_equals_the_librarys(kernel: int) -> None:
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 6, 5, 3), (kernel, kernel, 3, 4)))
    weights = jnp.asarray(rng.standard_normal((2, 6, 5, 4)), jnp.float32)
    padding = [(kernel // 2, kernel // 2)] * 2

    def library(x: jax.Array, w: jax.Array) -> jax.Array:
        out = jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(out * weights)

    def own(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(same_convolution(x, w) * weights)

    for ours, theirs in zip(jax.grad(own, (0, 1))(x, w), jax.grad(library, (0, 1))(x, w), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    by_products = weight_gradient_by_products(x, weights, (kernel, kernel))
    np.testing.assert_allclose(by_products, jax.grad(library, 1)(x, w), rtol=1e-4, atol=1e-4)


def test_only_convolutions_of_stride_1_with_enough_channels_take_it() -> None:
    def uses_it(channels: int, stride: int) -> bool:
        x, w = jnp.zeros((1, 4, 4, channels)), jnp.zeros((3, 3, channels, channels))
        jaxpr = jax.make_jaxpr(lambda x, w: convolve(x, w, stride))(x, w)
        return "custom_vjp" in str(jaxpr)

    assert [uses_it(64, 1), uses_it(16, 1), uses_it(8, 1), uses_it(64, 2)] == [True, True, False, False]
