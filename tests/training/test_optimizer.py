"""Schedules by hand, and AdamW's decay on every parameter."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import common
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section
from munet_jax.training.length import Length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.options import OptimizerConfig


def settings(**changes: object) -> ConfigDict:
    config = common.get_config().optimizer
    config.update(changes)
    return config


def rate(step: int, **changes: object) -> float:
    """On the host and in a program, where it is the same."""
    schedule = create_schedule(settings(**changes), Length(clips=4, batch_size=1, steps=1000))
    host, device = schedule(step), jax.jit(schedule)(step)
    assert not isinstance(host, jax.Array)
    assert float(host) == pytest.approx(float(device), rel=1e-5, abs=1e-12)
    return float(host)


def test_the_rate_halves_every_25_epochs() -> None:
    assert [rate(step) for step in (0, 99, 100, 199, 200)] == pytest.approx([2e-5, 2e-5, 1e-5, 1e-5, 5e-6])


def test_the_rate_follows_the_batch_only_when_asked() -> None:
    """Configs of before there was a choice hold a bool."""
    for scaled, factor in (("none", 1), ("linear", 8), ("sqrt", 8**0.5), (False, 1), (True, 8)):
        config = ConfigDict(settings().to_dict() | {"scale_lr": scaled})
        check_section("config.optimizer", config, OptimizerConfig)
        assert float(create_schedule(config, Length(4, 8, 10))(0)) == pytest.approx(2e-5 * factor)
    with pytest.raises(InputError, match="scale_lr is 'cubic'; choose one of none, sqrt, linear"):
        create_schedule(settings(scale_lr="cubic"), Length(4, 8, 10))


@pytest.mark.parametrize("given", [{"schedule": "cosine"}, {"schedule": "halving"}])
def test_schedules_equal_optax(given: dict[str, str]) -> None:
    ours = create_schedule(settings(**given, warmup_steps=10), Length(clips=4, batch_size=1, steps=300))
    theirs = (
        optax.warmup_cosine_decay_schedule(0.0, 2e-5, 10, 300)
        if given["schedule"] == "cosine"
        else optax.exponential_decay(2e-5, transition_steps=100, decay_rate=0.5, staircase=True)
    )
    for step in range(10, 301, 7):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-12)


def test_cosine_ends_at_zero_and_constant_stays() -> None:
    assert [rate(step, schedule="cosine") for step in (0, 500, 1000)] == pytest.approx([2e-5, 1e-5, 0.0], abs=1e-9)
    assert rate(999, schedule="constant") == pytest.approx(2e-5)


def test_a_flat_rate_may_fall_in_a_straight_line_at_the_end() -> None:
    rates = [rate(step, schedule="constant", decay_steps=400) for step in (0, 600, 700, 900, 1000)]
    assert rates == pytest.approx([2e-5, 2e-5, 1.5e-5, 0.5e-5, 0.0])
    with pytest.raises(InputError, match="decay_steps is -1; give 0 or more"):
        rate(0, decay_steps=-1)


@pytest.mark.parametrize("schedule", ["halving", "cosine", "constant"])
def test_warm_up_is_linear(schedule: str) -> None:
    rates = [rate(step, schedule=schedule, warmup_steps=10) for step in (0, 5, 10)]
    assert rates == pytest.approx([0.0, 1e-5, 2e-5])


def test_a_warm_up_in_epochs_is_as_long_whatever_the_batch() -> None:
    for batch in (1, 8):
        schedule = create_schedule(settings(warmup_epochs=2.0), Length(clips=100, batch_size=batch, steps=1000))
        rates = [float(schedule(epoch * 100 // batch)) for epoch in (0, 1, 2, 3)]
        assert rates == pytest.approx([0.0, 1e-5, 2e-5, 2e-5], rel=0.05)
    for wrong in ({"warmup_epochs": 1.0, "warmup_steps": 5}, {"warmup_steps": -1}):
        with pytest.raises(InputError, match="warmup_steps is .* and warmup_epochs .*; set one"):
            rate(0, **wrong)
    with pytest.raises(InputError, match="halve_every_epochs is 0; give 1 or more"):
        rate(0, halve_every_epochs=0)


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(InputError, match="config.optimizer.schedule is 'step'"):
        rate(0, schedule="step")


@pytest.mark.usefixtures("standard_promotion")
def test_decay_reaches_biases_too_and_clipping_bounds_the_step() -> None:
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    nothing = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    optimizer = create_optimizer(settings(), lambda _: 0.1)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    for update in updates.values():
        assert jnp.allclose(update, -0.1 * 0.5)  # rate x decay x parameter, the decoupled form
    clipped = create_optimizer(settings(clip_norm=1.0, weight_decay=0.0), lambda _: 0.1)
    huge = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.zeros(2)}
    _, state = clipped.update(huge, clipped.init(params), params)
    assert float(jnp.abs(state[1][0].mu["kernel"]).max()) <= 0.1 + 1e-6  # (1 - beta1) x a gradient of norm 1


@pytest.mark.usefixtures("standard_promotion")
def test_the_encoder_may_learn_slower_and_what_is_frozen_stays() -> None:
    params = {"query_encoder": {"early": jnp.ones(2), "late": jnp.ones(2)}, "decoder": {"kernel": jnp.ones(2)}}
    gradients = jax.tree.map(jnp.ones_like, params)

    def updates(freeze: tuple[str, ...] = (), **changes: object) -> Any:
        optimizer = create_optimizer(settings(**changes), lambda _: 0.1, freeze=freeze)
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    usual = updates()
    slower = updates(encoder_rate=0.25)
    np.testing.assert_allclose(slower["decoder"]["kernel"], usual["decoder"]["kernel"])
    for name in ("early", "late"):
        np.testing.assert_allclose(slower["query_encoder"][name], 0.25 * usual["query_encoder"][name])
    partly = updates(("query_encoder/early",), encoder_rate=0.25)
    assert not partly["query_encoder"]["early"].any()
    np.testing.assert_allclose(partly["query_encoder"]["late"], slower["query_encoder"]["late"])


@pytest.mark.usefixtures("standard_promotion")
def test_any_part_may_have_a_rate_of_its_own() -> None:
    params = {
        "mu_layer": {"reduction": jnp.ones(2), "motion": jnp.ones(2)},
        "mu": jnp.ones(2),
        "query_encoder": jnp.ones(2),
    }
    gradients = jax.tree.map(jnp.ones_like, params)

    def updates(freeze: tuple[str, ...] = (), **changes: object) -> Any:
        optimizer = create_optimizer(settings(**changes), lambda _: 0.1, freeze=freeze)
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    usual = updates()
    rates = (("mu_layer", 10.0), ("mu_layer/motion", 0.5))
    found = updates(rates=rates, encoder_rate=0.25)
    for path, factor in (
        (("mu_layer", "reduction"), 10),
        (("mu_layer", "motion"), 5),
        (("mu",), 1),
        (("query_encoder",), 0.25),
    ):
        one, two = found, usual
        for name in path:
            one, two = one[name], two[name]
        np.testing.assert_allclose(one, factor * two, rtol=1e-6)
    partly = updates(("mu_layer/reduction",), rates=rates)
    assert not partly["mu_layer"]["reduction"].any()
    np.testing.assert_allclose(partly["mu_layer"]["motion"], found["mu_layer"]["motion"])
    with pytest.raises(InputError, match="config.optimizer.rates: no parameter is below 'mu_lay'; the parts are mu"):
        updates(rates=(("mu_lay", 2.0),))
