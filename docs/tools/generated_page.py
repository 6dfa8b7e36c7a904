"""The command line of programs that make a page of docs/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from munet_jax.runtime.errors import InputError


def write_or_check(
    page: Path, make: Callable[[], str], program: str, description: str, arguments: Sequence[str] | None = None
) -> int:
    """Write a page, or with --check compare it.

    Args:
      page: the file.
      make: gives its text.
      program: how the program is called, for the message.
      description: for --help.
      arguments: of the command line; None: those of this process.

    Returns:
      The exit code: 1 if the page is out of date, 2 if its sources are wrong.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    options = parser.parse_args(arguments)
    try:
        text = make()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not options.check:
        page.write_text(text, encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{page} is out of date; run: python {program}", file=sys.stderr)
        return 1
    return 0
