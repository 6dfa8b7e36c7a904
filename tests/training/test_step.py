"""One training step: the same on two devices as on one, frozen statistics, options that do what they say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from munet_jax.compiles import COMPILES
from munet_jax.errors import InputError
from munet_jax.models import MUNet
from munet_jax.training.parallel import (
    AXIS,
    check_batch_size,
    compile_step,
    parallel_step,
    replicate,
    split_batch,
    unreplicate,
)
from munet_jax.training.step import Batch, create_state, make_train_step
from tests.models.tiny import tiny_model

SIZE = (32, 48)


def batch(b: int = 2, t: int = 3, n: int = 2) -> dict[str, np.ndarray]:
    """Clips of which one has a single object and many pixels that do not count."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n + 1, (b, t, *SIZE)).astype(np.uint8)
    valid = np.ones((b, t, *SIZE), bool)
    objects = np.ones((b, n), bool)
    labels[0][labels[0] == 2] = 1
    objects[0, 1] = False
    valid[0, :, :20] = False
    frames = rng.integers(0, 256, (b, t, *SIZE, 3)).astype(np.uint8)
    return {"frames": frames, "labels": labels, "valid": valid, "objects": objects}


def whole(clips: dict[str, np.ndarray]) -> Batch:
    return Batch(**{name: jnp.asarray(value) for name, value in clips.items()})


def largest_difference(one: Any, other: Any) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.mark.parametrize("loss", ["bsce_iou", "ce"])
def test_two_devices_equal_one(loss: str) -> None:
    """SGD, which shows a wrong scale of the gradient; Adam would hide it."""
    assert jax.local_device_count() == 2
    model, optimizer, clips = tiny_model(), optax.sgd(0.1), batch()
    start = create_state(model, optimizer, whole(clips), seed=0)
    one, metrics_one = jax.jit(make_train_step(model, optimizer, loss=loss))(start, whole(clips))
    step = parallel_step(make_train_step(model, optimizer, loss=loss, axis_name=AXIS))
    two, metrics_two = step(replicate(start), split_batch(clips, 2))
    assert largest_difference(jax.device_get(one.params), jax.device_get(start.params)) > 1e-3
    assert largest_difference(jax.device_get(one.params), unreplicate(two).params) < 1e-6
    for name, value in metrics_one.items():
        assert float(value) == pytest.approx(float(metrics_two[name][0]), rel=1e-5)


def test_a_compiled_step_goes_on_from_its_own_output_and_refuses_other_shapes() -> None:
    model, optimizer, clips = tiny_model(), optax.sgd(0.1), batch()
    start = create_state(model, optimizer, whole(clips), seed=0)
    step = make_train_step(model, optimizer, axis_name=AXIS)
    state, split = replicate(start), split_batch(clips, 2)
    compiled = compile_step(step, state, split)
    before = COMPILES.count
    for _ in range(3):
        state, _ = compiled(state, split)
    assert COMPILES.count == before
    expected = replicate(start)
    for _ in range(3):
        expected, _ = parallel_step(step)(expected, split)
    assert largest_difference(unreplicate(state).params, unreplicate(expected).params) < 1e-6
    with pytest.raises(TypeError):
        compiled(state, split_batch(batch(b=4), 2))


def test_statistics_of_frozen_norms_do_not_move_and_their_scale_does() -> None:
    changes = {f"{part}__norm": "frozen_batch" for part in ("query_encoder", "reference_encoder")}
    model, optimizer = tiny_model(**changes), optax.sgd(0.1)
    start = create_state(model, optimizer, whole(batch()), seed=0)
    after, _ = jax.jit(make_train_step(model, optimizer))(start, whole(batch()))
    assert jax.tree.leaves(start.batch_stats)
    assert largest_difference(start.batch_stats, after.batch_stats) == 0.0
    scale = [state.params["query_encoder"]["backbone"]["norm1"]["bn"]["scale"] for state in (start, after)]
    assert largest_difference(*scale) > 0


def test_sequential_memory_and_motion_prior_reach_every_parameter() -> None:
    model, optimizer = tiny_model(motion_prior=True), optax.sgd(0.1)
    start = create_state(model, optimizer, whole(batch()), seed=0)
    after, metrics = jax.jit(make_train_step(model, optimizer, memory="sequential"))(start, whole(batch()))
    assert np.isfinite(float(metrics["loss"]))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()) > 0, start.params, after.params)
    still = [jax.tree_util.keystr(path) for path, yes in jax.tree_util.tree_leaves_with_path(moved) if not yes]
    assert not still


def test_the_share_of_hardest_pixels_may_follow_the_step() -> None:
    model, optimizer = tiny_model(), optax.sgd(0.0)
    state = create_state(model, optimizer, whole(batch()), seed=0)

    def loss(fraction: Any) -> float:
        step = jax.jit(make_train_step(model, optimizer, fraction=fraction))
        return float(step(state, whole(batch()))[1]["loss_bsce"])

    assert loss(lambda step: jnp.where(step < 1, 1.0, 0.1)) == pytest.approx(loss(1.0))
    assert loss(0.1) > loss(1.0)


def test_choices_that_do_not_exist_are_named() -> None:
    model: MUNet = tiny_model()
    with pytest.raises(InputError, match="config.train.loss is 'focal'.*bsce_iou"):
        make_train_step(model, optax.sgd(0.1), loss="focal")
    with pytest.raises(InputError, match="config.train.memory"):
        make_train_step(model, optax.sgd(0.1), memory="all")
    with pytest.raises(InputError, match="motion_prior needs"):
        make_train_step(tiny_model(motion_prior=True), optax.sgd(0.1))
    with pytest.raises(InputError, match="motion_prior.*softargmax"):
        tiny_model(motion_prior=True, mu_layer__matching="softargmin")
    with pytest.raises(InputError, match="config.model.fusion is 'sum'"):
        tiny_model(fusion="sum")


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    check_batch_size(4, 2)
    with pytest.raises(InputError, match="batch_size is 3.*multiple of 2"):
        check_batch_size(3, 2)
