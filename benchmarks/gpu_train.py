"""A training run in pieces, for a GPU that is lent for minutes: one device, no grain, the state in files below 16 MB.

    python benchmarks/gpu_train.py --config configs/lite.py --out DIR --minutes 9 --data-root DATA [--state DIR]
        [--workers 15] [--config.model.dtype=bfloat16] [--config.FIELD=VALUE ...]

Each call goes on from --state (without it: from what config.train.start names) until the minutes or the steps are over. Then DIR
holds the state (state.json and state.NNN), weights.safetensors (the average, where the run keeps one) and metrics.jsonl with the
lines of this call. Every frame is read once by each worker. Clips are drawn independently, not in shuffled epochs as train.py
does, and depend on the seed and their number alone: a run in pieces is the run in one. Exit code 0: all steps are done; 3: go on.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gpu.clips import Clips, batches
from benchmarks.gpu.pieces import INDEX, load_pieces, save_pieces
from munet_jax.checkpoints.restore import start_variables
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.commands.scripts import read_config, run
from munet_jax.models import create_model
from munet_jax.models.initialisation import pytorch_initialised
from munet_jax.runtime.malloc import tune_malloc
from munet_jax.training.length import run_length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.step import Batch, TrainState, abstract_batch, create_state, make_train_step

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file: one of configs/*.py.", lock_config=True)
OUT = flags.DEFINE_string("out", None, "Folder for the state, the weights and the log.")
STATE = flags.DEFINE_string("state", None, "Folder of the state to go on from.")
DATA_ROOT = flags.DEFINE_string("data-root", None, "Folder that the data set was unpacked into.")
MINUTES = flags.DEFINE_float("minutes", 9.0, "After which the state is saved.")
WORKERS = flags.DEFINE_integer("workers", 0, "Processes that make clips; 0: a thread.")
METRICS, WEIGHTS = "metrics.jsonl", "weights.safetensors"
GO_ON = 3


def first_state(config: ConfigDict, optimizer: Any, out: Path, before: Path | None) -> TrainState:
    """The state of the piece before; without one, as train.py begins a run."""

    def create() -> TrainState:
        model, batch = create_model(config.model), abstract_batch(config, 1)
        return create_state(model, optimizer, batch, config.train.seed, ema=config.train.ema_decay > 0)

    if before is not None:
        return load_pieces(jax.eval_shape(create), before)
    state = create()
    if config.model.initialisation == "pytorch":
        state = state.with_variables(state.variables | {"params": pytorch_initialised(state.params, config.train.seed)})
    variables, start = start_variables(config, state.variables, out)
    print(start, flush=True)
    return state.with_variables(variables)


def go_on(config: ConfigDict, out: Path, before: Path | None, *, minutes: float, workers: int) -> bool:
    """One piece of the run; whether all of it is done.

    Args:
      config: of the run.
      out: gets the state and what it says.
      before: the state of the piece before.
      minutes: from now on, with compilation.
      workers: processes that make clips.
    """
    end = time.monotonic() + 60 * minutes
    length = run_length(config.train, Clips(config).epoch)
    schedule = create_schedule(config.optimizer, length)
    optimizer = create_optimizer(config.optimizer, schedule, freeze=tuple(config.train.freeze))
    state = first_state(config, optimizer, out, before)
    step = jax.jit(make_train_step(create_model(config.model), optimizer, config.train), donate_argnums=0)
    first = number = int(state.step)
    waiting: list[dict[str, Any]] = []
    slowest = 0.0  # seconds of a step, but for the first, which is compiled
    out.mkdir(parents=True, exist_ok=True)
    clips = batches(config, number, workers)
    with (out / METRICS).open("w") as log:
        while number < length.steps and (number == first or time.monotonic() + slowest < end):
            began = time.monotonic()
            state, metrics = step(state, Batch(**next(clips)))
            jax.block_until_ready(waiting[-1:])  # the device has this step to do meanwhile
            waiting.append(metrics)
            number += 1
            if number % config.train.log_every == 0 or number == length.steps:
                log.write(json.dumps({"step": number} | mean_of(waiting)) + "\n")
                print(f"step {number} of {length.steps}: loss {mean_of(waiting)['loss']:.4f}", flush=True)
                waiting.clear()
            slowest = max(slowest, time.monotonic() - began) if number > first + 1 else 0.0
    clips.close()
    state = jax.device_get(state)
    save_pieces(state, out)
    chosen = {"params": state.ema or state.params, "batch_stats": state.batch_stats}
    write_weights(out / WEIGHTS, chosen, config, number)
    print(f"written:  {out / INDEX}, step {number} of {length.steps}", flush=True)
    return number == length.steps


def mean_of(waiting: list[dict[str, Any]]) -> dict[str, float]:
    """Of the metrics since the last line."""
    return {name: float(np.mean([metrics[name] for metrics in waiting])) for name in waiting[0]}


def main(_: list[str]) -> int:
    """Train a piece."""
    tune_malloc()
    config = read_config(CONFIG, DATA_ROOT.value)
    before = None if STATE.value is None else Path(STATE.value)
    done = go_on(config, Path(OUT.value), before, minutes=MINUTES.value, workers=WORKERS.value)
    return 0 if done else GO_ON


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "out"])
    run(main)
