"""What a run tells: metrics.jsonl, the progress bar, TensorBoard, and how and where it was started."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import PIL.Image
from ml_collections import ConfigDict
from tqdm import tqdm

from munet_jax.checkpoints.restore import Start
from munet_jax.checkpoints.runs import CONFIG_FILE
from munet_jax.data.clips import Part
from munet_jax.data.workers import USEFUL_THREADS, Crew, choose_crew, clip_bytes
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.devices import matmul_precision
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.progress import Progress
from munet_jax.training.length import Length
from munet_jax.training.step import TrainState

Clips = dict[str, np.ndarray]
Item = TypeVar("Item")

METRICS_FILE = "metrics.jsonl"
RUNS_FILE = "runs.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
MOST_WAIT = 0.1  # share of the time that a run waits for data, above which it says so
WAIT_SECONDS = 20.0  # over which that share is taken
FAR_SECONDS = 1e8  # three years: the first step, which is compiled, may promise more than a calendar has
PACKAGES = ("munet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")


class MetricsLog:
    """metrics.jsonl, one line per logged step, the progress bar, and TensorBoard where it is asked for.

    Without a workdir (a process that does not write) it measures and keeps silent.
    """

    def __init__(self, workdir: Path | None, first: int, length: Length, *, tensorboard: bool = False) -> None:
        """Continue a log after step `first`: later lines (of steps that were lost with a crash) go."""
        self.first, self._length = first, length
        self._file: Any = None
        self._board: Any = None
        if workdir is not None:
            path = workdir / METRICS_FILE
            kept = [line for line in read_lines(path) if json.loads(line)["step"] <= first]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))
            self._file = path.open("a")
            self._board = open_tensorboard(workdir / TENSORBOARD_FOLDER, first) if tensorboard else None
        self._bar = Progress(
            total=length.steps, initial=first, unit="step", desc="train", miniters=1, disable=workdir is None
        )
        self._last = (time.monotonic(), first)
        self._waited, self._skipped = 0.0, 0
        self._wait: DataWait | None = None

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._file, self._bar, self._board):
            if opened is not None:
                opened.close()

    def announce(
        self, config: ConfigDict, parts: Sequence[Part], replicas: TrainState, start: Start | None = None
    ) -> None:
        """Say in one line what runs where, and who makes its clips, and in another one where the parameters come from."""
        crew = crew_of(config)
        self._wait = DataWait(crew)
        if self._file is not None:
            tqdm.write(describe_run(config, parts, replicas, self.first, self._length), file=sys.stderr)
            tqdm.write(str(start), file=sys.stderr)

    def watch(self, batches: Iterable[tuple[Clips, Item]]) -> Iterator[tuple[Clips, Item]]:
        """The same pairs of clips and what is made of them; the wait for them and the clips skipped are logged."""
        start = time.monotonic()
        for clips, item in batches:
            self._waited += time.monotonic() - start
            self._skipped += int(clips["skipped"].sum())
            yield clips, item
            start = time.monotonic()

    def record(self, step: int, metrics: dict[str, float], now: float) -> None:
        """Write one line and move the bar; `now` is when the step was handed to the devices."""
        before = self._last
        seconds = max(now - before[0], 1e-9)
        measured = {
            "epoch": round(self._length.epoch(step), 4),
            "steps_per_second": round((step - before[1]) / seconds, 3),
            "data_wait": round(self._waited / seconds, 4),
            "memory_gb": round(memory_gb(), 3),
        }
        if self._skipped:
            measured["skipped_clips"] = self._skipped  # since this process began
        warning = self._wait.add(self._waited, seconds) if self._wait is not None else None
        if warning is not None and self._file is not None:
            tqdm.write(f"warning: step {step}: {warning}", file=sys.stderr)
        self._last, self._waited = (now, step), 0.0
        self._write(step, metrics | measured)
        rate = measured["steps_per_second"]
        left = (self._length.steps - step) * seconds / max(step - before[1], 1)
        end = datetime.now() + timedelta(seconds=min(left, FAR_SECONDS))  # on the wall's clock
        shown: dict[str, Any] = {"loss": f"{metrics['loss']:.3f}", "epoch": f"{self._length.epoch(step):.2f}"}
        shown |= {"clips/s": f"{rate * self._length.batch_size:.3g}", "devices": jax.device_count()}
        self._bar.set_postfix(shown | {"end": f"{end:%a %d %b %H:%M}"}, refresh=False)
        self._bar.update(step - self._bar.n)

    def record_validation(self, step: int, scores: dict[str, float], pictures: Sequence[Path]) -> None:
        """Write the scores of the held-out videos, and their pictures to TensorBoard."""
        self._write(step, scores)
        tqdm.write(
            f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()), file=sys.stderr
        )
        for path in pictures if self._board is not None else ():
            if path.suffix == ".png":
                with PIL.Image.open(path) as image:
                    self._board.add_image(path.stem, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def _write(self, step: int, values: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


class DataWait:
    """Whether a run waits for its data: a warning for each stretch of time in which it does."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._waited = self._seconds = 0.0
        self._warm = self._warned = False

    def add(self, waited: float, seconds: float) -> str | None:
        """What to say after `seconds` more, of which the run spent `waited` waiting; mostly nothing.

        Shares are taken over `WAIT_SECONDS` or more. The first is left out: it holds the start of the workers.
        """
        self._waited, self._seconds = self._waited + waited, self._seconds + seconds
        if self._seconds < WAIT_SECONDS:
            return None
        share, self._waited, self._seconds = self._waited / self._seconds, 0.0, 0.0
        new = self._warm and share > MOST_WAIT and not self._warned
        self._warm, self._warned = True, self._warm and share > MOST_WAIT
        return f"{share:.0%} of the time is spent waiting for data; {self._remedy()}" if new else None

    def _remedy(self) -> str:
        workers, threads, cores = self._crew
        if not workers and threads < min(cores, USEFUL_THREADS):
            return f"raise config.data.threads ({threads} now, {cores} cores)"
        if workers + 1 < cores:
            return f"raise config.data.workers ({workers} now, {cores} cores)"
        return f"it is made by {self._crew}: give the run more cores and raise config.data.workers, or store smaller frames"


