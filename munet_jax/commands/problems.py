"""How commands that look for trouble tell of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_PROBLEMS = 1


def tell(problems: Sequence[str], warnings: Sequence[str] = ()) -> int:
    """Print problems and warnings on stderr; the exit code, which warnings do not change."""
    for kind, lines in (("problem", problems), ("warning", warnings)):
        for line in lines:
            print(f"{kind}: {line}", file=sys.stderr)
    counts = f"{len(problems)} problems" if problems else "no problems"
    print(f"{counts}, {len(warnings)} warnings" if warnings else counts)
    return EXIT_PROBLEMS if problems else 0
