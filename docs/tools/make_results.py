"""Makes docs/results.md from docs/tables: the prose of results_template.md with tables in place of `{{name}}`.

Command:   python docs/tools/make_results.py            writes docs/results.md
           python docs/tools/make_results.py --check    exits with 1 if it is not what this makes
Tables:    davis2017_val, youtube_vos2018_val, ablation: the paper's, in percent, never corrected
           measured_full_size: this project's by those protocols, in [0, 1] as in results.json; a blank is not measured
           measured_*: this project's other runs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.tools.generated_page import write_or_check
from docs.tools.paper_tables import Flag, check_table, read_table
from munet_jax.runtime.errors import InputError

PAGE = Path(__file__).parents[1] / "results.md"
TABLES = Path(__file__).parents[1] / "tables"
COMMENT = (
    "<!-- Generated from docs/tables by `python docs/tools/make_results.py`: change those files and run it, not this "
    "page. -->"
)

PAPER_TABLES = {"davis2017_val": "J&F", "youtube_vos2018_val": "G", "ablation": "J&F"}
"""Names, and the column that says 'not measured'."""

TITLES = {"J_U": "J unseen", "F_U": "F unseen", "J_S": "J seen", "F_S": "F seen", "delta": "Δ"}
PARTS = {"J&F": "the mean of J and F", "G": "the mean of the four", "delta": "the difference to row a"}
PLACEHOLDER = re.compile(r"^\{\{(\w+)\}\}$", re.MULTILINE)

Row = Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the page; gives the exit code."""
    program, description = "docs/tools/make_results.py", "Make docs/results.md of docs/tables."
    return write_or_check(PAGE, make_page, program, description, arguments)


def make_page(tables: Path = TABLES) -> str:
    """The page as text.

    Raises:
      InputError: a file of `tables` is missing or cannot be read, or a measured row belongs to no row of the paper.
    """
    template = tables / "results_template.md"
    if not template.is_file():
        raise InputError(f"{template}: there is no such file; the page's prose is in it")

    def table(match: re.Match[str]) -> str:
        name = match[1]
        return paper_table(tables, name) if name in PAPER_TABLES else measured_table(tables, name)

    return f"{COMMENT}\n\n{PLACEHOLDER.sub(table, template.read_text(encoding='utf-8'))}"


def measured_table(tables: Path, name: str) -> str:
    """A table of this project's runs as its file has it, with configs set as code."""
    rows = read_table(tables / f"{name}.csv")
    return markdown(
        list(rows[0]), [[code(cell) if key == "config" else cell for key, cell in row.items()] for row in rows]
    )


def paper_table(tables: Path, name: str) -> str:
    """A table of the paper. Below a row that one of this project's configs reproduces stands this project's row."""
    rows = read_table(tables / f"{name}.csv")
    flags = {(flag.row, flag.column): flag for flag in check_table(rows)}
    letters = dict(zip(flags, "abcdefghijklmnopqrstuvwxyz", strict=False))
    measured = {row["config"]: row for row in read_table(tables / "measured_full_size.csv") if row["table"] == name}
    stray = measured.keys() - {row["config"] for row in rows}
    if stray:
        raise InputError(f"measured_full_size.csv: {name} has no row of {min(stray)}; correct the name")
    columns = [key for key in rows[0] if key not in ("mark", "config")]
    lines = []
    for index, row in enumerate(rows):
        marks = {key: f"<sup>{letters[index, key]}</sup>" for key in columns if (index, key) in letters}
        lines.append([cell_of_paper(row, key) + marks.get(key, "") for key in columns])
        if row["config"]:
            lines.append(our_cells(columns, row["config"], measured, PAPER_TABLES[name]))
    notes = [f"<sup>{letters[key]}</sup> {describe_flag(rows[key[0]], flag)}" for key, flag in flags.items()]
    return "\n\n".join([markdown([TITLES.get(key, key) for key in columns], lines), *notes])


def cell_of_paper(row: Row, column: str) -> str:
    """A cell as the paper has it, with a dash for a number that the paper does not give."""
    if column == "method":
        return row["method"] + row["mark"].replace("*", "\\*")
    return row[column] or ("" if column in ("S", "Y", "O") else "–")


def our_cells(columns: Sequence[str], config: str, measured: Mapping[str, Row], total: str) -> list[str]:
    """This project's row below one of the paper, in percent."""
    own = measured.get(config, {})
    cells = []
    for column in columns:
        if column in ("method", "components"):
            cells.append(f"*this project*, {code(config.removeprefix('configs/').replace('.py', ''))}")
        elif column == "delta":
            cells.append(delta(own, measured.get("configs/ablation.py:a", {})))
        elif column == "FPS":
            cells.append(own.get(column, ""))
        else:
            cells.append(percent(own.get(column, "")) or ("not measured" if column == total else ""))
    return cells


def percent(text: str) -> str:
    """'0.7504' -> '75.0'."""
    return f"{100 * Decimal(text):.1f}" if text else ""


def delta(own: Row, first: Row) -> str:
    """How far a row of the ablation is above row a, in percent."""
    if own == first or not own.get("J&F") or not first.get("J&F"):
        return ""
    return f"{100 * (Decimal(own['J&F']) - Decimal(first['J&F'])):+.1f}"


def describe_flag(row: Row, flag: Flag) -> str:
    """What is odd about a number, in a sentence."""
    called = row.get("method") or f"row {row.get('row')}"
    column = TITLES.get(flag.column, flag.column)
    return (
        f"{called}: {column} is {flag.given} in the paper, but {PARTS[flag.column]} is {flag.expected.normalize():f}."
    )


def code(text: str) -> str:
    """Text in Markdown's code quotes; no text stays no text."""
    return f"`{text}`" if text else ""


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of these heads and rows; bars in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
