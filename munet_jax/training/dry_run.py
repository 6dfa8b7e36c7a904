"""`train.py --dry-run`: what a run would take, without leaving anything."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import has_checkpoint
from munet_jax.runtime.errors import InputError
from munet_jax.training.distributed import from_writer, is_writer
from munet_jax.training.logs import describe_run, memory_gb, readable_time
from munet_jax.training.loop import open_checkpoints
from munet_jax.training.parallel import compile_step, replicate, to_devices
from munet_jax.training.setup import check_not_past, first_state, open_batches, set_up

TIMED_STEPS = 3  # after one that warms up


def dry_run(config: ConfigDict, workdir: Path) -> None:
    """Load data and weights, compile the step and time it, and print memory, steps, epochs and time.

    Every process of a run calls it. Nothing is written; a checkpoint in `workdir` is gone on from as a run would.

    Raises:
      InputError: as `train`; or the loss is not a number.
    """
    setup = set_up(config, workdir)
    state, start = first_state(setup)
    if is_writer() and has_checkpoint(workdir):
        checkpoints = open_checkpoints(setup)
        try:
            state = checkpoints.restore(state)
        finally:
            checkpoints.close()
    state = from_writer(state)
    check_not_past(setup, int(state.step))
    first, devices = int(state.step), jax.local_device_count()
    replicas = replicate(state, devices)
    del state
    if start is not None:
        tell(describe_run(config, setup.parts, replicas, first, setup.length))
        tell(str(start))
    seconds, compiled = [], None
    for _, batch in to_devices(open_batches(setup, first), devices, 1 + TIMED_STEPS):
        if compiled is None:
            before = time.monotonic()
            compiled = compile_step(setup.step, replicas, batch)
            tell(f"compiled in {time.monotonic() - before:.0f} s{program_memory(compiled)}")
        start_time = time.monotonic()
        replicas, metrics = jax.block_until_ready(compiled(replicas, batch))
        seconds.append(time.monotonic() - start_time)
    loss = float(jax.device_get(metrics["loss"].addressable_shards[0].data)[0])
    if loss != loss:
        raise InputError("the loss of the dry run is nan; lower config.optimizer.learning_rate, or set clip_norm")
    step, left = statistics.median(seconds[1:]), setup.length.steps - first
    tell(f"loss {loss:.3f}; at most {memory_gb():.2f} GB {memory_owner()}")
    tell(
        f"{step:.3g} s a step without waiting for data; {left} steps are left, {readable_time(left * step)}; nothing was written"
    )


def tell(line: str) -> None:
    """Print a line, in one of the processes."""
    if is_writer():
        print(line, file=sys.stderr)


def program_memory(compiled: Any) -> str:
    """What a device needs for a step, as the compiler says; '' where it does not."""
    analysis = compiled.memory_analysis() if hasattr(compiled, "memory_analysis") else None
    if analysis is None:
        return ""
    kept, temporary = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
    return f"; a step needs {kept / 1e9:.2f} GB of state and batch and {temporary / 1e9:.2f} GB of temporaries on each device"


def memory_owner() -> str:
    """Whose memory `memory_gb` is."""
    return "on a device" if jax.local_devices()[0].memory_stats() else "in this process"
