"""The pmap wrapper around the pure step: replicate, split, run."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import CPU_OPTIONS
from munet_jax.runtime.prefetch import prefetch
from munet_jax.training.step import Batch, TrainState, TrainStep

AXIS = "batch"
TRAINING_OPTIONS: dict[str, Any] = dict(CPU_OPTIONS)
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # 0.12 does not know this option
    # Steps run faster; frames at inference do not, and those of large networks get slower (docs/performance.md).
    TRAINING_OPTIONS["xla_cpu_use_fusion_emitters"] = False
Waiting = Generator[tuple[dict[str, np.ndarray], Batch], None, None]


def parallel_step(step: TrainStep) -> Any:
    """Run a pure step (made with `axis_name=AXIS`) on all local devices; the old state's memory is given up to the new."""
    return jax.pmap(step, axis_name=AXIS, donate_argnums=0)


def compile_step(step: TrainStep, state: TrainState, batch: Batch) -> Any:
    """`parallel_step`, compiled ahead of time for a replicated state and a batch that is split over the devices.

    The result takes these shapes alone: a run cannot compile its step a second time without noticing. With several
    processes it is compiled at its first call: what pmap compiles ahead refuses one process's part of the arrays.
    """
    if jax.process_count() > 1:
        return parallel_step(step)
    options = TRAINING_OPTIONS if jax.default_backend() == "cpu" else None
    return parallel_step(step).lower(state, batch).compile(options)


def replicate(state: TrainState, devices: int) -> TrainState:
    """One copy of the state on each of the first local devices.

    Through pmap itself: the copies of flax.jax_utils.replicate name their device axis otherwise than pmap's results do,
    and the step would be compiled a second time for its own output.
    """
    copies = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (devices, *np.shape(x))), state)
    return jax.pmap(lambda tree: tree, axis_name=AXIS)(copies)


def unreplicate(state: TrainState) -> TrainState:
    """The first device's copy, on the host.

    Whole shards are copied and then looked into: to take a part of an array that lies on a device is a device program,
    one for each leaf, and each waits its turn behind the steps that were handed over.
    """
    shards = jax.tree.map(lambda x: x.addressable_shards[0].data, state)
    jax.tree.map(lambda x: x.copy_to_host_async(), shards)
    return jax.tree.map(lambda x: np.asarray(x)[0], shards)


def check_batch_size(batch_size: int, devices: int, accumulate: int = 1) -> None:
    """The global batch is split evenly over devices and micro-batches; raises InputError where it cannot be."""
    if accumulate < 1:
        raise InputError(f"config.train.accumulate is {accumulate}; a batch is worked on in at least 1 part")
    parts = devices * accumulate
    if batch_size < 1 or batch_size % parts:
        turns = f" in {accumulate} micro-batches each" if accumulate > 1 else ""
        raise InputError(
            f"config.train.batch_size is {batch_size}, which {devices} devices{turns} cannot share evenly; "
            f"make it a multiple of {parts}, or use fewer devices (GPUs: CUDA_VISIBLE_DEVICES=0,1)"
        )


def split_batch(batch: dict[str, np.ndarray], devices: int) -> Batch:
    """Loader batch [b, ...] -> [devices, b / devices, ...], only what the step takes."""

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])

    return Batch(**{name: split(batch[name]) for name in ("frames", "labels", "valid", "objects")})


def to_devices(batches: Iterator[dict[str, np.ndarray]], devices: int, count: int) -> Waiting:
    """The next `count` batches, each beside what the step takes of it, which a thread has split and copied to the devices.

    A batch that is ready never waits for the one after it.
    """
    sharding = NamedSharding(Mesh(np.array(jax.local_devices()[:devices]), (AXIS,)), PartitionSpec(AXIS))

    def ready() -> Waiting:
        for batch in itertools.islice(batches, count):
            yield batch, jax.device_put(split_batch(batch, devices), sharding)

    return prefetch(ready())
