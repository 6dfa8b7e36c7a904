"""Bilinear resizing, against jax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.inference.resize import linear_taps, resize


@pytest.mark.parametrize("size", [(5, 7), (4, 30), (11, 3), (9, 13), (1, 1), (40, 26)])
def test_is_what_jax_makes_by_dense_matrices(size: tuple[int, int]) -> None:
    """Larger, smaller, one axis of each, as they are, and one pixel."""
    x = jnp.asarray(np.random.default_rng(0).random((2, 9, 13, 3), np.float32))
    expected = jax.image.resize(x, (2, *size, 3), "linear")
    np.testing.assert_allclose(resize(x, size, height_axis=1), expected, atol=2e-6)


def test_a_long_way_down_every_pixel_counts() -> None:
    """A frame of 1080 rows at 240: nothing between the taps is left out."""
    taps = linear_taps(1080, 240)
    share = np.zeros(1080)
    np.add.at(share, taps.indices, taps.weights)
    assert share.min() > 0.1
    np.testing.assert_allclose(taps.weights.sum(axis=0), 1, rtol=1e-6)


def test_half_precision_stays() -> None:
    """A map of a network that computes in bfloat16."""
    assert resize(jnp.ones((1, 4, 4, 2), jnp.bfloat16), (6, 3), height_axis=1).dtype == jnp.bfloat16


def test_keeps_the_other_axes_and_what_has_the_size_already() -> None:
    """Masks [1, n, h, w], and a size that changes nothing."""
    x = jnp.ones((1, 3, 6, 8))
    assert resize(x, (12, 4), height_axis=2).shape == (1, 3, 12, 4)
    assert resize(x, (6, 8), height_axis=2) is x
