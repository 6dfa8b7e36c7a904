"""Segment a split with a trained MUNet and score it: python evaluate.py --config configs/X.py --workdir DIR.

Any field of the config is changed by --config.FIELD=VALUE, such as --config.inference.flip=True; docs/config.md lists all.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file: one of configs/*.py.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training run to evaluate; with --weights any folder.")
FOLDER = flags.DEFINE_string(
    "folder",
    "evaluation",
    "Results subfolder of --workdir; results of other checkpoints, configs and splits are deleted.",
)
DATA_ROOT = flags.DEFINE_string("data-root", None, "Folder that the data set was unpacked into.")
STEP = flags.DEFINE_string("step", "newest", "Checkpoint: a step, 'newest', or 'best' (on the held-out videos).")
WEIGHTS = flags.DEFINE_string(
    "weights", "", "Weights instead of a checkpoint: 'lite', which comes with the package, or a file."
)
ZIP = flags.DEFINE_bool("zip", False, "Pack the masks for the benchmark's server, and verify the zip.")
REPORT = flags.DEFINE_bool("report", False, "Draw figures and a page of all videos (extra 'report').")
AGAIN = flags.DEFINE_bool(
    "again", False, "Segment all videos again, also those that are finished with the same checkpoint and config."
)


def main(_: list[str]) -> None:
    """Evaluate the split that the config names."""
    from munet_jax.commands.scripts import read_config
    from munet_jax.evaluation.run import evaluate
    from munet_jax.report.make import draw_evaluation, require_libraries
    from munet_jax.runtime.devices import require_device
    from munet_jax.runtime.malloc import tune_malloc

    if REPORT.value:
        require_libraries()  # before the evaluation begins
    tune_malloc()
    require_device()
    config = read_config(CONFIG, DATA_ROOT.value, training=False)
    evaluate(
        config,
        Path(WORKDIR.value),
        step=STEP.value,
        weights=WEIGHTS.value,
        folder=FOLDER.value,
        submission=ZIP.value,
        report=draw_evaluation if REPORT.value else None,
        again=AGAIN.value,
    )


if __name__ == "__main__":
    from munet_jax.commands.scripts import run

    flags.mark_flags_as_required(["config", "workdir"])
    run(main)
