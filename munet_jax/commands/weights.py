"""`munet convert`, `munet export-weights`, `munet export-step`: parameters and programs in files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """The commands' options."""
    convert = commands.add_parser("convert", help="make a network or a backbone of PyTorch weights, or the other way")
    convert.add_argument("source", metavar="SOURCE", type=Path, help="weights: .pth (extra 'convert') or .safetensors")
    convert.add_argument(
        "target", metavar="TARGET", type=Path, help="the file to write: .safetensors, or .pth with --to-pytorch"
    )
    convert.add_argument("--depth", type=int, default=50, help="depth of the ResNet: 18 or 50 (default: 50)")
    convert.add_argument("--bn-epsilon", type=float, help="epsilon of its batch norms (default: that of the layout)")
    convert.add_argument(
        "--network", choices=("stm", "munet"),
        help="of STM's weights: STM itself (the default), or a MUNet that computes the same and has motion to learn",
    )  # fmt: skip
    convert.add_argument(
        "--to-pytorch",
        action="store_true",
        help="SOURCE was converted; write the PyTorch state dict that it was made of",
    )
    convert.set_defaults(run=run_convert, takes_config=False)

    export = commands.add_parser("export-weights", help="write a run's network and config to one file")
    export.add_argument("workdir", metavar="WORKDIR", type=Path, help="folder of a training run")
    export.add_argument("target", metavar="TARGET", type=Path, help="the file to write, .safetensors")
    export.add_argument("--step", default="newest", help="a step, 'newest' or 'best' (default: newest)")
    export.add_argument(
        "--start-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="write a mean of parameters: this share of those that the run began with (train.init_from), the rest of those "
        "that it has (default: 0)",
    )
    export.add_argument(
        "--score-factor",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiply the scores of the memory: above 1 it is read more sharply, below 1 more softly (default: 1)",
    )
    export.set_defaults(run=run_export, takes_config=False)

    steps = commands.add_parser("export-step", help="write the step of inference as StableHLO, weights inside")
    steps.add_argument(
        "weights", type=Path, metavar="WEIGHTS", help="a file of munet export-weights, or the folder of a training run"
    )
    steps.add_argument("folder", type=Path, metavar="DIR", help="folder for step.stablehlo and step.json")
    steps.add_argument(
        "--size", type=frame_size, required=True, metavar="WIDTHxHEIGHT", help="size of the frames, in pixels"
    )
    steps.add_argument("--objects", type=int, required=True, metavar="N", help="objects at most")
    steps.add_argument(
        "--platforms", nargs="+", default=["cpu", "cuda", "tpu"], help="platforms to run on (default: cpu cuda tpu)"
    )
    steps.set_defaults(run=run_export_step, takes_config=False)


def frame_size(text: str) -> tuple[int, int]:
    """'854x480' -> (480, 854)."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"give it as WIDTHxHEIGHT, such as 854x480, not {text!r}")
    return int(height), int(width)


def run_convert(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet convert`."""
    from munet_jax.checkpoints.from_pytorch import SEED, convert, convert_back
    from munet_jax.runtime.fields import as_config
    from munet_jax.training.options import RunConfig

    if options.to_pytorch:
        convert_back(options.source, options.target)
        print(f"written:  {options.target}")
        return 0
    drawn = convert(
        options.source,
        options.target,
        as_config(RunConfig()),
        network=options.network,
        depth=options.depth,
        epsilon=options.bn_epsilon,
    )
    print(f"written:  {options.target}")
    if drawn:
        print(f"not in the weights, drawn from seed {SEED}: {', '.join(drawn)}")
    if options.network == "munet":
        print("MSAM's kernel is 0: until it is trained, motion changes nothing")
    return 0


def run_export(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet export-weights`."""
    from munet_jax.checkpoints.run_export import export_weights
    from munet_jax.runtime.devices import require_device

    require_device()
    step = export_weights(
        options.workdir,
        options.target,
        options.step,
        start_share=options.start_share,
        score_factor=options.score_factor,
    )
    print(f"written:  {options.target} (step {step})")
    return 0


def run_export_step(options: argparse.Namespace, _: Sequence[str]) -> int:
    """`munet export-step`."""
    import munet_jax
    from munet_jax.inference.export import export_step
    from munet_jax.runtime.devices import require_device

    require_device()
    size, objects, platforms = options.size, options.objects, options.platforms
    for path in export_step(
        *munet_jax.load(options.weights), options.folder, size=size, objects=objects, platforms=platforms
    ):
        print(f"written:  {path}")
    return 0
