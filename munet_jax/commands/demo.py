"""`munet demo`: the shipped network at work, on a clip that the package makes or on the user's own video."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munet_jax.commands.segment import add_weights, fields_as_options, told_on_stderr
from munet_jax.commands.web import add_address, open_desk, require_web
from munet_jax.runtime.errors import InputError


def add(commands: Any) -> None:
    """The command's options."""
    demo = commands.add_parser("demo", help="see the shipped network at work, on a made-up clip or on your own video")
    demo.add_argument(
        "source", metavar="INPUT", nargs="?", help="a video file, a folder of frames, or a pattern in quotes"
    )
    demo.add_argument("--mask", metavar="FILE", help="label map of the first frame of INPUT")
    demo.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder for the pictures (default: demo)"
    )
    add_weights(demo)
    demo.add_argument("--overwrite", action="store_true", help="delete older results first")
    demo.add_argument("--web", action="store_true", help="open the made-up clip in the browser tool (see munet web)")
    add_address(demo)
    demo.set_defaults(run=run_demo, takes_config=False)


def run_demo(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet demo`."""
    if options.web:
        return _open(options)
    if (options.source is None) != (options.mask is None):
        missing = "--mask FILE, the label map of its first frame" if options.source else "the video that the mask is of"
        raise InputError(f"munet demo: {missing} is missing; without both it shows a clip of its own")

    from munet_jax.commands.demonstration import demonstrate
    from munet_jax.runtime.devices import require_device
    from munet_jax.runtime.malloc import tune_malloc

    tune_malloc()
    require_device()
    with told_on_stderr(), fields_as_options("munet segment"):
        demonstrate(options.weights, options.source, options.mask, options.out, overwrite=options.overwrite)
    return 0


def _open(options: argparse.Namespace) -> int:
    """The clip in the browser tool; its frames lie beside the session, which goes on where it was."""
    if options.source is not None or options.mask is not None:
        raise InputError("munet demo --web: shows the made-up clip; for your own video use: munet web INPUT")
    from munet_jax.commands.demonstration import CLIP, FRAMES, write_clip
    from munet_jax.data.synthetic.videos import SyntheticSource
    from munet_jax.runtime.atomic_files import writing_to

    require_web()
    if len(list((options.out / FRAMES).glob("*.png"))) < CLIP.frames:
        with writing_to(options.out):
            write_clip(SyntheticSource(CLIP), options.out)
    open_desk(options, str(options.out / FRAMES), options.out / "web")
    return 0
