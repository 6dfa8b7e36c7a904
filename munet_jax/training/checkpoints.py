"""Checkpoints with Orbax: the unreplicated state, and beside it what it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from munet_jax.errors import InputError
from munet_jax.training.step import TrainState

FOLDER = "checkpoints"


def parameter_shapes(params: Any) -> dict[str, str]:
    """'path/of/leaf' -> 'shape dtype': what tells one model from another."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.shape} {x.dtype}" for path, x in leaves}


def has_checkpoint(workdir: Path) -> bool:
    """Whether a run left a checkpoint in `workdir`; creates nothing."""
    return any(path.name.isdecimal() for path in (workdir / FOLDER).glob("*"))


class Checkpoints:
    """The checkpoints of one workdir; the newest `keep` stay.

    A save that is killed half-way leaves the older checkpoints as they were: Orbax writes beside and renames.
    """

    def __init__(self, workdir: Path, *, keep: int = 2) -> None:
        """Open (and create) `workdir`/checkpoints."""
        self.folder = (workdir / FOLDER).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest finished checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Save a host state under its step, unless that step is there already; returns when it is written."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        described = {"parameters": parameter_shapes(state.params)}
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), model=ocp.args.JsonSave(described))
        self._manager.save(step, args=arguments)
        self._manager.wait_until_finished()

    def restore(self, template: TrainState) -> TrainState:
        """The newest state, in the structure of `template` (arrays or shapes).

        Raises:
          InputError: there is no checkpoint, or it is of another model.
        """
        step = self._existing(None)
        self._check_model(template.params, step)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), template)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        return jax.device_get(restored["state"])

    def restore_variables(self, params: Any, step: int | None = None) -> tuple[dict[str, Any], int]:
        """Parameters and statistics of a step (default: the newest), whatever optimizer made them, and the step.

        Of a run that keeps a moving average of its parameters, the average.

        Args:
          params: arrays or shapes of the model that they are for.
          step: which.

        Raises:
          InputError: there is no such checkpoint, or it is of another model.
        """
        step = self._existing(step)
        self._check_model(params, step)
        state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))["state"]
        return {"params": state.get("ema") or state["params"], "batch_stats": state.get("batch_stats") or {}}, step

    def _existing(self, step: int | None) -> int:
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise InputError(f"no checkpoint in {self.folder}; train first: python train.py --config ... --workdir ...")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise InputError(f"no checkpoint of step {step} in {self.folder}; there are {', '.join(map(str, steps))}")
        return step

    def _check_model(self, params: Any, step: int) -> None:
        stored = self._manager.restore(step, args=ocp.args.Composite(model=ocp.args.JsonRestore()))["model"]
        theirs, ours = stored["parameters"], parameter_shapes(params)
        if theirs == ours:
            return
        different = sorted(set(theirs.items()) ^ set(ours.items()))[0][0]
        raise InputError(
            f"checkpoint {self.folder}/{step} is of another model: parameter {different} is "
            f"{theirs.get(different, 'not in it')} there and {ours.get(different, 'not used')} in this config; "
            "use the config that made it, or another --workdir"
        )

    def close(self) -> None:
        """Wait for what is being written and release Orbax's threads."""
        self._manager.close()
