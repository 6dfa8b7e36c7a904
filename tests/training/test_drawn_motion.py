"""Frames that are warped by a drawn motion, and the losses of motion, against loops in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.clip import Matched
from munet_jax.training.drawn_motion import (
    NOWHERE,
    OBJECT_WEIGHT,
    DrawnFrame,
    Warp,
    cells,
    draw_fields,
    draw_frames,
    layered,
    pixel_grid,
    places,
    sample,
    window_target,
)
from munet_jax.training.motion_terms import FLOOR, motion_terms

SIZE = (64, 96)


def two_objects() -> np.ndarray:
    labels = np.zeros(SIZE, np.int32)
    labels[10:40, 8:40], labels[24:56, 48:88] = 1, 2
    return labels


@pytest.fixture(scope="module")
def warps() -> list[Warp]:
    labels = jnp.asarray(two_objects())
    make = jax.jit(lambda key: layered(draw_fields(key, labels, 2), labels))
    return [make(jax.random.key(seed)) for seed in range(8)]


def test_pixels_went_where_the_displacement_says(warps: list[Warp]) -> None:
    """A picture of positions, warped, shows where each pixel came from; its label there is the layer's."""
    grid = np.asarray(pixel_grid(*SIZE))
    labels = two_objects()
    layers = set()
    for warp in warps:
        came_from = np.asarray(sample(jnp.asarray(grid), places(warp)))
        expected = grid + np.asarray(warp.displacement)
        inside = ((expected >= 0) & (expected <= np.array([SIZE[1] - 1, SIZE[0] - 1]))).all(-1)
        shows = np.asarray(warp.layer) != NOWHERE
        np.testing.assert_allclose(came_from[shows & inside], expected[shows & inside], atol=1e-3)
        columns, rows = np.round(expected[shows & inside]).astype(int).T
        np.testing.assert_array_equal(labels[rows, columns], np.asarray(warp.layer)[shows & inside])
        layers |= set(np.unique(warp.layer).tolist())
    assert layers == {NOWHERE, 0, 1, 2}


