"""`munet prepare`, `munet check-data`, `munet check-masks`: data sets before they are used."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from munet_jax.commands.problems import tell
from munet_jax.commands.scripts import add_data_root, parse_config
from munet_jax.commands.segment import add_colours
from munet_jax.runtime.errors import InputError

if TYPE_CHECKING:
    from munet_jax.data.clips import ClipSource

SHEET_CLIPS = 8


def add(commands: Any) -> None:
    """The commands' options."""
    prepare = commands.add_parser("prepare", help="make a TFDS dataset of an unpacked data set")
    prepare.add_argument("dataset", metavar="DATASET", help="such as munet_davis/2017 (a wrong name lists them all)")
    prepare.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="folder that the data set was unpacked into"
    )
    prepare.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="folder of prepared datasets")
    prepare.set_defaults(run=run_prepare, takes_config=False)

    check = commands.add_parser(
        "check-data", help="open every file of a config's data; --config.FIELD=VALUE as in train.py"
    )
    check.add_argument("--config", required=True, metavar="FILE", help="config file: one of configs/*.py")
    add_data_root(check)
    check.add_argument(
        "--sheet", type=Path, metavar="FILE", help="draw training clips to this .png, if there is no problem"
    )
    check.set_defaults(run=run_check_data, takes_config=True)

    masks = commands.add_parser("check-masks", help="open every label map below a folder")
    masks.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="folder of label maps, with one folder per video or set of still images",
    )
    masks.add_argument("--frames", type=Path, metavar="DIR", help="folder of frames, with the same folders in it")
    add_colours(masks)
    masks.set_defaults(run=run_check_masks, takes_config=False)

    convert = commands.add_parser("convert-masks", help="make label maps of ids from masks in the colours of classes")
    convert.add_argument(
        "source", metavar="MASKS", type=Path, help="an image, or a folder of images and of folders of them"
    )
    convert.add_argument(
        "target", metavar="OUT", type=Path, help="the .png, or the folder, to write; folders stay as they are"
    )
    add_colours(convert, required=True)
    convert.set_defaults(run=run_convert_masks, takes_config=False)


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
    config = parse_config(options.config, rest, options.data_root)
    videos = config.copy_and_resolve_references()
    videos.data.still_share = 0.0  # frames that are moved as stills are those of the videos
    kind = config.evaluation.kind
    rooted = kind not in FOLDERS or config.evaluation[kind].root
    sections = {"config.data": lambda: [part.source for part in create_parts(videos.data)]}
    if rooted:
        sections["config.evaluation"] = lambda: [create_source(config.evaluation)]
    problems: list[str] = []
    warnings: list[str] = []
    for called, opened in sections.items():
        try:
            sources = opened()
        except InputError as error:  # what cannot be listed cannot be looked at
            problems.append(f"{called}: {error}")
            continue
        for source in sources:
            report = check_source(source)
            problems += report.problems
            if called == "config.evaluation" and not report.problems:
                problems += too_many_objects(source, config)
            warnings += report.warnings
            counts = f"{report.frames} frames and {report.masks} label maps"
            print(f"{called}, {source.name}: {counts} looked at, {len(report.problems)} problems")
    if not rooted:
        print(f"config.evaluation: not looked at; name its folder by --config.evaluation.{kind}.root=DIR")
    if options.sheet is not None and not problems:
        draw_sheet(config, options.sheet)
    return tell(problems, warnings)


def too_many_objects(source: ClipSource, config: ConfigDict) -> list[str]:
    """Whether evaluating a source would be refused, as a problem."""
    from munet_jax.evaluation.given import check_given
    from munet_jax.evaluation.protocols import protocol_of

    try:
        check_given(source, protocol_of(config), config.inference.max_objects)
    except InputError as error:
        return [str(error)]
    return []


def draw_sheet(config: ConfigDict, path: Path) -> None:
    """Draw a batch of training clips."""
    from munet_jax.data.clips import clip_options
    from munet_jax.data.loader import make_loader
    from munet_jax.data.sources import create_parts
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
    from munet_jax.data.mask_colours import read_colour_map

    colours = None if options.colours is None else read_colour_map(options.colours)
    report = check_masks(options.folder, options.frames, colours=colours)
    print(f"{options.folder}: {report.masks} label maps and the sizes of {report.frames} frames looked at")
    for folder in report.stills:
        print(f"{folder}: taken for masks of still images; names and sizes need not go together")
    return tell(report.problems, report.warnings)


def run_convert_masks(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet convert-masks`."""
    from munet_jax.data.mask_colours import read_colour_map
    from munet_jax.data.recolour import convert_masks

    written = convert_masks(options.source, options.target, read_colour_map(options.colours))
    print(f"written:  {options.target} ({written} label maps)")
    return 0
