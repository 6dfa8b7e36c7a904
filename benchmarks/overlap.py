"""What is gained by not waiting: labels before the frame is in memory, and masks written while the next frame is computed.

    python benchmarks/overlap.py [--source DIR --mask FILE] [--size 854x480] [--frames 75] [--rounds 3] [--weights lite]

labels: the time until a frame's labels are there, over the time until the frame is in memory too (medians of 20 frames). writing:
`munet segment` over a folder of frames with the writing thread and without one, in turn, after one run that compiles. Without
--source frames are noise of --size that moves, whose masks are large files. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from PIL import Image as PILImage

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import first_mask, machine, median, moving_picture
from benchmarks.inference import load
from munet_jax.commands.weights import frame_size
from munet_jax.data.masks import write_mask
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.files import job
from munet_jax.inference.files.output_folder import Options
from munet_jax.runtime.malloc import tune_malloc
from munet_jax.runtime.writer import Writer

TIMED = 20


class AtOnce:
    """As `Writer`, without a thread."""

    def __init__(self) -> None:
        self.done, self.failed = 0, False

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def add(self, task: Callable[[], Any]) -> None:
        """Run it."""
        task()
        self.done += 1

    def finish(self) -> None:
        """Nothing waits."""


def label_share(segmenter: VideoSegmenter, size: tuple[int, int]) -> dict[str, float]:
    """Seconds until labels are there and until the frame is done, and their ratio."""
    segmenter.reset()
    segmenter.step(moving_picture(size, 0), first_mask(size, 1))
    shown, done = [], []
    for number in range(1, TIMED + 3):
        frame = moving_picture(size, number)
        start = time.perf_counter()
        segmenter.step(frame)
        labels = time.perf_counter() - start
        jax.block_until_ready([view.state for view in segmenter._views])
        if number > 2:  # the first ones compile
            shown.append(labels)
            done.append(time.perf_counter() - start)
    return {"labels": median(shown), "frame": median(done), "share": round(median(shown) / median(done), 3)}


def writing_seconds(segmenter: VideoSegmenter, frames: Path, mask: Path, writer: Any) -> float:
    """Of `munet segment` without overlays."""
    job.Writer = writer  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        job.segment_files(segmenter, str(frames), [str(mask)], Path(out) / "out", Options(overlays=()))
        return time.perf_counter() - start


def make_frames(folder: Path, size: tuple[int, int], count: int) -> tuple[Path, Path]:
    """Frames in a folder, and the mask of the first."""
    frames, mask = folder / "frames", folder / "mask.png"
    frames.mkdir()
    for number in range(count):
        PILImage.fromarray(moving_picture(size, number)).save(frames / f"{number:05d}.jpg", quality=90)
    write_mask(mask, first_mask(size, 1))
    return frames, mask


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of frames")
    parser.add_argument("--mask", type=Path, help="label map of the first of them")
    parser.add_argument("--size", type=frame_size, default=(480, 854))
    parser.add_argument("--frames", type=int, default=75)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="lite", help="as benchmarks/inference.py has networks")
    options = parser.parse_args()
    tune_malloc()
    segmenter = VideoSegmenter(*load(options.weights))
    result: dict[str, Any] = {"machine": machine(), "labels": label_share(segmenter, options.size)}
    with tempfile.TemporaryDirectory() as folder:
        frames, mask = options.source, options.mask
        if frames is None:
            frames, mask = make_frames(Path(folder), options.size, options.frames)
        writing_seconds(segmenter, frames, mask, Writer)  # compiles
        forms = {"thread": Writer, "at once": AtOnce}
        taken: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(options.rounds):
            for name, writer in forms.items():
                taken[name].append(writing_seconds(segmenter, frames, mask, writer))
    ratio = median(taken["thread"]) / median(taken["at once"])
    result["writing"] = {name: median(values) for name, values in taken.items()} | {"ratio": round(ratio, 3)}
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