def crew_of(config: ConfigDict) -> Crew:
    """Who makes the clips."""
    clip = clip_bytes(config.data.clip_length, tuple(config.data.size))
    return choose_crew(config.data.threads, config.data.workers, clip)


def describe_run(config: ConfigDict, parts: Sequence[Part], replicas: TrainState, first: int, length: Length) -> str:
    """One line: what runs where, who makes its clips, and how long."""
    count = sum(x.size // x.shape[0] for x in jax.tree.leaves(replicas.params))
    batch, devices = config.train.batch_size, jax.device_count()
    total = sum(part.weight for part in parts)
    data = " + ".join(f"{part.weight / total:.0%} {part.source.name} ({len(part.source)})" for part in parts)
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    micro = f" in {config.train.accumulate} micro-batches" if config.train.accumulate > 1 else ""
    return (
        f"{count / 1e6:.2f} M parameters, {data}, made by {crew_of(config)}, batch {batch} ({batch // devices}{micro} on each of "
        f"{devices} {jax.local_devices()[0].platform} devices{processes}), steps {first + 1} to {length.steps}: {length}"
    )


def readable_time(seconds: float) -> str:
    """Such as '3 d 4 h', '2 h 10 min' or '40 s'."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    shown = [
        f"{days} d" if days else "",
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes and not days else "",
    ]
    return " ".join(part for part in shown if part)


def open_tensorboard(folder: Path, first: int) -> Any:
    """A writer whose events after step `first` replace those of steps that were lost."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError("config.train.tensorboard needs tensorboardX: pip install 'munet_jax[tensorboard]'") from error
    return SummaryWriter(str(folder), purge_step=first + 1)


def memory_gb() -> float:
    """Peak memory: of the fullest local device where it tells, else of this process."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [entry["peak_bytes_in_use"] for entry in stats if entry and "peak_bytes_in_use" in entry]
    unit = 1 if sys.platform == "darwin" else 1024
    return (max(peaks) if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) / 1e9


def write_start(config: ConfigDict, workdir: Path, first: int, length: Length, start: Start) -> None:
    """Keep the config beside the run, and add to runs.jsonl with what, where and from which step it was started."""
    with atomic_path(workdir / CONFIG_FILE) as temporary:
        temporary.write_text(config.to_json_best_effort(indent=2, sort_keys=True) + "\n")
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "after_step": first,
        "start": start._asdict(),
        "steps": length.steps,
        "epochs": length.epoch(length.steps),
        "epoch_clips": length.clips,
        "git": git_hash(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "matmul_precision": matmul_precision(),
        "processes": jax.process_count(),
        "config": json.loads(config.to_json_best_effort()),
    }
    with (workdir / RUNS_FILE).open("a") as file:
        file.write(json.dumps(facts) + "\n")


def package_version(name: str) -> str | None:
    """The installed version; None where a package is used from a folder, without having been installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_hash() -> str | None:
    """The commit of the code, with '-dirty' where files were changed; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def read_lines(path: Path) -> list[str]:
    """Whole lines of a log; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    *lines, _rest = path.read_text().split("\n")
    return lines
