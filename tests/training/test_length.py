"""How long runs are: the same epochs, clips and rates whatever the batch and the number of devices."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import ablation, common, protocol1_davis, protocol3_static
from munet_jax.data.clips import ClipOptions
from munet_jax.data.loader import Part, make_loader
from munet_jax.runtime.errors import InputError
from munet_jax.training.length import Length, run_length
from munet_jax.training.optimizer import create_schedule
from tests.data.trees import memory_source

# Clips of the sets as the paper has them (docs/clips.md), and one that no batch divides.
PROTOCOLS = {
    "protocol1_davis": 697, "protocol1_davis_maskrcnn": 697, "protocol2_davis_youtube": 1450, "protocol3_static": 132_029,
    "protocol31_davis": 697, "protocol32_davis_youtube": 1450, "ablation": 1450,
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_the_same_run_at_batch_one_and_eight(name: str) -> None:
    """The same epochs, and in each of them the same rate, over the whole schedule."""
    rates = {}
    for batch in (1, 8):
        config, clips = importlib.import_module(f"configs.{name}").get_config(), PROTOCOLS[name]
        config.train.batch_size = batch
        assert config.train.steps == 0
        length = run_length(config.train, config.data.epoch_clips or clips)
        epochs = 10 if name == "protocol3_static" else 100
        assert 0 <= length.epoch(length.steps) - epochs < batch / clips
        schedule = create_schedule(config.optimizer, length)
        middles = [int((epoch + 0.5) * clips / batch) for epoch in range(epochs)]
        rates[batch] = [float(schedule(step)) for step in middles]
        assert float(schedule(length.steps - 1)) == pytest.approx(2e-5 / 2 ** ((epochs - 1) // 25))
    assert rates[1] == rates[8]
    assert set(np.round(np.log2(2e-5 / np.array(rates[1])))) == set(range((len(rates[1]) - 1) // 25 + 1))


def test_eight_clips_a_step_are_the_clips_of_eight_steps() -> None:
    """Of every epoch: the loader's order is that of clips, not of steps."""
    source, options = memory_source(), ClipOptions(length=2, size=(8, 8), max_objects=1, min_pixels=1)

    def seen(batch: int, clips: int) -> list[tuple[int, int]]:
        loader = make_loader([Part(source)], options, batch_size=batch, seed=0, threads=0)
        batches = itertools.islice(loader, clips // batch)
        return [(int(v), int(s)) for b in batches for v, s in zip(b["video"], b["start"], strict=True)]

    assert seen(1, 24) == seen(8, 24)


def test_steps_follow_from_epochs_and_may_be_given_instead() -> None:
    train = common.get_config().train

    def length(**changes: float) -> Length:
        return run_length(ConfigDict(train.to_dict() | changes), clips=700)

    assert length() == Length(700, 1, 70_000)
    assert str(length()) == "100 epochs of 700 clips"
    assert length(batch_size=8, epochs=0.5).steps == 44
    assert length(batch_size=7, epochs=3).steps == 300
    given = length(steps=1050)
    assert (given.steps, given.epoch(1050)) == (1050, 1.5)
    assert str(given) == "1.5 epochs of 700 clips (by train.steps, not train.epochs)"


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": -1.0}, {"epochs": float("nan")}, {"steps": -5}])
def test_a_length_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"config.train.{name} is "):
        run_length(ConfigDict(common.get_config().train.to_dict() | wrong), clips=700)


def test_small_forms_keep_their_steps() -> None:
    for config in (
        protocol1_davis.get_config("small"),
        protocol3_static.get_config("small"),
        ablation.get_config("a,small"),
    ):
        assert config.train.steps == 1200