def test_cells_have_the_mean_displacement_of_the_layer_that_fills_them(warps: list[Warp]) -> None:
    valid = np.ones(SIZE, bool)
    valid[:, :20] = False
    kinds = set()
    for warp in warps:
        displacement, weights = cells(warp, jnp.asarray(valid), 2)
        at = np.asarray(pixel_grid(*SIZE)) + np.asarray(warp.displacement)
        for row, column in np.ndindex(weights.shape):
            block = np.s_[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            layer, place, moved = (np.asarray(x)[block].reshape(256, -1) for x in (warp.layer, at, warp.displacement))
            seen = ((place >= 0) & (place <= (SIZE[1] - 1, SIZE[0] - 1))).all(-1)
            seen[seen] = valid[tuple(np.round(place[seen]).astype(int).T[::-1])]
            counts = [int((seen & (layer[:, 0] == number)).sum()) for number in range(3)]
            best = int(np.argmax(counts))
            weight = (OBJECT_WEIGHT if best else 1.0) * (counts[best] >= 128)
            assert float(weights[row, column]) == weight
            kinds.add(weight)
            if weight:
                mean = moved[seen & (layer[:, 0] == best)].mean(0) / 16
                np.testing.assert_allclose(displacement[row, column], mean, atol=1e-4)
    assert kinds == {0.0, 1.0, OBJECT_WEIGHT}


def drawn(displacement: np.ndarray, weights: np.ndarray) -> DrawnFrame:
    b = len(weights)
    frame, origin = jnp.zeros((b, *SIZE, 3), jnp.uint8), jnp.zeros(b, jnp.int32)
    return DrawnFrame(frame, origin, jnp.asarray(displacement), jnp.asarray(weights))


def random_case() -> dict[str, Any]:
    """A window of radius 2 over 4 x 6 cells, two clips of three frames."""
    rng = np.random.default_rng(0)
    labels, valid = rng.integers(0, 3, (2, 3, 4, 6)), rng.random((2, 3, 4, 6)) < 0.8
    return {
        "displacement": rng.uniform(-2.5, 2.5, (2, 4, 6, 2)).astype(np.float32),
        "weights": rng.choice([0.0, 1.0, 4.0], (2, 4, 6)).astype(np.float32),
        "extra": rng.standard_normal((2, 4, 6, 25)).astype(np.float32),
        "neighbours": rng.dirichlet(np.ones(25), (2, 2, 4, 6)).astype(np.float32),
        "labels": np.kron(labels, np.ones((16, 16), int)).astype(np.uint8),
        "valid": np.kron(valid, np.ones((16, 16), bool)),
    }


def test_the_loss_of_exact_displacements_equals_the_loop() -> None:
    case = random_case()
    total, count = 0.0, 0.0
    logs = case["extra"] - np.log(np.exp(case["extra"].astype(np.float64)).sum(-1, keepdims=True))
    for clip, y, x in np.ndindex(2, 4, 6):
        end = np.clip(np.array([x, y]) + case["displacement"][clip, y, x], 0, [5, 3])
        dx, dy = end - [x, y]
        weight = float(case["weights"][clip, y, x]) * (max(abs(dx), abs(dy)) <= 2)
        left, top = int(np.floor(dx)), int(np.floor(dy))
        count += weight
        for column, row in [(left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)]:
            share = (1 - abs(dx - column)) * (1 - abs(dy - row))
            if weight * share > 0:
                total -= weight * share * logs[clip, y, x, (row + 2) * 5 + column + 2]
    terms = losses_of(case, logs.astype(np.float32))
    assert float(terms["loss_motion"].total) == pytest.approx(total, rel=1e-4)
    assert float(terms["loss_motion"].entries) == pytest.approx(count)


def losses_of(case: dict[str, Any], logs: np.ndarray) -> Any:
    matched = Matched(jnp.zeros((2, 2, 1, 1, 1)), jnp.asarray(case["neighbours"]), jnp.asarray(logs))
    labels, valid = jnp.asarray(case["labels"]), jnp.asarray(case["valid"])
    return motion_terms(matched, drawn(case["displacement"], case["weights"]), labels, valid, n=2, radius=2)


def test_the_loss_of_moved_labels_equals_the_loop() -> None:
    case = random_case()
    shares = np.zeros((2, 3, 4, 6, 3))
    for place in np.ndindex(2, 3, 4, 6):
        at = (*place[:2], place[2] * 16, place[3] * 16)
        shares[(*place, case["labels"][at])] = case["valid"][at]
    total = 0.0
    for clip, frame, y, x in np.ndindex(2, 2, 4, 6):
        moved = np.zeros(3)
        for row, column in np.ndindex(5, 5):
            to_y, to_x = y + row - 2, x + column - 2
            if 0 <= to_y < 4 and 0 <= to_x < 6:
                moved += case["neighbours"][clip, frame, y, x, row * 5 + column] * shares[clip, frame, to_y, to_x]
        total -= shares[clip, frame + 1, y, x] @ np.log(np.maximum(moved, FLOOR))
    terms = losses_of(case, case["extra"])
    assert float(terms["loss_moved_labels"].total) == pytest.approx(total, rel=1e-4)
    assert float(terms["loss_moved_labels"].entries) == 2 * 2 * 4 * 6


def test_a_masked_window_entry_gives_a_finite_gradient() -> None:
    target, weights = window_target(jnp.full((1, 2, 3, 2), -1.5), jnp.ones((1, 2, 3)), 1)
    np.testing.assert_allclose(jnp.sum(target, -1)[weights > 0], 1.0, rtol=1e-6)
    case = random_case()

    def loss(scores: Any) -> Any:
        scores = jnp.where(jnp.arange(25) == 24, -jnp.inf, scores)
        matched = Matched(jnp.zeros((2, 2, 1, 1, 1)), jnp.asarray(case["neighbours"]), jax.nn.log_softmax(scores))
        still = drawn(np.zeros((2, 4, 6, 2), np.float32), case["weights"])
        labels, valid = jnp.asarray(case["labels"]), jnp.asarray(case["valid"])
        return motion_terms(matched, still, labels, valid, n=2, radius=2)["loss_motion"].total

    with jax.numpy_rank_promotion("allow"):
        gradient = jax.grad(loss)(jnp.asarray(case["extra"]))
    assert bool(jnp.isfinite(gradient).all())
    assert float(jnp.abs(gradient).max()) > 0.1


def test_frames_are_drawn_from_the_key_alone() -> None:
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.integers(0, 256, (3, 2, *SIZE, 3)), jnp.uint8)
    labels = jnp.asarray(np.broadcast_to(two_objects(), (3, 2, *SIZE)), jnp.uint8)
    keys = jax.random.split(jax.random.key(1), 3)
    draw = jax.jit(lambda *arrays: draw_frames(*arrays, n=2))
    together = draw(keys, frames, labels, jnp.ones(labels.shape, bool))
    alone = draw(keys[1:2], frames[1:2], labels[1:2], jnp.ones((1, 2, *SIZE), bool))
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours[1:2], theirs)
    assert together.frame.dtype == jnp.uint8
    assert not np.array_equal(together.displacement[0], together.displacement[1])
