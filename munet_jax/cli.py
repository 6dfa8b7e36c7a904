"""The command `munet`: one subcommand per thing that a user does with videos and data sets."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.errors import InputError
from munet_jax.scripts import exit_code_of, parse_config

EXIT_PROBLEMS = 1
SHEET_CLIPS = 8
INFERENCE_OPTIONS = (
    ("max_size", int, "short side at which larger frames are worked on"),
    ("memory_capacity", int, "frames in memory"),
    ("memory_interval", int, "every which frame stays in memory"),
    ("adaptive_capacity", int, "memory of the policy 'adaptive', in frames' positions"),
    ("read_chunk", int, "memory positions that are read at a time"),
    ("object_chunk", int, "objects that are decoded at a time"),
    ("max_objects", int, "objects at most"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; an InputError ends in one line on stderr and exit code 2."""
    parser = create_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_config:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return exit_code_of(lambda: options.run(options, rest))


def create_parser() -> argparse.ArgumentParser:
    """All subcommands."""
    parser = argparse.ArgumentParser(prog="munet", description="Motion uncertainty-aware video object segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_segment(commands)

    prepare = commands.add_parser("prepare", help="make a TFDS dataset of an unpacked data set")
    prepare.add_argument("dataset", metavar="DATASET", help="such as munet_davis/2017 (a wrong name lists them all)")
    prepare.add_argument("--source", type=Path, required=True, help="the folder that the data set was unpacked into")
    prepare.add_argument("--data-dir", type=Path, required=True, help="where prepared datasets lie")
    prepare.set_defaults(run=run_prepare, takes_config=False)

    check = commands.add_parser(
        "check-data", help="open every file of a config's data; --config.FIELD=VALUE and --data_root as in train.py"
    )
    check.add_argument("--config", required=True, help="one of configs/*.py")
    check.add_argument("--sheet", type=Path, help="where to draw training clips (.png), if there is no problem")
    check.set_defaults(run=run_check_data, takes_config=True)

    masks = commands.add_parser("check-masks", help="open every label map below a folder")
    masks.add_argument("folder", metavar="DIR", type=Path, help="of label maps, one folder per video")
    masks.add_argument("--frames", type=Path, help="the folder of frames, with the same folders in it")
    masks.set_defaults(run=run_check_masks, takes_config=False)

    convert = commands.add_parser("convert", help="make a backbone of a PyTorch ResNet's weights, or the other way")
    convert.add_argument("source", metavar="SOURCE", type=Path, help="weights: .pth (extra 'convert') or .safetensors")
    convert.add_argument(
        "target", metavar="TARGET", type=Path, help="the file to write: .safetensors, or .pth with --to-pytorch"
    )
    convert.add_argument("--depth", type=int, default=50, help="of the ResNet: 18 or 50 (default)")
    convert.add_argument("--bn-epsilon", type=float, help="of its batch norms, where it is not the layout's own")
    convert.add_argument("--to-pytorch", action="store_true", help="SOURCE is a backbone; write a PyTorch state dict")
    convert.set_defaults(run=run_convert, takes_config=False)

    export = commands.add_parser("export-weights", help="write a run's network and config to one file")
    export.add_argument("workdir", metavar="WORKDIR", type=Path, help="a training run")
    export.add_argument("target", metavar="TARGET", type=Path, help="the file to write, .safetensors")
    export.add_argument("--step", default="newest", help="a step, 'newest' (default) or 'best'")
    export.set_defaults(run=run_export, takes_config=False)

    steps = commands.add_parser("export-steps", help="write the steps of inference as StableHLO, weights inside")
    steps.add_argument("weights", type=Path, metavar="WEIGHTS", help="a file of export-weights, or a training run")
    steps.add_argument("folder", type=Path, metavar="DIR", help="gets the three steps and steps.json")
    steps.add_argument("--size", type=frame_size, required=True, metavar="WIDTHxHEIGHT", help="of the frames")
    steps.add_argument("--objects", type=int, required=True, help="at most")
    steps.add_argument(
        "--platforms", nargs="+", default=["cpu", "cuda", "tpu"], help="where they will run; default: all"
    )
    steps.set_defaults(run=run_export_steps, takes_config=False)
    return parser


def frame_size(text: str) -> tuple[int, int]:
    """'854x480' -> (480, 854)."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"give it as WIDTHxHEIGHT, such as 854x480, not {text!r}")
    return int(height), int(width)


def run_export_steps(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet export-steps`."""
    import munet_jax
    from munet_jax.inference.export import export_steps

    size, objects, platforms = options.size, options.objects, options.platforms
    for path in export_steps(
        *munet_jax.load(options.weights), options.folder, size=size, objects=objects, platforms=platforms
    ):
        print(f"written:  {path}")
    return 0


def add_segment(commands: Any) -> None:
    """`munet segment`."""
    segment = commands.add_parser("segment", help="outline objects in a video, given their masks in one frame or more")
    segment.add_argument("source", metavar="INPUT", help="a video file, a folder of frames, or a pattern in quotes")
    segment.add_argument(
        "--mask", action="append", required=True, metavar="[FRAME=]FILE",
        help="label map of a frame (its name, or its number from 0); may be repeated; without FRAME it is of the first "
        "frame, with --backward of the last",
    )  # fmt: skip
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    segment.add_argument(
        "--weights", type=Path, required=True, help="a file of munet export-weights, or the folder of a training run"
    )
    direction = segment.add_mutually_exclusive_group()
    direction.add_argument(
        "--backward", dest="direction", action="store_const", const="backward", help="from the last frame"
    )
    direction.add_argument(
        "--both", dest="direction", action="store_const", const="both", help="both ways, and average"
    )
    existing = segment.add_mutually_exclusive_group()
    existing.add_argument(
        "--continue", dest="existing", action="store_const", const="continue", help="go on where a run stopped"
    )
    existing.add_argument(
        "--overwrite", dest="existing", action="store_const", const="overwrite", help="remove older results"
    )
    segment.add_argument("--probabilities", action="store_true", help="also write a grey PNG per frame and object")
    segment.add_argument(
        "--overlay", nargs="*", choices=("video", "gif"), help="which to make; default: what can be made"
    )
    segment.add_argument(
        "--save-every", type=float, default=60.0, metavar="SECONDS", help="how often the state is saved"
    )
    options = segment.add_argument_group("of config.inference")
    for name, kind, text in INFERENCE_OPTIONS:
        options.add_argument("--" + name.replace("_", "-"), type=kind, help=text)
    options.add_argument("--memory-policy", choices=("every_k", "adaptive"), help="adaptive is for long videos")
    options.add_argument("--flip", action="store_true", default=None, help="also look at mirrored frames, and average")
    options.add_argument("--scales", type=float, nargs="+", help="look at frames at these scales, and average")
    segment.set_defaults(run=run_segment, takes_config=False, direction="forward", existing="refuse")


def run_segment(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet segment`."""
    import munet_jax
    from munet_jax.heap import steady_heap
    from munet_jax.inference.files import say, segment_files
    from munet_jax.inference.results_folder import Options
    from munet_jax.inference.segmenter import VideoSegmenter

    steady_heap()
    model, variables, config = munet_jax.load(options.weights)
    for name in [*(name for name, _, _ in INFERENCE_OPTIONS), "memory_policy", "flip", "scales"]:
        value = getattr(options, name)
        if value is None:
            continue
        if name == "adaptive_capacity":
            config.inference.adaptive.capacity = value
        else:
            config.inference[name] = tuple(value) if name == "scales" else value
    chosen = Options(
        direction=options.direction,
        probabilities=options.probabilities,
        overlays=None if options.overlay is None else tuple(options.overlay),
        existing=options.existing,
        save_every=options.save_every,
    )
    with told_on_stderr():
        segmenter = VideoSegmenter(model, variables, config)
        say(segment_files(segmenter, options.source, options.mask, options.out, chosen), options.out)
    return 0


@contextlib.contextmanager
def told_on_stderr() -> Iterator[None]:
    """The package's log, such as what is compiled and why, without breaking a progress bar."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    log = logging.getLogger("munet_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        with logging_redirect_tqdm([log]):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def run_export(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet export-weights`."""
    from munet_jax.training.export import export_weights

    step = export_weights(options.workdir, options.target, options.step)
    print(f"written:  {options.target} (step {step})")
    return 0


def run_convert(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet convert`."""
    from munet_jax.convert.files import convert, convert_back

    if options.to_pytorch:
        convert_back(options.source, options.target)
    else:
        convert(options.source, options.target, depth=options.depth, epsilon=options.bn_epsilon)
    print(f"written:  {options.target}")
    return 0


def run_prepare(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet prepare`."""
    from munet_jax.data.tfds.prepare import prepare

    folder, new = prepare(options.dataset, options.source, options.data_dir)
    print(f"prepared: {folder}" if new else f"left as it was: {folder} (delete it to prepare it again)")
    return 0


def run_check_data(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """`munet check-data`: training and evaluation data of a config, and a picture of samples."""
    from munet_jax.data.checks import check_source
    from munet_jax.data.sources import FOLDERS, create_parts, create_source

    if options.sheet is not None and (options.sheet.suffix.lower() != ".png" or not options.sheet.parent.is_dir()):
        raise InputError(f"--sheet {options.sheet}: give a .png in a folder that exists")
    config = parse_config(options.config, rest)
    videos = config.copy_and_resolve_references()
    videos.data.still_share = 0.0  # frames that are moved as stills are those of the videos
    kind = config.evaluation.kind
    rooted = kind not in FOLDERS or config.evaluation[kind].root
    sections = {"config.data": lambda: [part.source for part in create_parts(videos.data)]}
    if rooted:
        sections["config.evaluation"] = lambda: [create_source(config.evaluation)]
    problems: list[str] = []
    for called, opened in sections.items():
        try:
            sources = opened()
        except InputError as error:  # what cannot be listed cannot be looked at
            problems.append(f"{called}: {error}")
            continue
        for source in sources:
            report = check_source(source)
            problems += report.problems
            counts = f"{report.frames} frames and {report.masks} label maps"
            print(f"{called}, {source.name}: {counts} looked at, {len(report.problems)} problems")
    if not rooted:
        print(f"config.evaluation: not looked at; name its folder by --config.evaluation.{kind}.root=DIR")
    if options.sheet is not None and not problems:
        draw_sheet(config, options.sheet)
    return tell(problems)


def draw_sheet(config: ConfigDict, path: Path) -> None:
    """Draw a batch of training clips."""
    from munet_jax.data.loader import make_loader
    from munet_jax.data.sources import create_parts
    from munet_jax.training.loop import clip_options
    from munet_jax.visualization.overlays import save_png
    from munet_jax.visualization.samples import contact_sheet

    batches = make_loader(
        create_parts(config.data),
        clip_options(config.data),
        batch_size=SHEET_CLIPS,
        seed=config.train.seed,
        stride=config.data.clip_stride,
        threads=0,
    )
    save_png(path, contact_sheet(next(batches)))
    print(f"picture:  {path}")


def run_check_masks(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet check-masks`."""
    from munet_jax.data.checks import check_masks

    report = check_masks(options.folder, options.frames)
    print(f"{options.folder}: {report.masks} label maps and the sizes of {report.frames} frames looked at")
    return tell(report.problems)


def tell(problems: Sequence[str]) -> int:
    """Print problems on stderr; the exit code."""
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{len(problems)} problems" if problems else "no problems")
    return EXIT_PROBLEMS if problems else 0


if __name__ == "__main__":
    sys.exit(main())
