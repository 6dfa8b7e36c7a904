"""A training run: from a config and a workdir to checkpoints and a log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from munet_jax.data.clips import ClipOptions
from munet_jax.data.loader import Part, count_clips, fake_loader, make_loader
from munet_jax.data.sources import create_parts
from munet_jax.data.still_motion import StillMotionConfig
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.files import atomic_path
from munet_jax.models import create_model
from munet_jax.training.checkpoints import Checkpoints
from munet_jax.training.export import CONFIG_FILE
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.parallel import AXIS, check_batch_size, compile_step, replicate, to_devices, unreplicate
from munet_jax.training.restore import start_state
from munet_jax.training.step import TrainState, TrainStep, abstract_batch, create_state, make_train_step

METRICS_FILE = "metrics.jsonl"


def train(config: ConfigDict, workdir: Path) -> TrainState:
    """Train until `config.train.steps`: from the newest checkpoint in `workdir`, else as `start_state` says.

    Args:
      config: a config of configs/.
      workdir: gets config.json, metrics.jsonl and checkpoints/.

    Returns:
      The final state, on the host.

    Raises:
      InputError: something in the config, the data or the workdir is wrong.
    """
    devices = jax.local_device_count()
    check_batch_size(config.train.batch_size, devices, config.train.accumulate)
    parts, options = create_parts(config.data), clip_options(config.data)
    clips = config.data.epoch_clips or count_clips(parts, options, stride=config.data.clip_stride)
    epoch = max(1, clips // config.train.batch_size)
    model = create_model(config.model)
    batch_size, freeze = config.train.batch_size, tuple(config.train.freeze)
    schedule = create_schedule(config.optimizer, steps=config.train.steps, steps_per_epoch=epoch, batch_size=batch_size)
    optimizer = create_optimizer(config.optimizer, schedule, freeze=freeze)
    step = make_train_step(
        model,
        optimizer,
        loss=config.train.loss,
        iou_weight=config.train.iou_weight,
        fraction=bootstrap_schedule(config),
        memory=config.train.memory,
        accumulate=config.train.accumulate,
        ema_decay=config.train.ema_decay,
        freeze=freeze,
        axis_name=AXIS,
    )
    batch = abstract_batch(config, batch_size // devices)
    state = create_state(model, optimizer, batch, config.train.seed, ema=config.train.ema_decay > 0)
    state = start_state(config, state, workdir)

    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, keep=config.train.keep_checkpoints)
    try:
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        first = int(state.step)
        write_config(config, workdir)
        batches = make_loader(
            parts,
            options,
            batch_size=config.train.batch_size,
            seed=config.train.seed,
            stride=config.data.clip_stride,
            start_step=first,
            threads=config.data.threads,
            workers=config.data.workers,
            on_error=config.data.on_error,
        )
        if config.data.fake:
            batches = fake_loader(batches)
        with MetricsLog(workdir / METRICS_FILE, first, config.train.steps) as log:
            log.announce(config, parts, state, devices)
            return run_steps(config, step, state, batches, checkpoints, log, devices)
    finally:
        checkpoints.close()


def run_steps(
    config: ConfigDict,
    step: TrainStep,
    state: TrainState,
    batches: Iterator[dict[str, np.ndarray]],
    checkpoints: Checkpoints,
    log: MetricsLog,
    devices: int,
) -> TrainState:
    """The loop itself. The host waits for the device only where it logs or saves."""
    total = config.train.steps
    replicas = replicate(state, devices)
    first = int(state.step) + 1
    waiting = to_devices(log.watch(batches), devices, total + 1 - first)
    compiled = None
    for number in range(first, total + 1):
        batch = next(waiting)
        compiled = compiled or compile_step(step, replicas, batch)
        replicas, metrics = compiled(replicas, batch)
        if number % config.train.log_every == 0 or number == total:
            log.record(number, {name: float(value[0]) for name, value in metrics.items()})
        if number % config.train.checkpoint_every == 0 or number == total:
            state = unreplicate(replicas)
            checkpoints.save(state)
    return state


def clip_options(config: ConfigDict) -> ClipOptions:
    """What `config.data` says about clips."""
    return ClipOptions(
        length=config.clip_length,
        size=tuple(config.size),
        max_objects=config.max_objects,
        augmentation=AugmentationConfig(**config.augmentation),
        still_motion=StillMotionConfig(**config.still_motion),
        max_skip=config.max_skip,
    )


def bootstrap_schedule(config: ConfigDict) -> Any:
    """Share of hardest pixels by step: from all of them down to `bootstrap_fraction` over `bootstrap_warmup` steps."""
    fraction, warmup = config.train.bootstrap_fraction, config.train.bootstrap_warmup
    if not warmup:
        return fraction
    return lambda step: 1.0 - (1.0 - fraction) * jax.numpy.minimum(step / warmup, 1.0)


def write_config(config: ConfigDict, workdir: Path) -> None:
    """Keep the config beside the run, as JSON."""
    with atomic_path(workdir / CONFIG_FILE) as temporary:
        temporary.write_text(config.to_json_best_effort(indent=2, sort_keys=True) + "\n")


class MetricsLog:
    """metrics.jsonl, one line per logged step, and the progress bar."""

    def __init__(self, path: Path, first: int, total: int) -> None:
        """Continue a log after step `first`: later lines (of steps that were lost with a crash) go."""
        self.path, self.first = path, first
        kept = [line for line in read_lines(path) if json.loads(line)["step"] <= first]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a")
        interval = 0.5 if sys.stderr.isatty() else 15.0
        self._bar = tqdm(total=total, initial=first, unit="step", desc="train", mininterval=interval, miniters=1)
        self._last = (time.monotonic(), first)
        self._waited, self._skipped = 0.0, 0

    def __enter__(self) -> MetricsLog:
        """Nothing to open: the file is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close file and bar."""
        self._file.close()
        self._bar.close()

    def announce(self, config: ConfigDict, parts: Sequence[Part], state: TrainState, devices: int) -> None:
        """One line about what runs where."""
        count = sum(x.size for x in jax.tree.leaves(state.params))
        batch = config.train.batch_size
        total = sum(part.weight for part in parts)
        data = " + ".join(f"{part.weight / total:.0%} {part.source.name} ({len(part.source)})" for part in parts)
        tqdm.write(
            f"{count / 1e6:.2f} M parameters, {data}, batch {batch} "
            f"({batch // devices} on each of {devices} {jax.local_devices()[0].platform} devices), "
            f"steps {self.first + 1} to {config.train.steps}",
            file=sys.stderr,
        )

    def watch(self, batches: Iterator[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """The same batches; the time spent waiting for them and the clips that were skipped are logged."""
        while True:
            start = time.monotonic()
            batch = next(batches)
            self._waited += time.monotonic() - start
            self._skipped += int(batch["skipped"].sum())
            yield batch

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write one line and move the bar."""
        now, before = time.monotonic(), self._last
        seconds = max(now - before[0], 1e-9)
        speed = {
            "steps_per_second": round((step - before[1]) / seconds, 3),
            "data_wait": round(self._waited / seconds, 4),
        }
        if self._skipped:
            speed["skipped_clips"] = self._skipped  # since this process began
        self._last, self._waited = (now, step), 0.0
        self._file.write(json.dumps({"step": step, **metrics, **speed}) + "\n")
        self._file.flush()
        self._bar.set_postfix(loss=f"{metrics['loss']:.3f}", refresh=False)
        self._bar.update(step - self._bar.n)


def read_lines(path: Path) -> list[str]:
    """Whole lines of a log; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    *lines, _rest = path.read_text().split("\n")
    return lines
