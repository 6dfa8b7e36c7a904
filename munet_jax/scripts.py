"""What the command-line scripts share: errors as one line, and the data root as a flag."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, logging
from ml_collections import ConfigDict

from munet_jax.errors import InputError

EXIT_BAD_INPUT = 2


def run(main: Callable[[list[str]], Any]) -> None:
    """Parse flags and run `main`; an InputError ends in one line on stderr and exit code 2."""

    def guarded(argv: list[str]) -> int:
        try:
            main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_BAD_INPUT
        return 0

    # jax reports every kind of device that it does not find.
    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=parse_flags)


def parse_flags(argv: list[str]) -> list[str]:
    """Parse flags; a config file or field that does not exist ends like any other bad input."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        # ml_collections reports unknown fields as AttributeError, with a suggestion on a second line.
        text = str(error.args[0] if error.args else error).replace("\\n", " ").replace("\n", " ")
        print(f"error: config: {text}; configs/common.py lists every field", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def read_config(flag: Any, root: str | None) -> ConfigDict:
    """The config of a config flag, with the folder of --data_root in every section that reads a data set.

    A mix has its data sets in folders of it (`FOLDERS`); otherwise it is the folder of the one data set.

    Raises:
      InputError: the config file is not there or cannot be read.
    """
    from munet_jax.data.sources import FOLDERS, MIX  # takes a second: not before the flags are known to be right

    try:
        config = flag.value
        config.train.steps  # noqa: B018 - a file that failed to load shows it at the first field
    except OSError as error:
        raise InputError(f"--config: {' '.join(str(error).split())}; the configs are the files of configs/") from error
    if root:
        for section in (config.data, config.evaluation):
            for kind, folder in FOLDERS.items():
                if kind in section:
                    section[kind].root = str(Path(root) / folder) if config.data.kind == MIX else root
    return config
