"""`munet score`, `munet compare`, `munet check-zip`: masks of any method, without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munet_jax.commands.problems import EXIT_PROBLEMS, tell
from munet_jax.commands.scripts import add_data_root, parse_config
from munet_jax.evaluation.protocols import PROTOCOLS, YOUTUBE_VOS
from munet_jax.runtime.atomic_files import writing_to
from munet_jax.runtime.errors import InputError

if TYPE_CHECKING:
    from munet_jax.evaluation.method_scores import MethodScores


def add(commands: Any) -> None:
    """The commands' options."""
    score = commands.add_parser("score", help="J and F of a method's masks, equal to the official tools' figures")
    add_truth(score)
    score.add_argument(
        "--results", type=Path, required=True, metavar="DIR", help="a method's label maps, one folder per sequence"
    )
    score.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for results.json and objects.csv (default: that of --results)"
    )
    score.add_argument(
        "--per-frame", action="store_true", help="also write J and F of every frame, to frames.csv and results.json"
    )
    score.set_defaults(run=run_score, takes_config=False)

    compare = commands.add_parser("compare", help="differences of evaluations per object, and whether they are noise")
    compare.add_argument(
        "runs",
        nargs="+",
        metavar="[NAME=]PATH",
        help="results.json files or folders with one; the first is the baseline",
    )
    compare.add_argument("--metric", default="J&F", help="J&F, J, F, J_recall, ... (default: J&F)")
    compare.add_argument(
        "--samples", type=int, default=10_000, metavar="N", help="resamplings of the bootstrap (default: 10000)"
    )
    compare.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap (default: 0)")
    compare.add_argument("--brief", action="store_true", help="print no line per object")
    compare.add_argument("--json", type=Path, metavar="FILE", help="also write the comparison as JSON")
    compare.set_defaults(run=run_compared, takes_config=False)

    check = commands.add_parser(
        "check-zip", help="say what is wrong with a submission; --config.FIELD=VALUE as in evaluate.py"
    )
    check.add_argument("zip", type=Path, metavar="FILE", help="the zip to look at, of any method")
    check.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="config file: one of configs/*.py; its section 'evaluation' names the split",
    )
    add_data_root(check)
    check.set_defaults(run=run_check_zip, takes_config=True)


def add_truth(parser: argparse.ArgumentParser) -> None:
    """What is scored, and how."""
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="DIR", help="one folder of label maps per sequence"
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True, help="which objects and frames count")
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="sequences to score, one name per line (default: all)"
    )
    parser.add_argument(
        "--meta", type=Path, metavar="FILE", help="YouTube-VOS: meta.json (default: beside the annotations)"
    )
    parser.add_argument(
        "--train-meta",
        type=Path,
        metavar="FILE",
        help="YouTube-VOS: the training set's meta.json, which says what categories were seen",
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processes that score at the same time (default: 1)"
    )


def run_score(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet score`."""
    from munet_jax.evaluation.method_scores import table, write_scores

    folder = options.out or options.results
    if not options.results.is_dir():
        raise InputError(f"{options.results}: there is no such folder")
    with writing_to(folder):  # not after all the work
        pass
    scored = score_folder(options, options.results)
    if scored.problems:
        return tell(scored.problems)
    paths = write_scores(folder, scored, per_frame=options.per_frame)
    print(table(scored.results))
    for path in paths:
        print(f"written:  {path}")
    return EXIT_PROBLEMS if scored.extra else 0


def score_folder(options: argparse.Namespace, folder: Path) -> MethodScores:
    """The scores of one method, by the options of `add_truth`; what is extra, and notes, on stderr."""
    from munet_jax.data.davis import video_names
    from munet_jax.evaluation.method_scores import score_method

    if options.protocol != YOUTUBE_VOS.name and (options.meta or options.train_meta):
        raise InputError(f"--meta and --train-meta are of {YOUTUBE_VOS.name}; leave them out, or choose that protocol")
    scored = score_method(
        options.annotations,
        folder,
        PROTOCOLS[options.protocol],
        listed=None if options.list is None else video_names(options.list),
        meta=options.meta,
        train_meta=options.train_meta,
        processes=options.processes,
    )
    for line in scored.extra:
        print(f"extra: {line}", file=sys.stderr)
    if scored.extra and not scored.problems:
        print("what is listed as extra belongs to nothing and was not scored", file=sys.stderr)
    for note in scored.notes:
        print(f"note: {note}", file=sys.stderr)
    return scored


def run_compared(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet compare`."""
    from munet_jax.evaluation.compare import run_compare

    return run_compare(
        options.runs,
        metric=options.metric,
        samples=options.samples,
        seed=options.seed,
        json_path=options.json,
        objects=not options.brief,
    )


def run_check_zip(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """`munet check-zip`."""
    from munet_jax.evaluation.submission import layout_of, verify_submission

    layout = layout_of(parse_config(options.config, rest, options.data_root).evaluation)
    print(f"{options.zip}: as a submission to {layout.source.name}")
    return tell(verify_submission(layout, options.zip))
