"""`munet web`: outline objects, follow them, correct and export, in a browser."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.commands.segment import add_weights, told_on_stderr
from munet_jax.inference.options import SIZES, InferenceConfig
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import add_arguments

MEBIBYTE = 2**20


def add(commands: Any) -> None:
    """The command's options."""
    web = commands.add_parser("web", help="outline objects, follow them, correct and export, in a browser")
    web.add_argument(
        "source", metavar="INPUT", nargs="?",
        help="a video file, a folder of frames, or a pattern in quotes; without it the page opens one",
    )  # fmt: skip
    web.add_argument(
        "--out", type=Path, metavar="DIR",
        help="folder for the results, in which an earlier session goes on (default: web, or web/NAME of INPUT)",
    )  # fmt: skip
    add_weights(web)
    web.add_argument("--root", type=Path, metavar="DIR", help="folder below which the page may open videos")
    web.add_argument(
        "--max-upload", type=int, default=2048, metavar="MIB", help="largest upload in MiB (default: 2048)"
    )
    sizes = web.add_argument_group(
        "sizes at which frames are worked on", "Where the config of the weights has another default, that counts."
    )
    add_arguments(sizes, InferenceConfig, SIZES)
    add_address(web)
    web.set_defaults(run=run_web, takes_config=False)


def add_address(command: argparse.ArgumentParser) -> None:
    """The options of where it is served."""
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    command.add_argument("--port", type=int, default=0, help="port to listen at (default: 0, any that is free)")
    command.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")


def run_web(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet web`."""
    if options.root is not None and not options.root.is_dir():
        raise InputError(f"{options.root}: there is no such folder; name one by --root")
    if options.max_upload < 1:
        raise InputError(f"--max-upload is {options.max_upload}; give a number of MiB from 1 on")
    open_desk(options, options.source, options.out)
    return 0


def open_desk(options: argparse.Namespace, source: str | None, out: Path | None) -> None:
    """Serve a video, or the page that opens one; without `out`, in a folder that is called after the video."""
    require_web()
    from munet_jax.runtime.devices import require_device
    from munet_jax.runtime.malloc import tune_malloc
    from munet_jax.web.desk import Desk, plain_name
    from munet_jax.web.server import serve

    tune_malloc()
    require_device()
    if out is None:
        out = Path("web") / plain_name(Path(source).stem) if source else Path("web")
    root, most = getattr(options, "root", None), getattr(options, "max_upload", 2048) * MEBIBYTE
    create = segmenter_of(options.weights, {name: getattr(options, name, None) for name in SIZES})
    desk = Desk(create, out, root=root, most_bytes=most)
    with told_on_stderr():
        logging.getLogger("munet_jax").setLevel(logging.WARNING)  # what is compiled, and why, belongs to no page
        if source is not None:
            desk.open(source, out)
            desk.fixed = True
        serve(desk, options.host, options.port, browser=options.browser)


def require_web() -> None:
    """Raises InputError where the extra is missing."""
    if not all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn")):
        raise InputError("the browser tool needs the extra 'web': pip install 'munet_jax[web]'")


def segmenter_of(weights: str, sizes: Mapping[str, int | None]) -> Callable[[], Any]:
    """What makes the segmenter; weights that cannot be used are refused at once.

    Args:
      weights: as `munet_jax.load` takes them.
      sizes: fields of `config.inference`, in pixels; None leaves one as the weights' config has it.
    """
    import munet_jax
    from munet_jax.inference.segmenter import VideoSegmenter

    model, variables, config = munet_jax.load(weights)
    config.inference.update({name: size for name, size in sizes.items() if size is not None})
    return lambda: VideoSegmenter(model, variables, config)
