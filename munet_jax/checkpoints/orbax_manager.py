"""Checkpoints with Orbax: the unreplicated state, and beside it what it belongs to and a checksum of every leaf."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from munet_jax.runtime.errors import InputError

FOLDER = "checkpoints"
SCORE = "score"  # of the held-out videos, by which the best checkpoint is kept
NEWEST, BEST = "newest", "best"


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """'path/of/leaf' -> leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def parameter_shapes(params: Any) -> dict[str, str]:
    """'path/of/leaf' -> 'shape dtype': what tells one model from another."""
    return {path: f"{x.shape} {x.dtype}" for path, x in leaves_by_path(params).items()}


def checksums(tree: Any) -> dict[str, int]:
    """'path/of/leaf' -> CRC-32 of its bytes."""
    return {path: zlib.crc32(np.asarray(x).tobytes()) for path, x in leaves_by_path(tree).items()}


def has_checkpoint(workdir: Path) -> bool:
    """Whether a run left a checkpoint in `workdir`; creates nothing."""
    return any(path.name.isdecimal() for path in (workdir / FOLDER).glob("*"))


class Checkpoints:
    """The checkpoints of one workdir: the newest `keep`, and the one with the best score.

    A thread writes, through Orbax, beside, and renames: a save that is killed half-way leaves the older ones as they were.
    """

    def __init__(self, workdir: Path, *, keep: int = 2, scored: bool = True) -> None:
        """Open (and create) `workdir`/checkpoints; `scored` says whether saves come with scores.

        One process of a run opens it: Orbax must not wait for the others.
        """
        self.folder = (workdir / FOLDER).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        best = BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="munet"
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(n=keep), best]),
            best_fn=_score if scored else None,
            create=False,
            enable_async_checkpointing=False,  # the thread is ours: checksums take their time too
            multiprocessing_options=alone,
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: concurrent.futures.Future[None] | None = None

    def latest_step(self) -> int | None:
        """Step of the newest finished checkpoint."""
        return self._manager.latest_step()

    def save(self, state: Any, score: float | None = None) -> None:
        """Begin to save a host state under its step, unless that step is there already; waits for the save before.

        Args:
          state: a training state of numpy arrays with a field `step`, which nobody may change afterwards.
          score: of the held-out videos, higher is better; None where they were not looked at.

        Raises:
          InputError: the save before could not be written.
        """
        self.wait()
        self._writing = self._thread.submit(self._write, state, score)

    def _write(self, state: Any, score: float | None) -> None:
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        described = {"leaves": parameter_shapes(state), "checksums": checksums(state)}
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), model=ocp.args.JsonSave(described))
        try:
            self._check_room(state)
            with _quiet():
                self._manager.save(step, args=arguments, metrics=None if score is None else {SCORE: score})
        except Exception as error:  # whatever Orbax's writers meet on a disk that is full or gone
            raise InputError(
                f"checkpoint {self.folder}/{step} cannot be written ({_reason(error)}); make room or give permission there, "
                "and give the same command again: it goes on from the checkpoint before"
            ) from error

    def _check_room(self, state: Any) -> None:
        """Before Orbax finds out array by array: a checkpoint takes about as much as the state, and something for names."""
        size, free = sum(np.asarray(x).nbytes for x in jax.tree.leaves(state)), shutil.disk_usage(self.folder).free
        if free < size:
            raise OSError(f"No space left on device: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")

    def check(self) -> None:
        """Raise what a save met that is done by now; never waits."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Return when everything is written.

        Raises:
          InputError: it could not be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def restore(self, template: Any) -> Any:
        """The newest state, in the structure of `template` (arrays or shapes).

        Raises:
          InputError: there is no checkpoint, it is of another model or optimizer, or it is damaged.
        """
        step = self._existing(NEWEST)
        described = self.described(step)
        self._check_leaves(described, parameter_shapes(template), step)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), template)
        restored = jax.device_get(self._read(step, state=ocp.args.StandardRestore(abstract))["state"])
        self._verify(described, restored, step)
        return restored

    def restore_variables(self, params: Any, step: int | str = NEWEST) -> tuple[dict[str, Any], int]:
        """Parameters and statistics of a step, whatever optimizer made them, and the step.

        Of a run that keeps a moving average of its parameters, the average.

        Args:
          params: arrays or shapes of the model that they are for; None takes any.
          step: which; or 'newest', or 'best'.

        Raises:
          InputError: there is no such checkpoint, it is of another model, or it is damaged.
        """
        step = self._existing(step)
        described = self.described(step)
        described["leaves"] = {path: x for path, x in described["leaves"].items() if path.startswith("params/")}
        if params is not None:
            self._check_leaves(described, parameter_shapes({"params": params}), step)
        state = self._read(step, state=ocp.args.StandardRestore())["state"]
        stored = {name: jax.device_get(state.get(name) or {}) for name in ("params", "batch_stats", "ema")}
        self._verify(described, stored, step)
        return {"params": stored["ema"] or stored["params"], "batch_stats": stored["batch_stats"]}, step

    def _existing(self, step: int | str) -> int:
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise InputError(f"no checkpoint in {self.folder}; train first: python train.py --config ... --workdir ...")
        if step == NEWEST:
            return steps[-1]
        if step == BEST:
            best = self._manager.best_step()
            if best is None:
                raise InputError(f"no checkpoint in {self.folder} has a score; train with config.train.validate_every")
            return best
        if not str(step).isdecimal() or int(step) not in steps:
            there = ", ".join(map(str, steps))
            raise InputError(
                f"no checkpoint of step {step} in {self.folder}; there are {there}, '{NEWEST}' and '{BEST}'"
            )
        return int(step)

    def _read(self, step: int, **items: Any) -> Any:
        try:
            with _quiet():
                return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # whatever Orbax's readers meet in a file that was changed
            raise InputError(self._damaged(step, _reason(error))) from error

    def described(self, step: int) -> dict[str, Any]:
        """What is written beside the state of a step: shapes and dtypes ("leaves") and "checksums", by names."""
        described = self._read(step, model=ocp.args.JsonRestore())["model"]
        if not isinstance(described, dict) or not {"leaves", "checksums"} <= described.keys():
            raise InputError(self._damaged(step, "its description is not whole"))
        return described

    def _check_leaves(self, described: dict[str, Any], ours: dict[str, str], step: int) -> None:
        """Compare names, shapes and dtypes."""
        theirs = described["leaves"]
        if theirs == ours:
            return
        # Another model differs in its parameters and in much that follows from them: name those.
        different = sorted(set(theirs.items()) ^ set(ours.items()), key=lambda item: (item[0][:7] != "params/", item))
        path = different[0][0]
        kind, what = ("model", "parameter") if path.startswith("params/") else ("optimizer or average", "entry")
        raise InputError(
            f"checkpoint {self.folder}/{step} is of another {kind}: {what} {path.removeprefix('params/')} is "
            f"{theirs.get(path, 'not in it')} there and {ours.get(path, 'not used')} in this config; "
            "use the config that made it, or another --workdir"
        )

    def _verify(self, described: dict[str, Any], restored: Any, step: int) -> None:
        """Every byte of every leaf, by its checksum."""
        for path, checksum in checksums(restored).items():
            if described["checksums"].get(path) != checksum:
                raise InputError(self._damaged(step, f"{path} is not what was written"))

    def _damaged(self, step: int, reason: str) -> str:
        return f"checkpoint {self.folder}/{step} is damaged ({reason}); remove that folder to go on from the checkpoint before"

    def close(self) -> None:
        """Wait for what is being written and release all threads; raises as `wait` does."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._manager.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Around Orbax: what goes wrong is the one line that its caller makes of the exception.

    Reads and writes that are under way when it meets a damaged array or a full disk end in threads of tensorstore, some
    after the exception has reached its caller, and each reports to an event loop that Orbax has closed: hundreds of
    tracebacks around the one line that matters. After an error they are kept away for good.
    """
    hook, logger = sys.unraisablehook, logging.getLogger("absl")

    def of_others(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    def without_late_ends(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = without_late_ends
    logger.addFilter(of_others)
    try:
        yield
        sys.unraisablehook = hook
    finally:
        logger.removeFilter(of_others)


def _reason(error: Exception) -> str:
    """The first line of what a library says."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _score(metrics: Any) -> float:
    return metrics[SCORE]
