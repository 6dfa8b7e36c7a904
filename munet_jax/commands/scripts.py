"""What the command-line scripts share: errors as one line, and the data root as a flag."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from munet_jax.runtime.errors import InputError, Stopped

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
EXIT_STOPPED = 143  # what a shell reports of a program that SIGTERM ended


def run(main: Callable[[list[str]], Any]) -> None:
    """Parse flags and run `main`; an InputError ends in one line on stderr and exit code 2."""

    def guarded(argv: list[str]) -> int:
        return exit_code_of(lambda: main(argv) or 0)

    # jax reports every kind of device that it does not find.
    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=parse_flags)


def exit_code_of(action: Callable[[], int]) -> int:
    """The exit code of an action; an InputError is one line on stderr."""
    try:
        return action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_STOPPED


def parse_config(path: str, arguments: Sequence[str]) -> ConfigDict:
    """A config file with overrides and --data_root, for programs that do not run through absl.

    Raises:
      InputError: a file, field or flag that does not exist.
    """
    # Config files import one another as `configs.name`; only Python scripts have their folder on the path already.
    sys.path.append(str(Path(path).resolve().parent.parent))
    values, argv = flags.FlagValues(), ["munet", f"--config={path}", *arguments]
    config = config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True, sys_argv=argv)
    flags.DEFINE_string("data_root", None, "", flag_values=values)
    try:
        stray = values(argv)[1:]
    except (AttributeError, KeyError, OSError, TypeError, ValueError, flags.Error) as error:
        raise InputError(config_error(error)) from error
    if stray:
        raise InputError(f"{stray[0]!r} is not expected here; folders are named by --data_root=DIR")
    return read_config(config, values.data_root)


def config_error(error: Exception) -> str:
    """One line about a config file or field; ml_collections puts its suggestion on a second one."""
    text = str(error.args[0] if error.args else error).replace("\\n", " ").replace("\n", " ")
    return f"config: {text}; configs/common.py lists every field"


def parse_flags(argv: list[str]) -> list[str]:
    """Parse flags; a config file or field that does not exist ends like any other bad input."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        print(f"error: {config_error(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def read_config(flag: Any, root: str | None, *, training: bool = True) -> ConfigDict:
    """The config of a config flag, with the folder of --data_root wherever the config names none itself.

    A mix has its data sets in folders of it (`FOLDERS`); otherwise it is the folder of the one data set: of the training
    data, and of the evaluation's where that is of the same kind, or without `training` of the evaluation's alone.

    Raises:
      InputError: the config file is not there or cannot be read.
    """
    from munet_jax.data.sources import FOLDERS, MIX  # takes a second: not before the flags are known to be right

    try:
        config = flag.value
        config.train.steps  # noqa: B018 - a file that failed to load shows it at the first field
    except OSError as error:
        raise InputError(f"--config: {' '.join(str(error).split())}; the configs are the files of configs/") from error
    sections = [config.data, config.evaluation] if training else [config.evaluation]
    if root and config.data.kind == MIX:
        roots = {kind: str(Path(root) / folder) for kind, folder in FOLDERS.items()}
    else:
        roots = {sections[0].kind: root or ""}
    for section in sections:
        for kind, folder in roots.items():
            if folder and kind in FOLDERS and kind in section and not section[kind].root:
                section[kind].root = folder
    return config
