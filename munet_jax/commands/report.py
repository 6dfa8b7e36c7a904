"""`munet report`: figures for papers and a page to look through, of one method or several."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.commands.problems import EXIT_PROBLEMS, tell
from munet_jax.commands.score import add_truth, score_folder
from munet_jax.evaluation.results_json import name_and_path
from munet_jax.runtime.atomic_files import writing_to
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError

# What the figures and the page call other rows.
TAKEN = ("annotation", "truth")
FORMATS = ("png", "pdf", "svg")


def add(commands: Any) -> None:
    """The command's options."""
    report = commands.add_parser("report", help="curves, strips, bars and a page of methods' masks (extra 'report')")
    add_truth(report)
    report.add_argument(
        "--results", action="append", required=True, metavar="[NAME=]DIR", help="a method's label maps; may be repeated"
    )
    report.add_argument("--frames", type=Path, required=True, metavar="DIR", help="one folder of frames per sequence")
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
    report.add_argument("--title", default="Report", help="title of the page (default: Report)")
    report.add_argument(
        "--weights",
        type=Path,
        help="a network, to draw what it sees of motion: file of munet export-weights, or folder of a training run",
    )
    report.add_argument(
        "--pixel",
        type=pixel,
        metavar="X,Y",
        help="pixel whose matching is drawn (default: in the middle of the largest object)",
    )
    report.add_argument(
        "--attributes", type=Path, metavar="FILE", help='JSON {"sequence": ["attribute", ...]}, for bars per attribute'
    )
    report.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=["png", "pdf"], help="of the figures (default: png pdf)"
    )
    report.add_argument(
        "--page-frames",
        type=int,
        default=60,
        metavar="N",
        help="frames of a sequence on the page, at most (default: 60)",
    )
    report.set_defaults(run=run_report, takes_config=False)


def pixel(text: str) -> tuple[int, int]:
    """'320,200' -> (320, 200)."""
    x, _, y = text.partition(",")
    if not (x.isdecimal() and y.isdecimal()):
        raise argparse.ArgumentTypeError(f"give it as X,Y, such as 320,200, not {text!r}")
    return int(x), int(y)


def run_report(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet report`."""
    from munet_jax.data.trees import some_labelled
    from munet_jax.evaluation.scoring import frame_means, frame_rows
    from munet_jax.report.make import make_report, require_libraries
    from munet_jax.report.sequences import report_sequences

    require_libraries()
    if options.pixel is not None and options.weights is None:
        raise InputError("--pixel says whose matching is drawn, and that needs the network: --weights")
    if options.page_frames < 1:
        raise InputError(f"--page-frames is {options.page_frames}; it must be 1 or more")
    attributes = {} if options.attributes is None else read_attributes(options.attributes)
    folders = name_folders(options.results)
    maps = None if options.weights is None else map_reader(options.weights)
    methods: dict[str, Mapping[str, Any]] = {}
    scores, extra = {}, 0
    for name, folder in folders.items():
        scored = score_folder(options, folder)
        if scored.problems:
            return tell(scored.problems)
        extra += len(scored.extra)
        methods[name], scores[name] = scored.results, frame_means(frame_rows(scored.scores))
    names = list(next(iter(methods.values()))["sequences"])
    sequences = report_sequences(some_labelled(names, options.frames, options.annotations), folders, scores)
    notes = (f"protocol {options.protocol}", f"annotations: {options.annotations}")
    with writing_to(options.out):
        paths = make_report(
            sequences,
            methods,
            options.out,
            title=options.title,
            notes=notes,
            maps=maps,
            formats=options.formats,
            most_frames=options.page_frames,
            attributes=attributes,
            pixel=options.pixel,
        )
    print(f"page:     {paths[0]}")
    print(f"figures:  {len(paths) - 1} files in {options.out}")
    return EXIT_PROBLEMS if extra else 0


def read_attributes(path: Path) -> dict[str, list[str]]:
    """Attributes by sequence of a JSON file, {"sequence": ["attribute", ...]}.

    Raises:
      InputError: the file cannot be read or has another form.
    """
    content = read_json(path, 'write it as {"sequence": ["attribute", ...]}')
    lists = list(content.values()) if isinstance(content, dict) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise InputError(f'{path}: should hold {{"sequence": ["attribute", ...]}}')
    return content


def name_folders(given: Sequence[str]) -> dict[str, Path]:
    """Methods' folders by name: of NAME=DIR, or the folder's own."""
    found: dict[str, Path] = {}
    for text in given:
        name, path = name_and_path(text)
        if not name or name in TAKEN:
            raise InputError(f"--results {text}: a method cannot be called {name!r}; name it by NAME=DIR")
        if name in found:
            raise InputError(f"two results are called {name!r}; name them by --results NAME=DIR")
        found[name] = path
    return found


def map_reader(weights: Path) -> Any:
    """What a network sees between two frames."""
    import munet_jax
    from munet_jax.inference.maps import motion_maps
    from munet_jax.runtime.devices import require_device

    require_device()
    model, variables, config = munet_jax.load(weights)
    return lambda before, frame: motion_maps(model, variables, config, before, frame)
