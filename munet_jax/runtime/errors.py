"""The exceptions that a user may see as a single line.

Scripts catch `InputError`, print its message and leave with exit code 2; a `Stopped` run leaves as one that SIGTERM ended.
Anything else is a bug in this package and keeps its traceback.
"""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a folder, a config field. The message names it and says what to do."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to end (SIGTERM) and has saved what it did."""
