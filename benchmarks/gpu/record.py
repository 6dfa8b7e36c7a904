"""What a check of a device has found so far: in a file after each case, within the time that there is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from munet_jax.runtime.atomic_files import atomic_path

RESULTS = "check.json"
PASSED, FAILED, INCOMPLETE = 0, 1, 2  # exit codes


class Record:
    """Cases by part and name; those for which no time is left are skipped, and a case that ends in an error costs no other."""

    def __init__(self, out: Path, minutes: float) -> None:
        """The time runs from here; `out` is made."""
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / RESULTS
        self.parts: dict[str, dict[str, Any]] = {}
        self._start = time.monotonic()
        self._end = self._start + 60 * minutes

    def add(self, part: str, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run a case and write down what it says; it is skipped where the longest of its part so far would not fit."""
        cases = self.parts.setdefault(part, {})
        longest = max((case.get("seconds_in_all", 0.0) for case in cases.values()), default=0.0)
        left = self._end - time.monotonic()
        if left < longest or left <= 0:
            cases[name] = {"skipped": f"{max(left, 0):.0f} s were left; a case of this part takes {longest:.0f}"}
        else:
            start = time.monotonic()
            try:
                cases[name] = work()
            except Exception as error:  # such as no memory: the other cases say the more
                cases[name] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
            cases[name]["seconds_in_all"] = round(time.monotonic() - start, 2)
        print(f"{time.monotonic() - self._start:5.0f} s  {part}: {name}: {_brief(cases[name])}", flush=True)
        self._write()

    @property
    def exit_code(self) -> int:
        """1 where a case did not pass, else 2 where one was skipped or ended in an error."""
        cases = [case for part in self.parts.values() for case in part.values()]
        if any(case.get("passed") is False for case in cases):
            return FAILED
        return INCOMPLETE if any({"skipped", "error"} & case.keys() for case in cases) else PASSED

    def _write(self) -> None:
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps({"exit_code": self.exit_code, **self.parts}, indent=2) + "\n")


def _brief(case: dict[str, Any]) -> str:
    """A line about a case."""
    return ", ".join(f"{key} {value}" for key, value in case.items() if not isinstance(value, (dict, list)))
