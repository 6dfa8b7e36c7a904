"""The paper's Tables 2 to 4 as data (docs/tables), and a check of their totals.

Numbers are the paper's, transcribed as they stand and never corrected; a total that its parts do not give is flagged.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from munet_jax.runtime.errors import InputError

MEANS = {"J&F": ("J", "F"), "G": ("J_U", "F_U", "J_S", "F_S")}
"""Totals that are the mean of other columns: of DAVIS, and of YouTube-VOS (unseen and seen categories)."""

NUMBERS = ("FPS", "delta", *MEANS, *(part for parts in MEANS.values() for part in parts))
"""Columns that hold numbers or nothing; every other one holds text."""


class Flag(NamedTuple):
    """A total that does not follow from its parts, however they were rounded.

    Attributes:
      row: index in the table.
      column: of the total: J&F, G or delta.
      given: what the table has.
      expected: what its parts give, as they are printed.
    """

    row: int
    column: str
    given: Decimal
    expected: Decimal


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by column; cells stay text, and a blank one is ''.

    Raises:
      InputError: there is no such file, it is no table with rows, or a cell of `NUMBERS` is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({error}); it needs a line of columns, and rows"
        ) from error
    if not lines or len(set(header)) < len(header):
        raise InputError(f"{path}: has no rows, or a column twice; write one row per line below the columns' names")
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise InputError(f"{path}: line {number} has {len(line)} cells for {len(header)} columns; correct it")
        wrong = [f"{key} {cell!r}" for key, cell in zip(header, line, strict=True) if not _is_good(key, cell)]
        if wrong:
            raise InputError(f"{path}: line {number} has {wrong[0]}, not a number; leave blank what is not known")
    return [dict(zip(header, line, strict=True)) for line in lines]


def check_table(rows: Sequence[Mapping[str, str]]) -> list[Flag]:
    """The totals of a table that their parts do not give: means (`MEANS`), and the delta to the J&F of row a.

    Numbers are rounded to the digits that they have, so a total may lie off by half a unit of its own last digit and by
    what half a unit of every part makes: 0.1 for a mean of numbers with one digit. Decimal numbers keep that limit exact.
    Where the total or a part is blank there is nothing to check.

    Args:
      rows: of `read_table`.
    """
    first = next((row for row in rows if row.get("row") == "a"), {})
    flags = []
    for index, row in enumerate(rows):
        sums = {
            total: [(Decimal(1) / len(parts), row.get(part, "")) for part in parts] for total, parts in MEANS.items()
        }
        sums["delta"] = [(Decimal(1), row.get("J&F", "")), (Decimal(-1), first.get("J&F", ""))]
        for column, terms in sums.items():
            given = row.get(column, "")
            if not given or not all(text for _, text in terms):
                continue
            expected = sum((weight * Decimal(text) for weight, text in terms), Decimal())
            allowed = _half_unit(given) + sum(abs(weight) * _half_unit(text) for weight, text in terms)
            if abs(Decimal(given) - expected) > allowed:
                flags.append(Flag(index, column, Decimal(given), expected))
    return flags


def _is_good(column: str, cell: str) -> bool:
    if column not in NUMBERS or not cell:
        return True
    try:
        return Decimal(cell).is_finite()
    except InvalidOperation:
        return False


def _half_unit(text: str) -> Decimal:
    """Half a unit of the last digit of a number: 0.05 for 43.0."""
    _, _, digits = text.partition(".")
    return Decimal(5).scaleb(-len(digits) - 1)
