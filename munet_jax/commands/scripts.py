"""What the command-line scripts share: errors as one line, and the data root as a flag."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from munet_jax.commands.terminal import drop, write_what_it_can
from munet_jax.runtime.errors import InputError, Stopped
from munet_jax.runtime.fields import check_section
from munet_jax.runtime.system_errors import tell_system_error

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
EXIT_UNREAD = 141  # what a shell reports of a program whose output nobody reads any more
EXIT_STOPPED = 143  # what a shell reports of a program that SIGTERM ended


def run(main: Callable[[list[str]], Any]) -> None:
    """Parse flags and run `main`; an InputError ends in one line on stderr and exit code 2."""
    write_what_it_can()

    def guarded(argv: list[str]) -> int:
        return exit_code_of(lambda: main(argv) or 0)

    # jax reports every kind of device that it does not find.
    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=parse_flags)


def exit_code_of(action: Callable[[], int]) -> int:
    """The exit code of an action; an InputError, or what the system refuses, is one line on stderr."""
    try:
        return action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        drop(sys.stdout)
        return EXIT_UNREAD
    except OSError as error:
        print(f"error: {tell_system_error(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_STOPPED


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """The option of `munet` commands that read a config; train.py and evaluate.py have a flag of this name."""
    text = "folder that the data set was unpacked into; for a mix, the folder that holds its data sets"
    parser.add_argument("--data-root", metavar="DIR", help=text)
    parser.add_argument("--data_root", help=argparse.SUPPRESS)


def parse_config(path: str, arguments: Sequence[str], root: str | None = None) -> ConfigDict:
    """A config file with overrides and the folder of --data-root, for programs that do not run through absl.

    Raises:
      InputError: a file, field or flag that does not exist.
    """
    # Config files import one another as `configs.name`; only Python scripts have their folder on the path already.
    sys.path.append(str(Path(path).resolve().parent.parent))
    values, argv = flags.FlagValues(), ["munet", f"--config={path}", *arguments]
    config = config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True, sys_argv=argv)
    parse(values, argv)
    return read_config(config, root)


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the flags of a script; one that does not exist, and a word that belongs to none, end like any other bad input."""
    try:
        return parse(flags.FLAGS, argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def parse(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """The program's name, after flags were parsed; names with dashes may be written with underscores.

    Raises:
      InputError: a flag or config field that does not exist, a value that it does not take, or a word that belongs to no flag.
    """
    for name in list(values):
        alias = name.replace("-", "_")
        if alias not in values:
            flags.DEFINE_alias(alias, name, flag_values=values)
    try:
        program, *words = values(argv)
    except flags.Error as error:
        raise InputError(describe_flag_error(error)) from error
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise InputError(f"config: {one_line(error)}; docs/config.md lists every field") from error
    if words:
        raise InputError(describe_stray(words[0], argv, values))
    return [program]


def describe_flag_error(error: flags.Error) -> str:
    """What is wrong with a flag."""
    text = one_line(error)
    flag, _, reason = text.partition(": ")
    if "Non-boolean" in reason:
        return f"{flag}: this is on or off; give =True or =False"
    _, of_config, raised = text.partition(" ValueError: ")
    if of_config:  # absl gives the traceback of the config file, whose own message says it all
        return raised
    return f"{text.rstrip('.').replace(' ?', '?')}; --help lists the flags, docs/config.md the fields of the config"


def describe_stray(word: str, argv: Sequence[str], values: flags.FlagValues) -> str:
    """What is wrong with a word that no flag took: often it stands after one that is on or off, which takes no word."""
    for before in (first for first, second in itertools.pairwise(argv) if second == word):
        name = before.lstrip("-")
        if name not in values:
            name = name.removeprefix("no")
        if before.startswith("-") and name in values and values[name].boolean:
            return f"{word!r} is not expected after {before}; give --{name}=True or --{name}=False"
    return f"{word!r} is not expected here; give values as --NAME=VALUE, folders of data as --data-root=DIR"


def one_line(error: Exception) -> str:
    """An exception's message; those of ml_collections and absl have their suggestions on lines of their own."""
    return " ".join(str(error.args[0] if error.args else error).replace("\\n", " ").split())


def tell_changes(config: ConfigDict, workdir: Path) -> None:
    """Say on stderr what a run that is continued had otherwise."""
    from munet_jax.checkpoints.runs import changed_fields

    for line in changed_fields(workdir, config):
        print(f"note: {workdir}: {line}", file=sys.stderr)


def read_config(flag: Any, root: str | None, *, training: bool = True) -> ConfigDict:
    """The config of a config flag, with the folder of --data-root wherever the config names none itself.

    A mix has its data sets in folders of it (`FOLDERS`); otherwise it is the folder of the one data set: of the training
    data, and of the evaluation's where that is of the same kind, or without `training` of the evaluation's alone, whose folder
    it then is where it does not hold one for a mix.

    Raises:
      InputError: the config file is not there or cannot be read, or a field has a value that it does not take.
    """
    from munet_jax.data.sources import FOLDERS, MIX  # takes a second: not before the flags are known to be right
    from munet_jax.training.options import RunConfig

    try:
        config = flag.value
        config.train.steps  # noqa: B018 - a file that failed to load shows it at the first field
    except OSError as error:
        text = " ".join(str(error).split())
        missing = re.search(r"No such file or directory: '([^']*)'", text)
        reason = f"{missing[1]}: there is no such file" if missing else text
        raise InputError(f"--config: {reason}; the configs are the files of configs/") from error
    check_section("config", config, RunConfig)
    sections = [config.data, config.evaluation] if training else [config.evaluation]
    if root and config.data.kind == MIX:
        roots = {kind: str(Path(root) / folder) for kind, folder in FOLDERS.items()}
        if not training and Path(root).is_dir():  # of one kind: the folder may also be the data set itself
            roots = {kind: place if Path(place).is_dir() else root for kind, place in roots.items()}
    else:
        roots = {sections[0].kind: root or ""}
    for section in sections:
        for kind, folder in roots.items():
            if folder and kind in FOLDERS and kind in section and not section[kind].root:
                section[kind].root = folder
    return config
