"""What half precision costs in masks: the light network on a clip that is made here, whose masks are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.inference import load
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.inference import VideoSegmenter

# Two objects that pass each other and a distractor.
CLIP = SyntheticConfig(
    videos=1, frames=24, height=240, width=432, seed=9, min_objects=2, max_objects=2, distractors=1, min_size=0.35,
    max_size=0.55, speed=0.02, camera=0.006, leaving=0.0, noise=4.0, flicker=0.03,
)  # fmt: skip


class Accuracy:
    """Masks of one network in each type, against the truth and against those of f32."""

    def __init__(self, network: str, clip: SyntheticConfig) -> None:
        """Makes the clip."""
        self._network, source = network, SyntheticSource(clip)
        self._frames = [source.frame(0, number) for number in range(clip.frames)]
        self._truth = [source.labels(0, number) for number in range(clip.frames)]
        self._plain: list[np.ndarray] = []

    def case(self, dtype: str) -> dict[str, Any]:
        """The mean J of the clip's objects, and the share of pixels that differ from f32; that comes first."""
        model, variables, config = load(self._network)
        config.inference.dtype = dtype
        segmenter = VideoSegmenter(model, variables, config)
        found = [
            segmenter.step(frame, None if number else self._truth[0]).labels
            for number, frame in enumerate(self._frames)
        ]
        if dtype == "float32":
            self._plain = found
        differing = [float((one != other).mean()) for one, other in zip(found, self._plain, strict=True)]
        ids = range(1, int(self._truth[0].max()) + 1)
        overlaps = [overlap(a == i, b == i) for a, b in zip(found[1:], self._truth[1:], strict=True) for i in ids]
        return {"J": round(float(np.mean(overlaps)), 4), "differing_pixels": round(float(np.mean(differing)), 6)}


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; 1 of two empty masks."""
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0
