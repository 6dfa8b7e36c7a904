"""Compares runs that were scored on the same videos: paired differences, and whether they are more than noise.

The interval is a percentile bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979) over whole
sequences. It says what another choice of videos would change, and nothing about another training seed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from munet_jax.data.images import natural_key
from munet_jax.evaluation.results_json import (
    check_comparable,
    is_number,
    name_and_path,
    read_results,
    write_results,
)
from munet_jax.runtime.errors import InputError

FEW_SEQUENCES = 10
"""Below this many sequences a bootstrap interval is known to be too narrow; reports say so."""

LEAST_SAMPLES = 100

_BLOCK = 2**22  # drawn counts that are held at a time
_NONE = "–"


class Pair(NamedTuple):
    """A metric of the baseline and (`value`) of the run that is compared with it; NaN where a run has no number."""

    baseline: float
    value: float

    @property
    def difference(self) -> float:
        """How far the run is above the baseline."""
        return _clean(self.value - self.baseline)


@dataclasses.dataclass(frozen=True)
class SequenceComparison:
    """One sequence: every object by its id, and the mean over those for which both runs have a number."""

    mean: Pair
    objects: Mapping[str, Pair]


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """One run against the baseline.

    Attributes:
      name: of the run.
      mean: over all objects for which both runs have a number, as DAVIS averages; not over sequences.
      low, high: the bootstrap interval of `mean.difference`; NaN for fewer than two sequences.
      sequences: by name, in natural order.
    """

    name: str
    mean: Pair
    low: float
    high: float
    sequences: Mapping[str, SequenceComparison]

    @property
    def within_noise(self) -> bool | None:
        """Whether the interval includes 0; None where there is no interval."""
        return None if math.isnan(self.low) else self.low <= 0 <= self.high

    @property
    def left_out(self) -> int:
        """How many objects lack a number in one of the runs, or in both."""
        return sum(len(s.objects) for s in self.sequences.values()) - self.compared[0]

    @property
    def compared(self) -> tuple[int, int]:
        """How many objects, of how many sequences, the difference is the mean of."""
        counts = [len(_whole(s.objects.values())) for s in self.sequences.values()]
        return sum(counts), sum(count > 0 for count in counts)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Every other run against the first, `baseline`, and the options of `compare`."""

    baseline: str
    metric: str
    confidence: float
    samples: int
    seed: int
    runs: tuple[RunComparison, ...]


def compare(
    runs: Mapping[str, Mapping[str, Any]],
    *,
    metric: str = "J&F",
    samples: int = 10_000,
    seed: int = 0,
    confidence: float | int = 0.95,
) -> Comparison:
    """Compares every run with the first, object by object, and says how sure the mean difference is.

    Args:
      runs: results by the runs' names, each of the form of `read_results`; the first is the baseline.
      metric: a number of the objects: J, F, J&F, J_recall, ...
      samples: of the bootstrap, 100 or more.
      seed: of the bootstrap, 0 or more. The same seed draws the same sequences for every run.
      confidence: of the interval, above 0 and below 1.

    Raises:
      InputError: fewer than two runs; runs over different sequences or objects, or scored by different protocols; a
        metric that they do not all have, or no object with it; samples, seed or confidence out of range.
    """
    _check_options(samples, seed, confidence)
    check_comparable(runs, metric)
    baseline, *others = runs
    compared = []
    for name in others:
        sequences = _pair_up(runs[baseline]["sequences"], runs[name]["sequences"], metric)
        mean = _mean([pair for sequence in sequences.values() for pair in sequence.objects.values()])
        if math.isnan(mean.difference):
            raise InputError(f"no object has a {metric} in both {baseline} and {name}; choose another metric")
        low, high = _interval(list(sequences.values()), samples, seed, confidence)
        compared.append(RunComparison(name, mean, low, high, sequences))
    return Comparison(baseline, metric, float(confidence), samples, seed, tuple(compared))


