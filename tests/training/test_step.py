"""One training step: the same on two devices as on one, frozen statistics, options that do what they say."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import common
from configs.testing import get_config
from munet_jax.models import MUNet, create_model
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES, CPU_OPTIONS
from munet_jax.training.length import Length
from munet_jax.training.optimizer import create_optimizer, create_schedule, frozen_parameters
from munet_jax.training.options import TrainConfig
from munet_jax.training.parallel import (
    AXIS,
    check_batch_size,
    compile_step,
    parallel_step,
    replicate,
    split_batch,
    unreplicate,
)
from munet_jax.training.step import Batch, abstract_batch, create_state, create_variables, make_train_step
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


@pytest.mark.parametrize("loss", ["bsce_iou", pytest.param("ce", marks=pytest.mark.slow)])
def test_four_devices_equal_one(loss: str) -> None:
    """SGD, which shows a wrong scale of the gradient (Adam would hide it): with rate 1 the step is the gradient."""
    model, optimizer, clips = tiny_model(), optax.sgd(1.0), batch(b=4)
    start = create_state(model, optimizer, whole(clips), seed=0)
    one, metrics_one = jax.jit(make_train_step(model, optimizer, TrainConfig(loss=loss)))(start, whole(clips))
    assert largest_difference(jax.device_get(one.params), jax.device_get(start.params)) > 1e-2
    step = parallel_step(make_train_step(model, optimizer, TrainConfig(loss=loss), axis_name=AXIS))
    several, metrics = step(replicate(start, 4), split_batch(clips, 4))
    assert largest_difference(jax.device_get(one.params), unreplicate(several).params) < 1e-6
    for name, value in metrics_one.items():
        assert float(value) == pytest.approx(float(metrics[name][0]), rel=1e-5)


def test_devices_add_gradients_in_one_group_and_compute_nothing_twice() -> None:
    """Of the compiled program: the loss's counts go round once, then all gradients and metrics together."""
    model, optimizer = tiny_model(), optax.sgd(1.0)
    start = create_state(model, optimizer, whole(batch()), seed=0)
    alone = jax.jit(make_train_step(model, optimizer)).lower(start, whole(batch())).compile(CPU_OPTIONS)
    step = make_train_step(model, optax.sgd(0.1), axis_name=AXIS)  # that of test_a_compiled_step, too
    both = compile_step(step, replicate(start, 2), split_batch(batch(b=4), 2))
    reductions = re.findall(r"= (.*?) all-reduce\(", both.as_text())
    sizes = sorted(shapes.count("[") for shapes in reductions)
    assert len(sizes) == 2
    assert sizes[0] <= 2
    assert sizes[1] > 0.9 * len(jax.tree.leaves(start.params))  # a few leaves get no gradient at all
    assert both.cost_analysis()["flops"] < 1.03 * alone.cost_analysis()["flops"]


@pytest.mark.slow  # frames without a motion prior, below, take micro-batches too
@pytest.mark.parametrize("loss", ["bsce_iou", "ce"])
def test_micro_batches_equal_the_whole_batch(loss: str) -> None:
    model, optimizer, clips = tiny_model(), optax.sgd(1.0), batch(b=4)
    start = create_state(model, optimizer, whole(clips), seed=0)
    one, metrics_one = jax.jit(make_train_step(model, optimizer, TrainConfig(loss=loss)))(start, whole(clips))
    step = parallel_step(make_train_step(model, optimizer, TrainConfig(loss=loss, accumulate=2), axis_name=AXIS))
    parts, metrics = step(replicate(start, 2), split_batch(clips, 2))
    assert largest_difference(jax.device_get(one.params), unreplicate(parts).params) < 1e-6
    for name, value in metrics_one.items():
        assert float(value) == pytest.approx(float(metrics[name][0]), rel=1e-5)


def test_remat_keeps_less_and_gives_the_same_parameters() -> None:
    optimizer = optax.sgd(1.0)
    start = create_state(tiny_model(), optimizer, whole(batch()), seed=0)
    results, flops = [], []
    for remat in (False, True):
        step = make_train_step(tiny_model(remat=remat), optimizer)
        compiled = jax.jit(step).lower(start, whole(batch())).compile(CPU_OPTIONS)
        results.append(compiled(start, whole(batch()))[0].params)
        flops.append(compiled.cost_analysis()["flops"])
    assert largest_difference(*results) < 1e-6
    assert flops[1] > 1.05 * flops[0]  # the second computation is really there


def test_remat_keeps_less_than_60_percent_of_the_activations() -> None:
    """Of the paper's network and clip; shapes alone."""
    config = common.get_config()
    config.data.size = (200, 200)
    plain = kept_bytes(config)
    config.model.remat = True
    assert kept_bytes(config) < 0.6 * plain


