"""A network that is trained to say what another one says, and gradients that end at predicted masks."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.testing import get_config
from munet_jax.checkpoints.run_export import export_weights
from munet_jax.checkpoints.weight_file import read_weights, write_weights
from munet_jax.losses import kullback_leibler
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from munet_jax.training.loop import train
from munet_jax.training.options import TrainConfig
from munet_jax.training.parallel import AXIS, parallel_step, replicate, split_batch, unreplicate
from munet_jax.training.step import abstract_batch, create_state, create_variables, make_train_step, one_hot_objects
from munet_jax.training.teacher import Teacher, open_teacher
from tests.models.tiny import tiny_model
from tests.training.test_step import batch, largest_difference, whole


def test_the_divergence_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    logits, target = (rng.normal(size=(2, 3, 4, 3)).astype(np.float32) for _ in range(2))
    valid = rng.random((2, 3, 4)) < 0.7
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (target, logits))
    expected = (p * np.log(p / q)).sum(-1)[valid]
    found = kullback_leibler(jnp.asarray(logits), jnp.asarray(target), valid=jnp.asarray(valid))
    assert float(found.total) == pytest.approx(expected.sum(), rel=1e-5)
    assert float(found.entries) == expected.size


def test_a_class_that_is_absent_on_both_sides_does_not_count() -> None:
    logits = jnp.asarray([[[[0.5, -0.5, -1e4]]]])
    valid = jnp.ones((1, 1, 1), bool)
    same = kullback_leibler(logits, logits, valid=valid)
    assert float(same.total) == 0.0
    gradient = jax.grad(lambda x: kullback_leibler(x, jnp.flip(logits[..., :2], -1), valid=valid).total)(
        logits[..., :2]
    )
    assert np.isfinite(gradient).all()
    assert float(gradient[..., 0].squeeze()) > 0  # the target has less of the first


def test_steps_bring_a_network_towards_its_teacher_on_any_number_of_devices() -> None:
    model, clips = tiny_model(), batch(b=4)
    teacher = Teacher(model, jax.device_get(create_variables(model, whole(clips), seed=1)))
    options, optimizer = TrainConfig(teacher="some", teacher_weight=3.0), optax.sgd(0.03)
    start = create_state(model, optimizer, whole(clips), seed=0)
    step = jax.jit(make_train_step(model, optimizer, options, teacher=teacher))
    one, first = step(start, whole(clips))
    assert float(first["loss"]) == pytest.approx(
        float(first["loss_bsce"] + first["loss_iou"] + 3 * first["loss_teacher"]), rel=1e-5
    )
    several, shares = parallel_step(make_train_step(model, optimizer, options, teacher=teacher, axis_name=AXIS))(
        replicate(start, 2), split_batch(clips, 2)
    )
    assert largest_difference(jax.device_get(one.params), unreplicate(several).params) < 1e-6
    assert float(first["loss_teacher"]) == pytest.approx(float(shares["loss_teacher"][0]), rel=1e-5)
    state = one
    for _ in range(4):
        state, later = step(state, whole(clips))
    assert float(later["loss_teacher"]) < 0.9 * float(first["loss_teacher"])
    itself = start.replace(params=jax.tree.map(jnp.asarray, teacher.variables["params"]))
    assert float(step(itself, whole(clips))[1]["loss_teacher"]) < 1e-6


def test_a_truncated_gradient_leaves_the_masks_as_they_are_and_ends_at_them() -> None:
    model, clips = tiny_model(motion_prior=True), whole(batch())
    variables = create_variables(model, clips, seed=0)
    masks = one_hot_objects(clips.labels[:, 0], clips.objects.shape[1])

    def background(variables: Any, frame: Any, truncate: bool) -> Any:
        """How sure the network is of it in one query frame, which had predicted ones before it or not."""
        logits = model.apply(variables, clips.frames, masks, clips.objects, memory="sequential", truncate=truncate)
        return jnp.sum(jax.nn.log_softmax(logits[:, frame])[..., 0]), logits

    run = jax.jit(jax.value_and_grad(background, has_aux=True), static_argnums=2)
    for frame, alike in ((0, True), (1, False)):
        (_, whole_logits), through = run(variables, frame, False)
        (_, logits), cut = run(variables, frame, True)
        np.testing.assert_allclose(whole_logits, logits, atol=1e-5)
        nothing = jax.tree.map(jnp.zeros_like, through)
        assert (largest_difference(through, cut) < 1e-4 * largest_difference(through, nothing)) is alike


@pytest.mark.usefixtures("standard_promotion")
def test_a_run_follows_the_teacher_that_its_config_names(tmp_path: Path) -> None:
    config = get_config()
    config.train.update(steps=1, batch_size=4, teacher=str(tmp_path / "teacher.safetensors"), teacher_weight=2.0)
    with pytest.raises(InputError, match="teacher.safetensors"):
        train(config, tmp_path / "run")
    model, clips = create_model(config.model), abstract_batch(config, 1)
    variables = create_variables(model, clips, seed=5)
    write_weights(Path(config.train.teacher), {"batch_stats": {}} | jax.device_get(variables), config, 3)
    train(config, tmp_path / "run")
    (line,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert line["loss_teacher"] > 0
    expected = line["loss_bsce"] + line["loss_iou"] + 2 * line["loss_teacher"]
    assert line["loss"] == pytest.approx(expected, rel=1e-5)
    export_weights(tmp_path / "run", tmp_path / "taught.safetensors")
    exported = read_weights(tmp_path / "taught.safetensors")[1]
    assert (exported.train.teacher, exported.train.teacher_weight) == ("", 2.0)  # no folder of the run's machine


@pytest.mark.parametrize(
    "fields", [{"teacher": "lite"}, {"teacher_weight": 1.0}, {"teacher": "lite", "teacher_weight": -1.0}]
)
def test_a_teacher_wants_a_weight_and_a_weight_a_teacher(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="config.train.teacher is .* and teacher_weight .*; give both"):
        open_teacher(TrainConfig(**fields))


def test_what_a_step_could_not_follow_is_refused() -> None:
    with pytest.raises(InputError, match="config.train.truncate is True with config.train.memory 'reference'"):
        make_train_step(tiny_model(), optax.sgd(0.1), TrainConfig(truncate=True))
    with pytest.raises(ValueError, match="a weight a teacher"):
        make_train_step(tiny_model(), optax.sgd(0.1), TrainConfig(teacher="some", teacher_weight=1.0))
