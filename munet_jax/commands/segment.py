"""`munet segment`: objects in a user's own video."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from munet_jax.inference.options import InferenceConfig
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import add_arguments, take_arguments

# Fields of config.inference that have an option.
INFERENCE_OPTIONS = (
    "min_size", "max_size", "object_size", "object_max_size", "memory_policy", "memory_interval", "memory_capacity",
    "adaptive.capacity", "read_chunk", "object_chunk", "max_objects", "flip", "scales", "dtype",
)  # fmt: skip


def add(commands: Any) -> None:
    """The command's options."""
    segment = commands.add_parser("segment", help="outline objects in a video, given their masks in one frame or more")
    segment.add_argument("source", metavar="INPUT", help="a video file, a folder of frames, or a pattern in quotes")
    segment.add_argument(
        "--mask", action="append", required=True, metavar="[FRAME=]FILE",
        help="label map of a frame, which is given by its name or its number from 0; may be repeated; without FRAME it is of "
        "the first frame, with --backward of the last",
    )  # fmt: skip
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_colours(segment)
    add_weights(segment)
    direction = segment.add_mutually_exclusive_group()
    direction.add_argument(
        "--backward",
        dest="direction",
        action="store_const",
        const="backward",
        help="go from the last frame to the first",
    )
    direction.add_argument(
        "--both", dest="direction", action="store_const", const="both", help="go both ways, and average"
    )
    existing = segment.add_mutually_exclusive_group()
    existing.add_argument(
        "--continue", dest="existing", action="store_const", const="continue", help="go on where a run stopped"
    )
    existing.add_argument(
        "--overwrite", dest="existing", action="store_const", const="overwrite", help="delete older results first"
    )
    segment.add_argument("--probabilities", action="store_true", help="also write a grey PNG per frame and object")
    segment.add_argument(
        "--overlay", nargs="*", choices=("video", "gif"), help="overlays to make (default: those that can be made)"
    )
    segment.add_argument(
        "--save-every", type=float, default=60.0, metavar="SECONDS",
        help="seconds between two savings of the state, from which a killed run goes on (default: 60)",
    )  # fmt: skip
    options = segment.add_argument_group(
        "fields of config.inference",
        "Where the config of the weights has another value than the default below, that value is the default.",
    )
    add_arguments(options, InferenceConfig, INFERENCE_OPTIONS)
    segment.set_defaults(run=run_segment, takes_config=False, direction="forward", existing="refuse")


def add_colours(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    """The option of all commands that read masks of users."""
    command.add_argument(
        "--colours", type=Path, metavar="FILE", required=required,
        help='JSON from colours to ids, such as {"#ff0000": 1, "0,255,0": 2}: masks are read by their colours',
    )  # fmt: skip


def add_weights(command: argparse.ArgumentParser) -> None:
    """The option of all commands that use a trained network."""
    command.add_argument(
        "--weights", default="lite",
        help="'lite', which comes with the package, a file of munet export-weights or munet convert, or the folder of a training "
        "run (default: lite)",
    )  # fmt: skip


def run_segment(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet segment`."""
    import munet_jax
    from munet_jax.data.mask_colours import read_colour_map
    from munet_jax.inference.files.job import say, segment_files
    from munet_jax.inference.files.output_folder import Options
    from munet_jax.inference.segmenter import VideoSegmenter
    from munet_jax.runtime.devices import require_device
    from munet_jax.runtime.malloc import tune_malloc

    tune_malloc()
    require_device()
    model, variables, config = munet_jax.load(options.weights)
    take_arguments(config.inference, options, INFERENCE_OPTIONS)
    chosen = Options(
        direction=options.direction,
        probabilities=options.probabilities,
        overlays=None if options.overlay is None else tuple(options.overlay),
        existing=options.existing,
        save_every=options.save_every,
        colours=None if options.colours is None else read_colour_map(options.colours),
    )
    with told_on_stderr(), fields_as_options():
        segmenter = VideoSegmenter(model, variables, config)
        say(segment_files(segmenter, options.source, options.mask, options.out, chosen), options.out)
    return 0


@contextlib.contextmanager
def fields_as_options(command: str = "") -> Iterator[None]:
    """Errors speak of `config.inference`; on the command line its fields are options, of this command or of another one."""

    def option(match: re.Match[str]) -> str:
        if match[1] not in INFERENCE_OPTIONS:
            return match[0]
        spelled = f"--{match[1].replace('.', '-').replace('_', '-')}"
        return f"{match[0]} ({command} {spelled})" if command else spelled

    try:
        yield
    except InputError as error:
        text = re.sub(r"config\.inference\.(\w+(?:\.\w+)?)", option, str(error))
        raise InputError(text) from error


class _Line(logging.Formatter):
    """A message as it is; a warning is called one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


@contextlib.contextmanager
def told_on_stderr() -> Iterator[None]:
    """The package's log, such as what is compiled and why, without breaking a progress bar."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    log = logging.getLogger("munet_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
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
