"""Several processes, one run: how they find each other, what they agree on, and who writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.shutdown import StopFlag


def start(coordinator: str | None = None, process_id: int | None = None, process_count: int | None = None) -> None:
    """Join the other processes of a run; does nothing where this is the only one. Call it before anything asks for devices.

    Args:
      coordinator: 'host:port' of process 0. None: as SLURM or the TPU pod says, if this runs in one.
      process_id: of this process, from 0; with a coordinator.
      process_count: with a coordinator.

    Raises:
      InputError: a coordinator without number and count, or the other way round.
    """
    given = [value is not None for value in (coordinator, process_id, process_count)]
    if any(given) and not all(given):
        raise InputError("--coordinator, --process-id and --process-count belong together; give all three or none")
    if coordinator is not None:
        if not (process_count and 0 <= (process_id or 0) < process_count):
            raise InputError(
                f"--process-id is {process_id}; it lies between 0 and --process-count ({process_count}) - 1"
            )
        jax.distributed.initialize(coordinator, process_count, process_id)
    elif in_cluster(os.environ):
        jax.distributed.initialize()


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether a SLURM step of several tasks or a TPU pod slice of several hosts started this process."""
    slurm = "SLURM_STEP_NODELIST" in environment and environment.get("SLURM_NTASKS", "1") != "1"
    tpu = len(environment.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1
    return slurm or tpu


def is_writer() -> bool:
    """Whether this process writes files; one does."""
    return jax.process_index() == 0


def from_writer(tree: Any) -> Any:
    """The writer's arrays in every process, as numpy arrays; the others give a tree of the same shapes."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


class StopRequest(StopFlag):
    """SIGTERM as a question that the loop asks between steps, so that a run can be pre-empted without losing any.

    With several processes jax's preemption service listens.
    """

    def __init__(self) -> None:
        """Not asked yet."""
        super().__init__(*([signal.SIGTERM] if jax.process_count() == 1 else []))

    def agreed(self, step: int) -> bool:
        """Whether to stop after `step`; the answer is the same in all processes."""
        if jax.process_count() == 1:
            return self.raised
        return multihost_utils.reached_preemption_sync_point(step)
