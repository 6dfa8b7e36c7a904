"""How fast masks are scored: seconds of the whole work on files, by number of processes.

    python benchmarks/scoring.py --annotations DIR --results DIR [--protocol davis2017] [--repeats 5]

Files are in the system's cache after the first, untimed run. Prints JSON: seconds (median), object-frames, and milliseconds of
each, with reading both label maps in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

os.environ["TQDM_DISABLE"] = "1"

from munet_jax.evaluation.method_scores import score_method
from munet_jax.evaluation.protocols import PROTOCOLS
from munet_jax.evaluation.scoring import frame_rows


def main() -> None:
    """Time them in turn, so that all have the same moments of a shared machine, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="davis2017")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    rows = 0
    for repeat in range(options.repeats + 1):
        for processes, times in seconds.items():
            start = time.perf_counter()
            scored = score_method(
                options.annotations, options.results, PROTOCOLS[options.protocol], processes=processes
            )
            if repeat:
                times.append(time.perf_counter() - start)
            rows = len(frame_rows(scored.scores))
    result = {"object_frames": rows, "seconds": {}, "milliseconds_each": {}}
    for processes, times in seconds.items():
        median = statistics.median(times)
        result["seconds"][processes] = round(median, 3)
        result["milliseconds_each"][processes] = round(1000 * median / rows, 3)
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
