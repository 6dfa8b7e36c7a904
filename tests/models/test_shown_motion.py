"""The motion that users see, against loops over places and window entries, and on motion that is known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models import shown_motion as shown
from munet_jax.models.mu_layer import cost_volume

RADIUS = 2
SIDE = 2 * RADIUS + 1
OFFSETS = list(itertools.product(range(-RADIUS, RADIUS + 1), repeat=2))  # (dy, dx)


def random_cost(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.2, 0.2, (1, rows, columns, SIDE**2)).astype(np.float32)


def softmax(scores: dict) -> dict:
    weights = {offset: np.exp(score) for offset, score in scores.items()}
    return {offset: weight / sum(weights.values()) for offset, weight in weights.items()}


def test_neighbours_count() -> None:
    cost = random_cost(3, 4)
    expected = np.zeros_like(cost)
    shares = (shown.NEIGHBOUR, 1.0, shown.NEIGHBOUR)
    for y, x in itertools.product(range(3), range(4)):
        for (dy, a), (dx, b) in itertools.product(enumerate(shares, -1), enumerate(shares, -1)):
            expected[0, y, x] += a * b * cost[0, min(max(y + dy, 0), 2), min(max(x + dx, 0), 3)]
    np.testing.assert_allclose(shown.with_neighbours(jnp.asarray(cost)), expected / sum(shares) ** 2, atol=1e-6)


def test_small_displacements_are_likelier() -> None:
    prior = np.exp(np.asarray(shown.log_cauchy(RADIUS))).reshape(SIDE, SIDE)
    assert prior[RADIUS, RADIUS] == 1.0
    assert prior[RADIUS, RADIUS + 1] == pytest.approx(2.0**-1.5)
    assert prior[0, RADIUS + 1] == pytest.approx(6.0**-1.5)


def test_displacement_and_chance_equal_the_loop() -> None:
    rows, columns = 3, 4
    cost = random_cost(rows, columns)
    found = shown.shown_motion(jnp.asarray(cost), radius=RADIUS)
    smooth = np.asarray(shown.with_neighbours(jnp.asarray(cost)), np.float64)[0]
    small = softmax(dict(zip(OFFSETS, np.asarray(shown.log_cauchy(RADIUS), np.float64), strict=True)))
    seen = {
        (y, x): {(dy, dx): smooth[y, x, u] for u, (dy, dx) in enumerate(OFFSETS) if 0 <= y + dy < rows and 0 <= x + dx < columns}
        for y, x in itertools.product(range(rows), range(columns))
    }  # fmt: skip
    each = [
        softmax({o: s / shown.TEMPERATURE + np.log(small[o]) for o, s in entries.items()}) for entries in seen.values()
    ]
    together = {offset: sum(weights.get(offset, 0.0) for weights in each) / len(each) for offset in OFFSETS}
    prior = {
        o: np.log((1 - shown.INDEPENDENT_SHARE) * together[o] + shown.INDEPENDENT_SHARE * small[o]) for o in OFFSETS
    }
    peaks = np.zeros((rows, columns, 2))
    for (y, x), entries in seen.items():
        best = max(entries, key=lambda o: entries[o] / shown.TEMPERATURE + prior[o])
        weights = softmax({o: s / shown.CHANCE_TEMPERATURE + prior[o] for o, s in entries.items()})
        chance = sum(w for o, w in weights.items() if max(abs(o[0] - best[0]), abs(o[1] - best[1])) <= 1)
        np.testing.assert_allclose(found.chance[0, y, x, 0], chance, atol=1e-5)
        peaks[y, x] = best[1] + peak_along(entries, best, (0, 1)), best[0] + peak_along(entries, best, (1, 0))
    for _ in range(shown.SMOOTHING_ROUNDS):
        peaks = averaged(peaks)
    np.testing.assert_allclose(found.displacement[0], 16 * peaks, atol=1e-2)


def peak_along(entries: dict, best: tuple, step: tuple) -> float:
    """Where the parabola through three entries is highest, found by numpy's fit."""
    around = [tuple(np.add(best, np.multiply(step, t))) for t in (-1, 0, 1)]
    if not all(offset in entries for offset in around):
        return 0.0
    bend, slope, _ = np.polyfit([-1, 0, 1], [entries[offset] for offset in around], 2)
    return float(np.clip(-slope / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def averaged(moved: np.ndarray) -> np.ndarray:
    """Displacements [h, w, 2] averaged with those around that are alike; the frame's edge is repeated."""
    rows, columns, _ = moved.shape
    result = np.zeros_like(moved)
    for y, x in itertools.product(range(rows), range(columns)):
        steps = itertools.product((-1, 0, 1), repeat=2)
        around = [moved[np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)] for dy, dx in steps]
        result[y, x] = np.mean([near for near in around if np.hypot(*(near - moved[y, x])) <= shown.ALIKE], axis=0)
    return result


def test_entries_next_to_the_best_match_equal_the_loop() -> None:
    radius, reach = 3, shown.REACH
    best = np.random.default_rng(0).integers(0, 49, (1, 4, 5))
    found = np.asarray(shown.near(jnp.asarray(best), radius=radius)).reshape(4, 5, 7, 7)
    for y, x in itertools.product(range(4), range(5)):
        row, column = divmod(int(best[0, y, x]), 7)
        expected = np.zeros((7, 7), bool)
        expected[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = True
        np.testing.assert_array_equal(found[y, x], expected)


def test_an_edge_between_motions_stays() -> None:
    """Noise goes, and a step of a cell stays where it is."""
    moved = np.random.default_rng(3).uniform(-0.1, 0.1, (1, 8, 9, 2)).astype(np.float32)
    moved[:, :, 5:] += 1.0
    result = np.asarray(shown.smoothed(jnp.asarray(moved)))
    for side, expected in ((slice(0, 5), 0.0), (slice(5, 9), 1.0)):
        assert np.abs(result[:, :, side] - expected).max() < 0.06
        assert result[:, :, side].std() < moved[:, :, side].std() / 3


def test_a_clear_match_is_found_however_far_it_is() -> None:
    """Features that differ everywhere, moved by the window's radius: where they were in the frame is seen.

    Not exactly: between features that have nothing in common, the parabola follows their noise.
    """
    reference = np.random.default_rng(1).standard_normal((1, 10, 12, 64)).astype(np.float32)
    query = np.roll(reference, (-4, 3), axis=(1, 2))  # what is at (y, x) was at (y + 4, x - 3)
    found = shown.shown_motion(cost_volume(jnp.asarray(query), jnp.asarray(reference), radius=4), radius=4)
    inner = np.asarray(found.displacement)[0, :5, 4:]  # of those whose neighbours were in the frame, too
    assert np.abs(inner - [-3 * 16.0, 4 * 16.0]).max() < 1.6  # a tenth of a cell
    assert np.asarray(found.chance)[0, :5, 4:].min() > 0.9


def test_a_match_between_cells_is_found() -> None:
    """A smooth pattern that moved by less than half a cell."""
    y, x = np.meshgrid(np.arange(20.0), np.arange(22.0), indexing="ij")
    centres = np.stack(np.meshgrid(np.arange(-4.0, 26.0), np.arange(-4.0, 26.0), indexing="ij"), -1).reshape(-1, 2)

    def bumps(dy: float, dx: float) -> jnp.ndarray:
        """One channel for each centre, which falls off with the distance from it."""
        distance = (y[..., None] + dy - centres[:, 0]) ** 2 + (x[..., None] + dx - centres[:, 1]) ** 2
        return jnp.asarray(np.exp(-distance / 4)[None], jnp.float32)

    # What is at (y, x) was at (y - 0.2, x + 0.4).
    found = shown.shown_motion(cost_volume(bumps(-0.2, 0.4), bumps(0, 0), radius=RADIUS), radius=RADIUS)
    # The edge of the frame is less exact, and is averaged in.
    inner = np.asarray(found.displacement)[0, 8:-8, 8:-8] / 16
    np.testing.assert_allclose(inner, np.broadcast_to([0.4, -0.2], inner.shape), atol=0.02)


def test_places_that_are_unsure_move_as_the_others_do() -> None:
    """Where nothing is seen, the displacement that all others have is likelier than none."""
    cost = np.zeros((1, 6, 6, SIDE**2), np.float32)
    cost[..., OFFSETS.index((0, 1))] = 0.5
    cost[0, 1:5, 1:4] = 0.0  # wide enough for places none of whose neighbours says anything
    found = shown.shown_motion(jnp.asarray(cost), radius=RADIUS)
    np.testing.assert_allclose(found.displacement[0, 2, 2], [16.0, 0.0])
    assert found.chance[0, 2, 2, 0] < found.chance[0, 0, 0, 0]
