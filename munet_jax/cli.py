"""The command `munet`: one subcommand per thing that a user does with videos and data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from munet_jax.commands import data, demo, report, score, segment, web, weights
from munet_jax.commands.scripts import exit_code_of
from munet_jax.commands.terminal import write_what_it_can


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; an InputError ends in one line on stderr and exit code 2."""
    write_what_it_can()
    parser = create_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_config:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return exit_code_of(lambda: options.run(options, rest))


def create_parser() -> argparse.ArgumentParser:
    """All subcommands."""
    parser = argparse.ArgumentParser(prog="munet", description="Motion uncertainty-aware video object segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (demo, segment, web, score, report, data, weights):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