def kept_bytes(config: ConfigDict) -> int:
    """What a clip's forward pass keeps for the backward pass, without the parameters."""
    model, clips = create_model(config.model), abstract_batch(config, 1)
    variables = jax.eval_shape(lambda: create_variables(model, clips, seed=0))
    masks = jax.ShapeDtypeStruct((1, 2, *config.data.size), jnp.float32)

    def backward(variables: Any, *clip: Any) -> Any:
        return jax.vjp(lambda params: model.apply({**variables, "params": params}, *clip), variables["params"])[1]

    kept = jax.eval_shape(backward, variables, clips.frames, masks, clips.objects)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)) - sum(
        x.size * x.dtype.itemsize for x in jax.tree.leaves(variables)
    )


def test_the_moving_average_follows_the_parameters() -> None:
    model, optimizer = tiny_model(), optax.sgd(1.0)
    start = create_state(model, optimizer, whole(batch()), seed=0, ema=True)
    step = jax.jit(make_train_step(model, optimizer, TrainConfig(ema_decay=0.9)))
    one, _ = step(start, whole(batch()))
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, start.params, one.params)  # (1 + 0) / (10 + 0)
    assert largest_difference(one.ema, expected) < 1e-6
    late = one.replace(step=jnp.int32(1000))
    two, _ = step(late, whole(batch()))
    expected = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, one.ema, two.params)
    assert largest_difference(two.ema, expected) < 1e-6
    with pytest.raises(InputError, match="ema_decay is 1.0; it lies between"):
        make_train_step(model, optimizer, TrainConfig(ema_decay=1.0))


@pytest.mark.usefixtures("standard_promotion")
def test_frozen_parts_stay_and_the_others_move() -> None:
    model, freeze = tiny_model(), ("query_encoder", "decoder/entry")
    config = get_config().optimizer
    config.update(weight_decay=0.5, clip_norm=1.0, learning_rate=1e-2, schedule="constant", warmup_steps=0)
    optimizer = create_optimizer(config, create_schedule(config, Length(1, 1, 1)), freeze=freeze)
    start = create_state(model, optimizer, whole(batch()), seed=0)
    after, _ = jax.jit(make_train_step(model, optimizer, TrainConfig(freeze=freeze)))(start, whole(batch()))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), start.params, after.params)
    assert not any(jax.tree.leaves(moved["query_encoder"]))
    assert not any(jax.tree.leaves(moved["decoder"]["entry"]))
    assert all(jax.tree.leaves(moved["decoder"]["entry_block"]))  # its name only begins alike
    assert all(jax.tree.leaves(moved["reference_encoder"]))
    with pytest.raises(InputError, match="no parameter is below 'encoder'; the parts are .*decoder"):
        frozen_parameters(start.params, ["encoder"])


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow  # a minute of compiling
def test_bf16_compute_keeps_f32_parameters_and_about_the_same_loss() -> None:
    losses = []
    for dtype in ("float32", "bfloat16"):
        model, optimizer = tiny_model(dtype=dtype), optax.sgd(0.1)
        start = create_state(model, optimizer, whole(batch()), seed=0)
        after, metrics = jax.jit(make_train_step(model, optimizer))(start, whole(batch()))
        assert {x.dtype for x in jax.tree.leaves(after.params)} == {jnp.dtype("float32")}
        assert {x.dtype for x in jax.tree.leaves(metrics)} == {jnp.dtype("float32")}
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_a_compiled_step_goes_on_from_its_own_output_and_refuses_other_shapes() -> None:
    model, optimizer, clips = tiny_model(), optax.sgd(0.1), batch(b=4)
    start = create_state(model, optimizer, whole(batch()), seed=0)
    step = make_train_step(model, optimizer, axis_name=AXIS)
    state, split = replicate(start, 2), split_batch(clips, 2)
    compiled = compile_step(step, state, split)
    before = COMPILES.count
    for _ in range(3):
        state, _ = compiled(state, split)
    assert COMPILES.count == before
    expected = replicate(start, 2)
    for _ in range(3):
        expected, _ = parallel_step(step)(expected, split)
    assert largest_difference(unreplicate(state).params, unreplicate(expected).params) < 1e-6
    with pytest.raises(TypeError):
        compiled(state, split_batch(batch(), 2))


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
    after, metrics = jax.jit(make_train_step(model, optimizer, TrainConfig(memory="sequential")))(start, whole(batch()))
    assert np.isfinite(float(metrics["loss"]))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()) > 0, start.params, after.params)
    still = [jax.tree_util.keystr(path) for path, yes in jax.tree_util.tree_leaves_with_path(moved) if not yes]
    assert not still


