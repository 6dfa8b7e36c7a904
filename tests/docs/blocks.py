"""The code blocks of README, CONTRIBUTING and docs/, and the commands in them."""

from __future__ import annotations

import re
import shlex
import string
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)
_LOOP = re.compile(r"for (\w+) in (\S+).*; do")


class Block(NamedTuple):
    """A fenced block: where it is, its language and its text."""

    page: str
    line: int
    language: str
    code: str


class Command(NamedTuple):
    """One command of a shell block: where the block is, and its words without the folder of the program."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(*languages: str) -> list[Block]:
    """Those of all pages in these languages; without languages all."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(page.relative_to(ROOT)), line, match[1], match[2]))
    return [block for block in found if not languages or block.language in languages]


def commands() -> list[Command]:
    """Every command of the shell blocks, with variables in their places, of a loop its first round.

    The same words twice are one command.
    """
    found: dict[tuple[str, ...], Command] = {}
    for block in blocks("bash"):
        variables: dict[str, str] = {}
        for line in block.code.replace("\\\n", " ").splitlines():
            loop = _LOOP.fullmatch(line)
            if loop:
                variables[loop[1]] = loop[2]
            if loop or line == "done":
                continue
            for words in _split(string.Template(line).safe_substitute(variables)):
                assigned = _ASSIGNMENT.fullmatch(words[0])
                if assigned and len(words) == 1:
                    variables[assigned[1]] = assigned[2]
                    continue
                program = words[1:] if assigned else words
                found.setdefault(tuple(program), Command(block, (Path(program[0]).name or ".", *program[1:])))
    return list(found.values())


def _split(line: str) -> list[list[str]]:
    """The words of a line's commands, which && joins."""
    every: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word == "&&":
            every.append([])
        else:
            every[-1].append(word)
    return [words for words in every if words]
