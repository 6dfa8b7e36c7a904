"""Train MUNet: python train.py --config configs/quickstart.py --workdir runs/quickstart."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "One of configs/*.py.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and results go; a run there is continued.")
DATA_ROOT = flags.DEFINE_string(
    "data_root", None, "The data set's folder, as it was unpacked; of a mix, the folder of its sets."
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where SLURM or a TPU pod do not tell.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process's number, from 0; with --coordinator.")
PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "The number of processes; with --coordinator.")


def main(_: list[str]) -> None:
    """Train, then score where the config asks for it."""
    from munet_jax.commands.scripts import read_config
    from munet_jax.evaluation.run import evaluate
    from munet_jax.runtime.malloc import tune_malloc
    from munet_jax.training.distributed import is_writer, start
    from munet_jax.training.loop import train

    tune_malloc()
    start(COORDINATOR.value, PROCESS_ID.value, PROCESS_COUNT.value)
    config, workdir = read_config(CONFIG, DATA_ROOT.value), Path(WORKDIR.value)
    train(config, workdir)
    if config.evaluation.after_training and is_writer():
        evaluate(config, workdir)


if __name__ == "__main__":
    from munet_jax.commands.scripts import run

    flags.mark_flags_as_required(["config", "workdir"])
    run(main)