def test_hints_and_motions_are_drawn_alike_however_a_batch_is_split() -> None:
    """Half of the frames get no motion prior, each clip a warped frame: by seed, step and clip, not devices and micro-batches."""
    model, optimizer, clips = tiny_model(motion_prior=True), optax.sgd(1.0), batch(b=4, t=2)
    start = create_state(model, optimizer, whole(clips), seed=0)

    def step_with(*, axis_name: str | None = None, **options: Any) -> Any:
        return make_train_step(model, optimizer, TrainConfig(memory="sequential", **options), axis_name=axis_name)

    drawn = {"prior_dropout": 0.5, "motion_weight": 0.5, "seed": 3}
    one = jax.jit(step_with(**drawn))
    expected, metrics = one(start, whole(clips))
    expected = expected.params
    split = parallel_step(step_with(**drawn, accumulate=2, axis_name=AXIS))
    parts, shares = split(replicate(start, 2), split_batch(clips, 2))
    # Sums of four clips are rounded otherwise than those of two twice: 1e-6 on some processors. Other draws differ by 0.8.
    assert largest_difference(jax.device_get(expected), unreplicate(parts).params) < 5e-6
    assert set(metrics) == {"loss", "loss_bsce", "loss_iou", "loss_motion", "loss_moved_labels", "grad_norm"}
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(shares[name][0]), rel=1e-5), name
    assert float(metrics["loss"]) == pytest.approx(
        float(
            metrics["loss_bsce"] + metrics["loss_iou"] + metrics["loss_motion"] / 6 + metrics["loss_moved_labels"] / 2
        )
    )
    later = one(start.replace(step=jnp.int32(5)), whole(clips))[0].params
    assert largest_difference(expected, later) > 1e-4  # other frames
    with pytest.raises(InputError, match="prior_dropout is 1.0; it is a share"):
        step_with(prior_dropout=1.0)
    with pytest.raises(InputError, match="prior_dropout needs a motion prior"):
        make_train_step(tiny_model(), optimizer, TrainConfig(prior_dropout=0.5))


def test_the_share_of_hardest_pixels_may_follow_the_step() -> None:
    model, optimizer = tiny_model(), optax.sgd(0.0)
    state = create_state(model, optimizer, whole(batch()), seed=0)

    def losses(**options: Any) -> list[float]:
        """Of step 0 and step 1 with the same parameters."""
        step = make_train_step(model, optimizer, TrainConfig(**options))
        loss = jax.jit(lambda *inputs: step(*inputs)[1]["loss_bsce"])  # alone: no gradient is compiled
        return [float(loss(state.replace(step=jnp.int32(k)), whole(batch()))) for k in (0, 1)]

    of_all, of_hardest = losses(bootstrap_fraction=0.1, bootstrap_warmup_steps=1)
    assert losses(bootstrap_fraction=1.0) == pytest.approx([of_all, of_all])
    assert of_hardest > 1.05 * of_all


def test_choices_that_do_not_exist_are_named() -> None:
    model: MUNet = tiny_model()
    with pytest.raises(InputError, match="config.train.loss is 'focal'.*bsce_iou"):
        make_train_step(model, optax.sgd(0.1), ConfigDict(dataclasses.asdict(TrainConfig()) | {"loss": "focal"}))
    with pytest.raises(InputError, match="config.train.memory"):
        make_train_step(model, optax.sgd(0.1), ConfigDict(dataclasses.asdict(TrainConfig()) | {"memory": "all"}))
    with pytest.raises(InputError, match="motion_prior needs"):
        make_train_step(tiny_model(motion_prior=True), optax.sgd(0.1))
    with pytest.raises(InputError, match="motion_prior.*softargmax"):
        tiny_model(motion_prior=True, mu_layer__matching="softargmin")
    with pytest.raises(InputError, match="motion_weight is 1.0 with .*matching 'softargmin'; give 0 or more"):
        make_train_step(tiny_model(mu_layer__matching="softargmin"), optax.sgd(0.1), TrainConfig(motion_weight=1.0))
    with pytest.raises(InputError, match="motion_weight is -1.0"):
        make_train_step(model, optax.sgd(0.1), TrainConfig(motion_weight=-1.0))
    with pytest.raises(InputError, match="config.model.fusion is 'sum'"):
        tiny_model(fusion="sum")


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    check_batch_size(4, 2)
    with pytest.raises(InputError, match="batch_size is 3.*multiple of 2, or use fewer devices .*CUDA_VISIBLE_DEVICES"):
        check_batch_size(3, 2)
    check_batch_size(8, 2, 4)
    with pytest.raises(InputError, match="batch_size is 4.*2 devices in 4 micro-batches each.*multiple of 8"):
        check_batch_size(4, 2, 4)
    with pytest.raises(InputError, match="accumulate is 0"):
        check_batch_size(4, 2, 0)