def run_compare(
    paths: Sequence[str],
    *,
    metric: str = "J&F",
    samples: int = 10_000,
    seed: int = 0,
    json_path: Path | None = None,
    objects: bool = True,
) -> int:
    """`munet compare`: read runs, print how they compare, and write it as JSON if asked to.

    Args:
      paths: runs as PATH or NAME=PATH (`name_and_path`), each as `read_results` takes them; the first is the baseline.
      metric: as `compare` takes it; so are samples and seed.
      samples: of the bootstrap.
      seed: of the bootstrap.
      json_path: the file to write; it appears whole or not at all.
      objects: whether the tables also have a row per object.

    Returns:
      The exit code, 0.

    Raises:
      InputError: two runs of one name, a file that cannot be read or written, or what `compare` raises.
    """
    if json_path is not None and (json_path.is_dir() or not json_path.parent.is_dir()):
        raise InputError(f"{json_path}: not a file in a folder that exists; name another one for the JSON")
    named = [name_and_path(text) for text in paths]
    names = [name for name, _ in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two runs are called {twice}; give them names of their own, as NAME=PATH")
    runs = {name: read_results(path) for name, path in named}
    comparison = compare(runs, metric=metric, samples=samples, seed=seed)
    print(describe(comparison, objects=objects))
    if json_path is not None:
        try:
            write_results(json_path, as_json(comparison))
        except OSError as error:
            raise InputError(f"{json_path}: cannot be written ({error}); name another file") from error
        print(f"written:  {json_path}")
    return 0


def describe(comparison: Comparison, *, objects: bool = True) -> str:
    """A comparison as plain text: per run a table of sequences, the overall line, and a verdict.

    Args:
      comparison: of `compare`.
      objects: whether the tables also have a row per object.
    """
    reach = "The intervals are about which videos were scored; another training seed is not in them."
    return "\n\n".join([*(_describe_run(comparison, run, objects) for run in comparison.runs), reach])


def verdict(comparison: Comparison, run: RunComparison) -> str:
    """One sentence: how far a run is from the baseline, and whether that is more than noise."""
    difference, baseline = run.mean.difference, comparison.baseline
    digits = _digits(difference, run.low, run.high)
    relation = f"{abs(difference):.{digits}f} {'above' if difference > 0 else 'below'}" if difference else "level with"
    interval = f"{100 * comparison.confidence:g} % interval {run.low:z.{digits}f} to {run.high:z.{digits}f}"
    if run.within_noise is None:
        return f"{run.name} is {relation} {baseline}, without an interval: one sequence says nothing about others."
    if run.within_noise:
        return f"within noise: {run.name} is {relation} {baseline}, and the {interval} includes 0."
    return f"{run.name} is {relation} {baseline} ({interval})."


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON types; numbers that do not exist are None."""
    options = {key: getattr(comparison, key) for key in ("baseline", "metric", "confidence", "samples", "seed")}
    return options | {"runs": [_run_as_json(comparison, run) for run in comparison.runs]}


def _check_options(samples: int, seed: int, confidence: float | int) -> None:
    if samples < LEAST_SAMPLES:
        raise InputError(f"samples is {samples}; an interval needs {LEAST_SAMPLES} or more, better 10000")
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must be above 0 and below 1, such as 0.95")


def _pair_up(baseline: Mapping[str, Any], run: Mapping[str, Any], metric: str) -> dict[str, SequenceComparison]:
    sequences = {}
    for name in sorted(baseline, key=natural_key):
        before, after = baseline[name]["objects"], run[name]["objects"]
        ids = sorted(before, key=natural_key)
        objects = {i: Pair(_value(before[i], metric), _value(after[i], metric)) for i in ids}
        sequences[name] = SequenceComparison(_mean(list(objects.values())), objects)
    return sequences


def _value(scores: Mapping[str, Any], metric: str) -> float:
    value = scores.get(metric)
    return float(value) if value is not None and is_number(value) and math.isfinite(value) else math.nan


def _whole(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs in which both runs have a number."""
    return [pair for pair in pairs if not math.isnan(pair.difference)]


def _mean(pairs: Sequence[Pair]) -> Pair:
    whole = _whole(pairs) or [Pair(math.nan, math.nan)]
    return Pair(sum(p.baseline for p in whole) / len(whole), sum(p.value for p in whole) / len(whole))


def _interval(
    sequences: Sequence[SequenceComparison], samples: int, seed: int, confidence: float | int
) -> tuple[float, float]:
    """Percentile bootstrap of the mean difference over objects.

    Whole sequences are drawn, not objects: the objects of a video share its motion, light and cuts, and where one of them
    is lost its neighbour often is, so that counting each as an observation of its own makes the interval too narrow.
    """
    differences = [[pair.difference for pair in _whole(s.objects.values())] for s in sequences]
    sums, counts = np.array([(sum(d), len(d)) for d in differences if d], np.float64).T
    number = len(sums)
    if number < 2:
        return math.nan, math.nan
    # How often each sequence is drawn says all about a sample, whose mean is then two products with these counts.
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // number)
    means = []
    for start in range(0, samples, block):
        drawn = random.multinomial(number, np.full(number, 1 / number), size=min(block, samples - start))
        means.append(drawn @ sums / (drawn @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return _clean(low), _clean(high)


def _clean(difference: float) -> float:
    """Drops what floating point leaves behind: level runs differ by 0, not by 1e-17."""
    return round(float(difference), 12) + 0.0  # -0.0 becomes 0.0


def _notes(run: RunComparison) -> list[str]:
    notes = []
    objects, sequences = run.compared
    if 1 < sequences < FEW_SEQUENCES:
        notes.append(f"intervals from so few sequences ({sequences}) are too narrow")
    if run.left_out:
        notes.append(f"{run.left_out} of {run.left_out + objects} objects left out, as one of the runs has no number")
    return notes


def _describe_run(comparison: Comparison, run: RunComparison, objects: bool) -> str:
    count, sequences = run.compared
    digits = _digits(run.mean.difference, run.low, run.high)
    rows = [("", comparison.baseline, run.name, "difference", "")]
    for name, sequence in run.sequences.items():
        rows.append((name, *_cells(sequence.mean, digits), ""))
        if objects:
            rows += [(f"  {identity}", *_cells(pair, digits), "") for identity, pair in sequence.objects.items()]
    interval = _NONE if math.isnan(run.low) else f"{run.low:+z.{digits}f} to {run.high:+z.{digits}f}"
    percent = f"{100 * comparison.confidence:g} %"
    rows.append(("all objects", *_cells(run.mean, digits), f"  {percent} interval: {interval}"))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    title = (
        f"{run.name} against {comparison.baseline}: {comparison.metric}, mean over {count} objects of {sequences} "
        f"sequences ({comparison.samples} bootstrap samples, seed {comparison.seed})"
    )
    table = [
        (f"{row[0]:{widths[0]}}" + "".join(f"  {row[k]:>{widths[k]}}" for k in (1, 2, 3)) + row[4]).rstrip()
        for row in rows
    ]
    return "\n".join([title, "", *table, "", verdict(comparison, run), *(f"note: {note}" for note in _notes(run))])


def _cells(pair: Pair, digits: int) -> tuple[str, str, str]:
    """Three cells: both numbers and their difference, each rounded by itself."""
    difference = _NONE if math.isnan(pair.difference) else f"{pair.difference:+z.{digits}f}"
    baseline, value = (_NONE if math.isnan(v) else f"{v:z.{digits}f}" for v in pair)
    return baseline, value, difference


def _digits(*values: float) -> int:
    """How many digits to show: three, or more where a number would look like 0, up to the six of a results.json."""
    return next((digits for digits in (3, 4, 5) if all(round(v, digits) or not v for v in values)), 6)


def _run_as_json(comparison: Comparison, run: RunComparison) -> dict[str, Any]:
    objects, sequences = run.compared
    return _pair_as_json(run.mean) | {
        "name": run.name,
        "interval": None if math.isnan(run.low) else [run.low, run.high],
        "within_noise": run.within_noise,
        "objects_compared": objects,
        "objects_left_out": run.left_out,
        "sequences_compared": sequences,
        "verdict": verdict(comparison, run),
        "notes": _notes(run),
        "sequences": {
            name: _pair_as_json(s.mean) | {"objects": {i: _pair_as_json(pair) for i, pair in s.objects.items()}}
            for name, s in run.sequences.items()
        },
    }


def _pair_as_json(pair: Pair) -> dict[str, float | None]:
    numbers = {"baseline": pair.baseline, "value": pair.value, "difference": pair.difference}
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}
