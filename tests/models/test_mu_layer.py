"""Cost volume, displacement and uncertainty against numpy loops, and against motion that is known."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.models import mu_layer
from munet_jax.models.mu_layer import (
    MULayer,
    all_pairs,
    cost_volume,
    displacement,
    uncertainty,
    window_inside,
    window_rows,
)

RADIUS = 2


def features(seed: int, shape: tuple[int, ...] = (2, 5, 6, 4)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def cost_by_loop(query: np.ndarray, reference: np.ndarray, radius: int) -> np.ndarray:
    b, h, w, _ = query.shape
    side = 2 * radius + 1
    cost = np.zeros((b, h, w, side * side))
    for i, y, x, dy, dx in itertools.product(
        range(b), range(h), range(w), range(-radius, radius + 1), range(-radius, radius + 1)
    ):
        if 0 <= y + dy < h and 0 <= x + dx < w:
            p, q = query[i, y, x].astype(np.float64), reference[i, y + dy, x + dx].astype(np.float64)
            cost[i, y, x, (dy + radius) * side + dx + radius] = p @ q / (np.linalg.norm(p) * np.linalg.norm(q))
    return cost


def displacement_by_loop(
    cost: np.ndarray, radius: int, sign: float, temperature: float, valid: np.ndarray
) -> np.ndarray:
    out = np.zeros((*cost.shape[:3], 2))
    side = 2 * radius + 1
    for i, y, x in np.ndindex(cost.shape[:3]):
        total = 0.0
        for u in range(side * side):
            if valid[0, y, x, u]:
                weight = np.exp(sign * cost[i, y, x, u] / temperature)
                out[i, y, x] += weight * np.array([u % side - radius, u // side - radius])
                total += weight
        out[i, y, x] /= total
    return out


def test_cost_volume_equals_the_loop() -> None:
    query, reference = features(0), features(1)
    np.testing.assert_allclose(
        cost_volume(jnp.asarray(query), jnp.asarray(reference), radius=RADIUS),
        cost_by_loop(query, reference, RADIUS),
        atol=1e-5,
    )


def test_cost_volume_window_may_be_larger_than_the_frame() -> None:
    query, reference = features(0, (1, 2, 3, 4)), features(1, (1, 2, 3, 4))
    np.testing.assert_allclose(
        cost_volume(jnp.asarray(query), jnp.asarray(reference), radius=4), cost_by_loop(query, reference, 4), atol=1e-5
    )


@pytest.mark.parametrize(("matching", "sign"), [("softargmin", -1.0), ("softargmax", 1.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_displacement_equals_the_loop(matching: str, sign: float, temperature: float, masked: bool) -> None:
    cost = cost_by_loop(features(0), features(1), RADIUS)
    inside = window_inside(5, 6, RADIUS)
    valid = np.asarray(inside) if masked else np.ones((1, 5, 6, 25), bool)
    got = displacement(
        jnp.asarray(cost, jnp.float32),
        radius=RADIUS,
        matching=matching,
        temperature=temperature,
        valid=inside if masked else None,
    )
    np.testing.assert_allclose(got, displacement_by_loop(cost, RADIUS, sign, temperature, valid), atol=1e-5)


def test_uncertainty_is_the_largest_entry_that_counts() -> None:
    cost = -np.abs(cost_by_loop(features(0), features(1), RADIUS))
    inside = np.asarray(window_inside(5, 6, RADIUS))
    got = uncertainty(jnp.asarray(cost, jnp.float32), valid=jnp.asarray(inside))
    np.testing.assert_allclose(got[..., 0], np.where(inside, cost, -np.inf).max(axis=-1), atol=1e-6)
    # Outside entries are 0, so where they count they win over every negative similarity.
    corner = uncertainty(jnp.asarray(cost, jnp.float32))[0, 0, 0, 0]
    assert corner == 0.0


def test_gradient_is_finite_where_a_feature_is_zero() -> None:
    query = jnp.zeros((1, 3, 3, 4))
    gradient = jax.grad(lambda q: jnp.sum(cost_volume(q, jnp.asarray(features(1, (1, 3, 3, 4))), radius=1)))(query)
    assert jnp.all(jnp.isfinite(gradient))


def test_gradient_equals_finite_differences() -> None:
    query, reference = features(0, (1, 3, 4, 3)), features(1, (1, 3, 4, 3))
    weights = jnp.asarray(features(2, (1, 3, 4, 9)))

    def value(q: Any, r: Any) -> jax.Array:
        return jnp.sum(weights * cost_volume(jnp.asarray(q), jnp.asarray(r), radius=1))

    check_grads(value, (query, reference), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_border_of_the_paper_form_encodes_position() -> None:
    """At an edge midpoint with C = 0.5 inside, the literal form is 1.5 long; a match moves it 0.003."""
    ones = jnp.full((1, 30, 54, 1), 1.0)
    cost = 0.5 * cost_volume(ones, ones, radius=12)
    at_edge = displacement(cost, radius=12)[0, 15, 0]
    assert abs(float(jnp.linalg.norm(at_edge)) - 1.5) < 0.05
    middle = cost.at[0, 15, 27, 12 * 25 + 12 + 5].set(1.0)
    moved = displacement(middle, radius=12)[0, 15, 27] - displacement(cost, radius=12)[0, 15, 27]
    assert 0.002 < float(jnp.linalg.norm(moved)) < 0.004


def patches(image: np.ndarray) -> jax.Array:
    """Zero-mean 16 x 16 RGB patches as features: [1, h/16, w/16, 768]."""
    h, w, _ = image.shape
    cells = image.astype(np.float32).reshape(h // 16, 16, w // 16, 16, 3).transpose(0, 2, 1, 3, 4)
    cells = cells.reshape(h // 16, w // 16, -1)
    return jnp.asarray(cells - cells.mean(axis=-1, keepdims=True))[None]


def mosaic(tiles: int, size: int) -> np.ndarray:
    """First frames of synthetic videos, tile by tile: textures whose scale is a cell's, and objects, everywhere."""
    config = SyntheticConfig(videos=tiles**2, frames=1, height=size, width=size, seed=3, min_occlusion=0.0)
    source = SyntheticSource(config)
    rows = [[source.frame(row * tiles + column, 0) for column in range(tiles)] for row in range(tiles)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


@pytest.mark.parametrize("shift", [(1, 0), (-3, 2), (8, -8), (0, 5)])
def test_softargmax_finds_whole_cell_shifts(shift: tuple[int, int]) -> None:
    """A picture of synthetic frames, seen through a window that moves by whole cells."""
    dx, dy = shift
    picture = mosaic(5, 128)
    margin, h, w = 128, 320, 384
    now = picture[margin : margin + h, margin : margin + w]
    # What is at x now was at x + shift before, so the window before lay at -shift.
    before = picture[margin - 16 * dy : margin - 16 * dy + h, margin - 16 * dx : margin - 16 * dx + w]
    cost = cost_volume(patches(now), patches(before), radius=12)
    inside = window_inside(h // 16, w // 16, 12)
    found = displacement(cost, radius=12, matching="softargmax", temperature=0.001, valid=inside)[0]
    y, x = np.mgrid[: h // 16, : w // 16]
    visible = (y + dy >= 0) & (y + dy < h // 16) & (x + dx >= 0) & (x + dx < w // 16)
    exact = np.abs(np.asarray(found) - [dx, dy]).max(axis=-1) < 0.05
    assert exact[visible].mean() >= 0.99


@pytest.mark.parametrize("shift", [(0.25, 0.25), (2.25, -1.4), (-3.75, 0.25)])
def test_softargmax_finds_fractional_shifts_of_smooth_texture(shift: tuple[float, float]) -> None:
    """Smooth noise with a 1/f spectrum. One cell's zero-mean patch may look like another's, so the field's middle counts."""
    rng = np.random.default_rng(0)
    h, w = 320, 384
    lengths = np.exp(rng.uniform(np.log(0.02), np.log(0.15), 60))
    angles, phases, colours = rng.uniform(0, 6.3, 60), rng.uniform(0, 6.3, (60, 3)), rng.standard_normal((60, 3))

    def picture(offset: tuple[float, float]) -> np.ndarray:
        y, x = np.mgrid[:h, :w].astype(np.float64)
        x, y = x + 16 * offset[0], y + 16 * offset[1]
        along = lengths * (np.cos(angles) * x[..., None] + np.sin(angles) * y[..., None])
        return (np.sin(along[..., None] + phases) * colours / lengths[:, None]).sum(axis=2)

    # What is at x now was at x + shift before: the picture before is the one now, moved by -shift.
    now, before = picture((0.0, 0.0)), picture((-shift[0], -shift[1]))
    cost = cost_volume(patches(now), patches(before), radius=12)
    found = np.asarray(displacement(cost, radius=12, matching="softargmax", temperature=0.001))[0, 5:-5, 5:-5]
    assert np.abs(np.median(found, axis=(0, 1)) - shift).max() <= 0.5
    assert (np.abs(found - np.asarray(shift)).max(axis=-1) <= 0.5).mean() > 0.5


@pytest.mark.parametrize("switched_off", ["displacement", "uncertainty"])
def test_a_switched_off_input_does_not_reach_the_motion_feature(switched_off: str) -> None:
    layer = MULayer(features=8, radius=1, **{switched_off: False})
    one, other = (jnp.asarray(features(seed, (1, 4, 4, 2))) for seed in (0, 1))
    variables = layer.init(jax.random.key(0), one, other)
    full = MULayer(features=8, radius=1)
    result, reference = layer.apply(variables, one, other), full.apply(variables, one, other)
    kept = {"displacement": reference.uncertainty, "uncertainty": reference.displacement}[switched_off]
    channels = {
        "displacement": jnp.concatenate([jnp.zeros((1, 4, 4, 2)), kept], axis=-1),
        "uncertainty": jnp.concatenate([kept, jnp.zeros((1, 4, 4, 1))], axis=-1),
    }[switched_off]
    expected = full.apply(variables, channels, method=lambda m, x: m.motion_network(x))
    np.testing.assert_allclose(result.feature, expected, atol=1e-6)
    assert float(jnp.abs(result.feature - reference.feature).max()) > 0


def test_a_learned_temperature_starts_where_the_config_says_and_has_a_gradient() -> None:
    one, other = (jnp.asarray(features(seed, (1, 4, 4, 2))) for seed in (0, 1))
    learned = MULayer(features=8, radius=1, matching="softargmax", temperature=0.3, learn_temperature=True)
    variables = learned.init(jax.random.key(0), one, other)
    fixed = {"params": {k: v for k, v in variables["params"].items() if k != "log_temperature"}}
    expected = MULayer(features=8, radius=1, matching="softargmax", temperature=0.3).apply(fixed, one, other)
    np.testing.assert_allclose(learned.apply(variables, one, other).displacement, expected.displacement, atol=1e-6)
    gradient = jax.grad(lambda v: jnp.sum(learned.apply(v, one, other).displacement ** 2))(variables)
    assert abs(float(gradient["params"]["log_temperature"])) > 0


@pytest.mark.parametrize("shape", [(1, 5, 6, 4), (2, 3, 9, 4), (1, 1, 1, 4)])
def test_all_pairs_equal_the_rows_of_the_window_with_their_gradients(shape: tuple[int, ...]) -> None:
    query, reference = (jnp.asarray(features(seed, shape)) for seed in range(2))
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((*shape[:3], 5, 5)), jnp.float32)

    def run(form: Callable[..., Any]) -> Any:
        def loss(query: Any, reference: Any) -> tuple[Any, Any]:
            cost = form(query, reference, 2)
            return jnp.sum(weights * cost), cost

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(query, reference)

    for one, other in zip(jax.tree.leaves(run(all_pairs)), jax.tree.leaves(run(window_rows)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_large_frame_takes_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """1080p: all pairs would be 0.3 GB."""
    taken = []
    for name in ("all_pairs", "window_rows"):
        form = getattr(mu_layer, name)
        monkeypatch.setattr(mu_layer, name, lambda *args, name=name, form=form: taken.append(name) or form(*args))
    for size in ((30, 54), (68, 120)):
        jax.eval_shape(cost_volume, *[jax.ShapeDtypeStruct((1, *size, 8), jnp.float32)] * 2)
    assert taken == ["all_pairs", "window_rows"]
