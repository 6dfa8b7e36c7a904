"""The command `munet`: one subcommand per thing that a user does with videos and data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from munet_jax.commands import data, demo, report, score, segment, web, weights
from munet_jax.commands.scripts import exit_code_of
from munet_jax.commands.terminal import write_what_it_can


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, and what to do; argparse would put all options before it."""

    def error(self, message: str) -> NoReturn:
        """End with the message and exit code 2."""
        greedy = any(
            f"argument {option}:" in message
            for action in self._actions
            for option in action.option_strings
            if action.nargs in ("*", "+")
        )
        remedy = (
            "it takes all that follows it, so put INPUT first" if greedy else f"{self.prog} --help lists the options"
        )
        self.exit(2, f"{self.prog}: error: {message}; {remedy}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; an InputError ends in one line on stderr and exit code 2."""
    write_what_it_can()
    parser = create_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_config:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return exit_code_of(lambda: options.run(options, rest))


def create_parser() -> OneLineParser:
    """All subcommands."""
    parser = OneLineParser(prog="munet", description="Motion uncertainty-aware video object segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (demo, segment, web, score, report, data, weights):
        group.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
