"""Between steps nothing waits for the devices: the watch, the log, checkpoints, the batches on their way."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import testing
from munet_jax.checkpoints.orbax_manager import Checkpoints
from munet_jax.data.loader import Part
from munet_jax.data.sources import create_parts
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.training import loop, setup
from munet_jax.training.length import Length
from munet_jax.training.parallel import compile_step, replicate, to_devices, unreplicate
from munet_jax.training.setup import Setup
from munet_jax.training.step import TrainState
from munet_jax.training.watch import LossWatch
from tests.data.trees import memory_source

DEVICES = 2
SECONDS = 0.3  # of a step; long beside what the host does
CLIPS = {name: np.zeros((DEVICES, 1), np.uint8) for name in ("frames", "labels", "valid", "objects")}
CLIPS |= {name: np.zeros(DEVICES, np.int32) for name in ("part", "video", "start", "skipped")}


def busy_step(turns: int) -> Any:
    """A step of so many products of matrices that changes every leaf of its state."""

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        del batch
        square = jnp.full((300, 300), 1e-3, jnp.float32) * jnp.float32(1.0 + 1e-6 * state.params["a"][0])
        last = jax.lax.fori_loop(0, turns, lambda _, x: (x @ square) * 0.5 + square, square)
        params = jax.tree.map(lambda x: x + 1e-3 * last[0, 0], state.params)
        return state.replace(step=state.step + 1, params=params), {"loss": jnp.abs(last[0, 0]), "grad_norm": last[0, 1]}

    return step


def host_state() -> TrainState:
    params = {"a": np.ones(3, np.float32), "b": np.ones((200, 50), np.float32)}
    return TrainState(np.int32(0), params, {}, {})


@pytest.fixture(scope="module")
def turns() -> int:
    """How many make a step of about SECONDS on this machine now."""
    state, (_, batch) = replicate(host_state(), DEVICES), next(to_devices(iter([CLIPS]), DEVICES, 1))
    compiled = compile_step(busy_step(200), state, batch)
    state, _ = jax.block_until_ready(compiled(state, batch))
    start = time.perf_counter()
    jax.block_until_ready(compiled(state, batch))
    return int(200 * SECONDS / (time.perf_counter() - start))


@pytest.fixture(scope="module")
def compiled(turns: int) -> Any:
    return compile_step(busy_step(turns), replicate(host_state(), DEVICES), first_batch())


def first_batch() -> Any:
    return next(to_devices(iter([CLIPS]), DEVICES, 1))[1]


def test_the_watch_looks_at_a_step_while_newer_ones_run(compiled: Any, tmp_path: Path) -> None:
    state, batch = replicate(host_state(), DEVICES), first_batch()
    state, _ = jax.block_until_ready(compiled(state, batch))
    watch, ready, returned, start = LossWatch([Part(memory_source())], tmp_path), [], [], time.perf_counter()
    for number in range(1, 5):
        state, metrics = compiled(state, batch)
        done = watch.add(number, metrics, CLIPS)
        returned.append(time.perf_counter() - start)
        ready.append(metrics["loss"].is_ready())
        assert [step.number for step in done] == ([number - 2] if number > 2 else [])
    whole = (jax.block_until_ready(state), time.perf_counter() - start)[1]
    print(f"\nreturned after {np.round(returned, 2)} s; four steps take {whole:.2f} s")
    assert ready == [False] * 4
    assert max(returned[:2]) < 0.25 * whole
    assert returned[3] < 0.75 * whole


def test_the_state_comes_to_the_host_without_a_program() -> None:
    state = jax.block_until_ready(replicate(host_state(), DEVICES))
    before = COMPILES.count
    copy = unreplicate(state)
    assert COMPILES.count == before
    jax.tree.map(np.testing.assert_array_equal, copy, host_state())


def test_a_copy_of_the_state_stays_as_it_was_when_the_state_is_given_up(compiled: Any) -> None:
    state, batch = replicate(host_state(), DEVICES), first_batch()
    copy = unreplicate(state)
    for _ in range(2):
        state, _ = compiled(state, batch)
    jax.block_until_ready(state)
    jax.tree.map(np.testing.assert_array_equal, copy, host_state())
    assert unreplicate(state).params["a"][0] > 1


def test_a_batch_that_is_ready_does_not_wait_for_the_next() -> None:
    free, asked = threading.Event(), threading.Event()

    def slow() -> Iterator[dict[str, np.ndarray]]:
        yield CLIPS
        asked.set()
        free.wait(60)
        yield CLIPS

    waiting = to_devices(slow(), DEVICES, 2)
    clips, batch = next(waiting)
    assert clips is CLIPS
    assert batch.frames.shape == (DEVICES, 1, 1)
    assert asked.wait(60)  # the next one is on its way
    free.set()
    assert len(list(waiting)) == 1


class Handover:
    """A compiled step that notes whether the step before it was done when it was called."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._loss = compiled, None
        self.idle: list[bool] = []

    def __call__(self, state: TrainState, batch: Any) -> Any:
        self.idle.append(self._loss is None or self._loss.is_ready())
        state, metrics = self._compiled(state, batch)
        self._loss = metrics["loss"]
        return state, metrics


