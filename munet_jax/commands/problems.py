"""How commands that look for trouble tell of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_PROBLEMS = 1


def tell(problems: Sequence[str]) -> int:
    """Print problems on stderr; the exit code."""
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{len(problems)} problems" if problems else "no problems")
    return EXIT_PROBLEMS if problems else 0
