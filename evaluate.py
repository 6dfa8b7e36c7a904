"""Segment a split with a trained MUNet and score it: python evaluate.py --config configs/X.py --workdir DIR."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "One of configs/*.py.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "The training run to evaluate; with --weights any folder.")
FOLDER = flags.DEFINE_string(
    "folder", "evaluation", "Of the workdir, for the results; what is there of other ones goes."
)
DATA_ROOT = flags.DEFINE_string("data_root", None, "The data set's folder, as it was unpacked.")
STEP = flags.DEFINE_string(
    "step", "newest", "The checkpoint to take: a step, 'newest', or 'best' (on the held-out videos)."
)
WEIGHTS = flags.DEFINE_string(
    "weights", "", "Weights to take in place of a checkpoint: 'lite', which comes with the package, or a file."
)
ZIP = flags.DEFINE_bool("zip", False, "Pack the masks as the benchmark's server takes them, and verify the zip.")
REPORT = flags.DEFINE_bool("report", False, "Draw figures and a page to look through (extra 'report').")
AGAIN = flags.DEFINE_bool(
    "again", False, "Segment videos again that an earlier call with the same checkpoint and config finished."
)


def main(_: list[str]) -> None:
    """Evaluate the split that the config names."""
    from munet_jax.commands.scripts import read_config
    from munet_jax.evaluation.run import evaluate
    from munet_jax.report.of_evaluation import report_drawer
    from munet_jax.runtime.malloc import tune_malloc

    tune_malloc()
    config = read_config(CONFIG, DATA_ROOT.value, training=False)
    evaluate(
        config,
        Path(WORKDIR.value),
        step=STEP.value,
        weights=WEIGHTS.value,
        folder=FOLDER.value,
        submission=ZIP.value,
        report=report_drawer() if REPORT.value else None,
        again=AGAIN.value,
    )


if __name__ == "__main__":
    from munet_jax.commands.scripts import run

    flags.mark_flags_as_required(["config", "workdir"])
    run(main)