def test_a_run_waits_only_where_it_saves(compiled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The devices get their next step while they are at one; after a save they get it before the save is written."""
    config = testing.get_config()
    config.train.update(log_every=1, checkpoint_every=5)
    handover, written = Handover(compiled), threading.Event()
    monkeypatch.setattr(loop, "compile_step", lambda *_: handover)
    monkeypatch.setattr(jax, "local_device_count", lambda: DEVICES)
    write = Checkpoints._write

    def slow(self: Checkpoints, state: Any, score: float | None) -> None:
        if int(state.step) == 5:
            while len(handover.idle) < 8:
                time.sleep(0.01)
        write(self, state, score)
        written.set()

    monkeypatch.setattr(Checkpoints, "_write", slow)
    checkpoints = Checkpoints(tmp_path)
    parts = create_parts(config.data)
    length, step = Length(40, DEVICES, 10), busy_step(1)
    run = loop.Run(Setup(config, tmp_path, parts, length, lambda _: 1e-3, None, step, None), None, checkpoints)
    try:
        state = run.go(replicate(host_state(), DEVICES), 0, itertools.repeat(CLIPS))
    finally:
        checkpoints.close()
    assert int(state.step) == 10
    assert {number for number, idle in enumerate(handover.idle) if idle} <= {0, 5}  # there was nothing to do before
    assert len(handover.idle) == 10
    assert written.is_set()
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [5, 10]


def test_every_device_holds_the_same_and_no_first_state_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real network's state, from after the first step."""
    config = testing.get_config()
    config.train.update(steps=3, checkpoint_every=3, batch_size=DEVICES)
    monkeypatch.setattr(jax, "local_device_count", lambda: DEVICES)
    monkeypatch.setattr(jax, "device_count", lambda: DEVICES)
    before, held = buffers(), []

    class Looking(LossWatch):
        def add(self, *arguments: Any) -> Any:
            done = super().add(*arguments)
            new = {at: size for at, size in buffers().items() if at not in before}
            held.append([sum(size for (own, _), size in new.items() if own == number) for number in range(DEVICES)])
            return done

    def quick(state: TrainState, batch: Any) -> Any:
        del batch
        changed = jax.tree.map(lambda x: x + jnp.ones_like(x), state)
        return changed, dict.fromkeys(("loss", "grad_norm"), jnp.float32(1))

    monkeypatch.setattr(loop, "LossWatch", Looking)
    monkeypatch.setattr(setup, "make_train_step", lambda *_, **__: quick)
    state = loop.train(config, tmp_path)
    size = sum(np.asarray(x).nbytes for x in jax.tree.leaves(state))
    assert len(held) == 3
    for one, other in held:
        assert one == pytest.approx(other, rel=0.01)
        assert size < one < 1.5 * size


def buffers() -> dict[tuple[int, int], int]:
    """(device, address) -> bytes of what jax's arrays hold; several may hold the same."""
    shards = [shard.data for array in jax.live_arrays() for shard in array.addressable_shards]
    return {(x.devices().pop().id, x.unsafe_buffer_pointer()): x.nbytes for x in shards}


def test_a_save_returns_at_once_and_its_failure_is_told_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, free = Checkpoints(tmp_path), threading.Event()

    def full(*_: Any, **__: Any) -> None:
        free.wait(60)
        raise OSError(28, "No space left on device")

    try:
        checkpoints.save(host_state())
        checkpoints.wait()
        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(host_state().replace(step=np.int32(1)))
        checkpoints.check()  # under way: nothing to tell yet
        free.set()
        with pytest.raises(InputError, match=r"checkpoints/1 cannot be written \(.*No space left.*make room"):
            checkpoints.wait()
        assert checkpoints.latest_step() == 0
        checkpoints.check()  # told once
    finally:
        checkpoints.close()
