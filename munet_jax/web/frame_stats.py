"""What is known of each object in a frame: the numbers of the timeline's curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from munet_jax.inference.prediction import Prediction

Stats: TypeAlias = dict[str, list[float | int | None]]
"""By object: area in pixels, confidence, share of sure matches; None where nobody knows."""
SURE = 0.75  # cosine with the best match in the frame before, from which on a match counts as sure


def areas(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each object of a label map."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts) if i not in (0, 255)}


def given_stats(counts: Mapping[int, int]) -> Stats:
    """Of what a person gave: areas."""
    return {str(i): [count, None, None] for i, count in counts.items()}


def stats_of(prediction: Prediction, confidence: Mapping[int, float | None]) -> Stats:
    """Of every object that is followed: area, mean probability, share of its pixels whose match is sure."""
    found: Stats = {}
    for identity, value in confidence.items():
        mask = prediction.labels == identity
        sure = None
        if prediction.uncertainty is not None and mask.any():
            sure = round(float((prediction.uncertainty[mask] > SURE).mean()), 4)
        found[str(identity)] = [int(mask.sum()), value, sure]
    return found
