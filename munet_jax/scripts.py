"""What the command-line scripts share: errors as one line, and the data root as a flag."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from absl import app
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

    app.run(guarded)


def set_data_root(config: ConfigDict, root: str | None) -> None:
    """Put the folder of the flag --data_root into every section of the config that reads a data set."""
    if root:
        config.data.davis.root = root
        config.evaluation.davis.root = root
