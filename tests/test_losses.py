"""The losses of Eq. 4 against numpy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.losses import bootstrapped_cross_entropy, cross_entropy, hardest_weights, mask_iou_loss

SHAPE = (3, 7, 9)


def random_case(seed: int = 0, n: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((*SHAPE, n + 1)).astype(np.float32) * 3
    return logits, rng.integers(0, n + 1, SHAPE), rng.random(SHAPE) < 0.7


def cross_entropy_by_loop(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    out = np.zeros(labels.shape)
    for place in np.ndindex(labels.shape):
        z = logits[place].astype(np.float64)
        out[place] = np.log(np.exp(z).sum()) - z[labels[place]]
    return out


@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy_equals_the_loop(masked: bool) -> None:
    logits, labels, valid = random_case()
    chosen = valid if masked else np.ones(SHAPE, bool)
    got = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), valid=jnp.asarray(valid) if masked else None)
    assert float(got) == pytest.approx(cross_entropy_by_loop(logits, labels)[chosen].mean(), abs=1e-5)


@pytest.mark.parametrize("fraction", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_bootstrapped_cross_entropy_equals_the_loop(fraction: float, masked: bool) -> None:
    logits, labels, valid = random_case()
    losses = cross_entropy_by_loop(logits, labels)
    chosen: list[float] = []
    for frame in range(SHAPE[0]):
        usable = np.sort(losses[frame][valid[frame]] if masked else losses[frame].ravel())[::-1]
        chosen += list(usable[: round(fraction * usable.size)])
    arguments = {"fraction": fraction, "valid": jnp.asarray(valid) if masked else None}
    got = bootstrapped_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), **arguments)
    assert float(got) == pytest.approx(np.mean(chosen), abs=1e-5)
    total, count = bootstrapped_cross_entropy(
        jnp.asarray(logits), jnp.asarray(labels), **arguments, reduction="sum_and_count"
    )
    assert int(count) == len(chosen)
    assert float(total) == pytest.approx(np.sum(chosen), abs=1e-3)


def test_hardest_pixels_share_a_tie() -> None:
    losses = jnp.asarray([[5.0, 2.0, 2.0, 2.0, 1.0, -1.0]])
    np.testing.assert_allclose(
        hardest_weights(losses, jnp.asarray([3])), [[1.0, 2 / 3, 2 / 3, 2 / 3, 0.0, 0.0]], rtol=1e-6
    )
    np.testing.assert_array_equal(hardest_weights(losses, jnp.asarray([0])), np.zeros((1, 6)))


def test_pixels_that_are_not_valid_have_no_gradient() -> None:
    logits, labels, valid = random_case()
    gradient = jax.grad(lambda z: bootstrapped_cross_entropy(z, jnp.asarray(labels), valid=jnp.asarray(valid)))(
        jnp.asarray(logits)
    )
    assert float(jnp.abs(gradient[~valid]).max()) == 0.0
    # Exactly the hardest 40 % of the valid pixels have one.
    touched = np.asarray(jnp.any(gradient != 0, axis=-1)).sum(axis=(1, 2))
    np.testing.assert_array_equal(touched, np.round(0.4 * valid.sum(axis=(1, 2))))


def test_nothing_valid_costs_nothing() -> None:
    logits, labels, _ = random_case()
    nothing = jnp.zeros(SHAPE, bool)
    value, gradient = jax.value_and_grad(lambda z: bootstrapped_cross_entropy(z, jnp.asarray(labels), valid=nothing))(
        jnp.asarray(logits)
    )
    assert float(value) == 0.0
    assert float(jnp.abs(gradient).max()) == 0.0


@pytest.mark.parametrize("masked", [False, True])
def test_mask_iou_loss_equals_the_loop(masked: bool) -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.random((3, 2, 7, 9)).astype(np.float32)
    truth = (rng.random((3, 2, 7, 9)) < 0.3).astype(np.float32)
    truth[1, 0] = 0.0  # not in this frame: does not count
    valid = rng.random(SHAPE) < 0.7
    losses = []
    for frame, thing in np.ndindex(3, 2):
        inside = valid[frame] if masked else np.ones(SHAPE[1:], bool)
        m, p = truth[frame, thing][inside], probabilities[frame, thing][inside].astype(np.float64)
        if m.any():
            losses.append(1 - np.minimum(m, p).sum() / np.maximum(m, p).sum())
    arguments = {"valid": jnp.asarray(valid) if masked else None}
    got = mask_iou_loss(jnp.asarray(probabilities), jnp.asarray(truth), **arguments)
    assert float(got) == pytest.approx(np.mean(losses), abs=1e-5)
    _, count = mask_iou_loss(jnp.asarray(probabilities), jnp.asarray(truth), **arguments, reduction="sum_and_count")
    assert int(count) == len(losses)


def test_an_unknown_reduction_is_refused() -> None:
    logits, labels, _ = random_case()
    with pytest.raises(ValueError, match="sum_and_count"):
        cross_entropy(jnp.asarray(logits), jnp.asarray(labels), reduction="median")
