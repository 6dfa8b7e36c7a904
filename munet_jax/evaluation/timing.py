"""How long the videos of a split took, and what that is in frames per second."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass
class Timing:
    """How long one video took, without its first frame and those in which XLA compiled something.

    Attributes:
      frames: how many were timed.
      model_seconds: in the network, from a frame in memory to labels in memory; the device has finished by then.
      total_seconds: the same with reading the frame and handing over the mask, which waits for a disk that is slower.
      objects: how many the video has.
      device: the kind of device.
    """

    frames: int = 0
    model_seconds: float = 0.0
    total_seconds: float = 0.0
    objects: int = 0
    device: str = ""

    def add(self, model_seconds: float, total_seconds: float) -> None:
        """One frame more."""
        self.frames += 1
        self.model_seconds += model_seconds
        self.total_seconds += total_seconds


def speed(timings: Sequence[Timing], devices: int) -> dict[str, Any]:
    """Frames per second of one device, and where they were measured; only the latter where no frame was timed.

    `fps` is frames over seconds of the network alone. `fps_mean_of_sequences` is the mean of the videos' own rates, as the
    paper has it. `fps_with_files` counts reading frames and writing masks too. `fps_objects` is the mean number of objects in
    a frame.

    Returns:
      {"fps", "fps_mean_of_sequences", "fps_with_files", "fps_frames", "fps_objects", "device", "devices"}; "device" names
      every kind, where a run was resumed on another one.
    """
    where = {"device": " + ".join(sorted({timing.device for timing in timings})), "devices": devices}
    measured = [timing for timing in timings if timing.frames]
    frames = sum(timing.frames for timing in measured)
    if not frames:
        return where
    rates = [timing.frames / timing.model_seconds for timing in measured]
    return {
        "fps": frames / sum(timing.model_seconds for timing in measured),
        "fps_mean_of_sequences": sum(rates) / len(rates),
        "fps_with_files": frames / sum(timing.total_seconds for timing in measured),
        "fps_frames": frames,
        "fps_objects": sum(timing.objects * timing.frames for timing in measured) / frames,
    } | where
