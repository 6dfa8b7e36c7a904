"""Train MUNet: python train.py --config configs/quickstart.py --workdir runs/quickstart.

Any field of the config is changed by --config.FIELD=VALUE, such as --config.train.steps=500; docs/config.md lists all.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file: one of configs/*.py.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder for checkpoints, logs and results; the run that is there goes on from its newest checkpoint.",
)
DATA_ROOT = flags.DEFINE_string(
    "data-root", None, "Folder that the data set was unpacked into; for a mix, the folder that holds its data sets."
)
DRY_RUN = flags.DEFINE_bool(
    "dry-run", False, "Load data and weights, compile and time a step, print memory, steps and time, and write nothing."
)
PROFILE = flags.DEFINE_bool("profile", False, "Record steps 10 to 13 for TensorBoard and Perfetto, in WORKDIR/profile.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several hosts: HOST:PORT of process 0. SLURM and TPU pods tell it by themselves."
)
PROCESS_ID = flags.DEFINE_integer(
    "process-id", None, "Several hosts, with --coordinator: this process's number, from 0."
)
PROCESS_COUNT = flags.DEFINE_integer("process-count", None, "Several hosts, with --coordinator: number of processes.")


def main(_: list[str]) -> None:
    """Train, then score where the config asks for it."""
    from munet_jax.commands.scripts import exit_code_of, read_config, tell_changes
    from munet_jax.data.sources import create_source
    from munet_jax.evaluation.run import evaluate
    from munet_jax.runtime.devices import require_device
    from munet_jax.runtime.malloc import tune_malloc
    from munet_jax.training.company import together
    from munet_jax.training.distributed import is_writer, start
    from munet_jax.training.dry_run import dry_run
    from munet_jax.training.loop import train

    tune_malloc()
    start(COORDINATOR.value, PROCESS_ID.value, PROCESS_COUNT.value)
    with together(exit_code_of):
        require_device()
        config, workdir, writes = read_config(CONFIG, DATA_ROOT.value), Path(WORKDIR.value), is_writer()
        if writes:
            tell_changes(config, workdir)
        if writes and config.evaluation.after_training:
            create_source(config.evaluation)  # what is missing is told now, not after the last step
        if DRY_RUN.value:
            dry_run(config, workdir)
        else:
            train(config, workdir, profile=PROFILE.value)
    # The others are gone by now: nobody waits for an evaluation, however long it takes.
    if config.evaluation.after_training and writes and not DRY_RUN.value:
        evaluate(config, workdir)


if __name__ == "__main__":
    from munet_jax.commands.scripts import run

    flags.mark_flags_as_required(["config", "workdir"])
    run(main)
