"""The motion that users see, against loops over places and window entries, and on motion that is known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.mu_layer import cost_volume
from munet_jax.models.shown_motion import NEIGHBOUR, TEMPERATURE, log_prior, shown_motion, with_neighbours

RADIUS = 2
SIDE = 2 * RADIUS + 1


def random_cost(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.2, 0.2, (1, rows, columns, SIDE**2)).astype(np.float32)


def test_neighbours_count_a_little() -> None:
    cost = random_cost(3, 4)
    expected = np.zeros_like(cost)
    shares = (NEIGHBOUR, 1.0, NEIGHBOUR)
    for y, x in itertools.product(range(3), range(4)):
        for (dy, a), (dx, b) in itertools.product(enumerate(shares, -1), enumerate(shares, -1)):
            expected[0, y, x] += a * b * cost[0, min(max(y + dy, 0), 2), min(max(x + dx, 0), 3)]
    np.testing.assert_allclose(with_neighbours(jnp.asarray(cost)), expected / sum(shares) ** 2, atol=1e-6)


def test_small_displacements_are_likelier() -> None:
    prior = np.exp(np.asarray(log_prior(RADIUS))).reshape(SIDE, SIDE)
    assert prior[RADIUS, RADIUS] == 1.0
    assert prior[RADIUS, RADIUS + 1] == pytest.approx(2.0**-1.5)
    assert prior[0, RADIUS + 1] == pytest.approx(6.0**-1.5)


def test_displacement_and_chance_equal_the_loop() -> None:
    rows, columns = 3, 4
    cost = random_cost(rows, columns)
    found = shown_motion(jnp.asarray(cost), radius=RADIUS)
    smooth, prior = np.asarray(with_neighbours(jnp.asarray(cost)), np.float64), np.asarray(log_prior(RADIUS))
    for y, x in itertools.product(range(rows), range(columns)):
        weights = {}
        for entry, (dy, dx) in enumerate(itertools.product(range(-RADIUS, RADIUS + 1), repeat=2)):
            if 0 <= y + dy < rows and 0 <= x + dx < columns:
                weights[dx, dy] = np.exp(smooth[0, y, x, entry] / TEMPERATURE + prior[entry])
        best = max(weights, key=lambda offset: weights[offset])
        near = {o: w for o, w in weights.items() if max(abs(o[0] - best[0]), abs(o[1] - best[1])) <= 1}
        mean = sum(w * np.array(o) for o, w in near.items()) / sum(near.values())
        np.testing.assert_allclose(found.displacement[0, y, x], 16 * mean, atol=1e-3)
        np.testing.assert_allclose(found.chance[0, y, x, 0], sum(near.values()) / sum(weights.values()), atol=1e-5)


def test_a_clear_match_is_found_however_far_it_is() -> None:
    """Features that differ everywhere, moved by the window's radius: where they were in the frame is seen exactly."""
    reference = np.random.default_rng(1).standard_normal((1, 10, 12, 64)).astype(np.float32)
    query = np.roll(reference, (-4, 3), axis=(1, 2))  # what is at (y, x) was at (y + 4, x - 3)
    found = shown_motion(cost_volume(jnp.asarray(query), jnp.asarray(reference), radius=4), radius=4)
    inner = np.asarray(found.displacement)[0, :5, 4:]  # of those whose neighbours were in the frame, too
    np.testing.assert_allclose(inner, np.broadcast_to([-3 * 16.0, 4 * 16.0], inner.shape), atol=0.05)
    assert np.asarray(found.chance)[0, :5, 4:].min() > 0.95
