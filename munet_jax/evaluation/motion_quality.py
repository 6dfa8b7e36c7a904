"""Judges a displacement: how good it is, and whether the certainty beside it tells where it is wrong.

Displacements are backward motion, (dx, dy) in pixels: what is at x in frame t was at x + displacement in frame t-1. The
MU-Layer's 'uncertainty' is high where the match is sure, so it is passed as it is for `certainty`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from munet_jax.host_types import BinaryMask, Bool, Float
from munet_jax.runtime.errors import InputError

POINTS = 100

Motion = Float[np.ndarray, "h w 2"]
ErrorMap = Float[np.ndarray, "h w"]


class RiskCoverage(NamedTuple):
    """The mean error of the most certain share of all places, for shares up to the whole.

    Attributes:
      coverage: float64 [p], the shares, rising to 1.
      risk: float64 [p], the mean error of each share, in the unit of the errors.
      area: below the curve of all n shares, which is their mean risk, in the unit of the errors; low is good.
      oracle: the area where places are ordered by their errors; no order has a smaller one.
      random: the area to expect of a random order, which is the mean error.
    """

    coverage: Float[np.ndarray, " p"]
    risk: Float[np.ndarray, " p"]
    area: float
    oracle: float
    random: float


class Reliability(NamedTuple):
    """How often things happen that are said to happen with some chance; bins of equal width that hold any place.

    Attributes:
      stated: float64 [p], the mean chance of each bin.
      observed: float64 [p], the share of its places where it happened.
      share: float64 [p], of all places.
    """

    stated: Float[np.ndarray, " p"]
    observed: Float[np.ndarray, " p"]
    share: Float[np.ndarray, " p"]

    @property
    def error(self) -> float:
        """The mean distance between stated and observed, over all places."""
        return float(np.sum(self.share * np.abs(self.stated - self.observed)))

    def gap(self, least: float = 0.02) -> float:
        """The largest distance, of the bins that hold at least this share of the places; 0 where none does."""
        return float(np.max(np.abs(self.stated - self.observed), where=self.share >= least, initial=0.0))


def endpoint_errors(displacement: Motion, truth: Motion) -> ErrorMap:
    """How far the ends of two displacements [h, w, 2] lie apart, in pixels: float64 [h, w]."""
    return _lengths(displacement.astype(np.float64) - truth)


def correlation(displacement: Motion, truth: Motion, where: BinaryMask) -> float | None:
    """Pearson's correlation of two displacements, x and y pooled after the mean of each has been taken off.

    It says nothing about size: twice the truth, and the truth with a constant shift, have 1.

    Args:
      displacement: the one to judge, [h, w, 2].
      truth: what it should be, [h, w, 2].
      where: bool [h, w], the places that count.

    Returns:
      In [-1, 1]; None where it is not defined: no place counts, or a displacement is equal at all of them.

    Raises:
      InputError: a displacement that counts is not finite.
    """
    pair = [motion[where].astype(np.float64) for motion in (displacement, truth)]
    if not all(np.isfinite(motion).all() for motion in pair):
        raise InputError("a displacement is not finite where it should count; leave that place out of `where`")
    # Asked of the values themselves: rounding leaves a constant some spread about its mean.
    if not all((motion != motion[:1]).any() for motion in pair):
        return None
    found, true = ((motion - motion.mean(axis=0)).ravel() for motion in pair)
    value = found @ true / (np.linalg.norm(found) * np.linalg.norm(true))
    return float(np.clip(value, -1, 1))


def round_trip_errors(forward: Motion, backward: Motion) -> ErrorMap:
    """How far from its start a pixel of frame t ends up on its way to frame t-1 and back, in pixels.

    No true motion is needed, but less is said: motion that is 0 everywhere always comes back.

    Args:
      forward: displacement of frame t against frame t-1, [h, w, 2].
      backward: displacement of frame t-1 against frame t, [h, w, 2]; read bilinearly between the centres of pixels, and
        as that of the outermost pixel in the half pixel between its centre and the frame's edge.

    Returns:
      float64 [h, w]; NaN where the path leaves the frame or is not finite.
    """
    height, width = forward.shape[:2]
    there = forward.astype(np.float64)
    rows, columns = np.indices((height, width))
    x, y = columns + there[..., 0], rows + there[..., 1]
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    errors = np.full((height, width), math.nan)
    errors[inside] = _lengths(there[inside] + _sample(backward, x[inside], y[inside]))
    return errors


def risk_coverage(
    certainty: Float[np.ndarray, " n"], errors: Float[np.ndarray, " n"], *, points: int = POINTS
) -> RiskCoverage:
    """Whether errors are small where certainty is high: the errors that are left without the least certain places.

    Places of the same certainty have no order; each counts as their mean, what a random order among them gives on average.

    Args:
      certainty: of every place, [n], high = sure; the order alone matters.
      errors: of the same places, [n], in any unit.
      points: of the curve, evenly spread; fewer where there are fewer places. The areas do not depend on it.

    Raises:
      InputError: there is no place or no point, or a value is not finite.
    """
    if not certainty.size or points < 1:
        raise InputError(f"{certainty.size} places and {points} points make no curve of risk; give one or more of each")
    if not (np.isfinite(certainty).all() and np.isfinite(errors).all()):
        raise InputError("a certainty or an error is not finite; leave that place out")
    risk = _risks(certainty, errors)
    points = min(points, risk.size)
    counts = -(-np.arange(1, points + 1) * risk.size // points)
    oracle = _risks(-errors, errors).mean()
    return RiskCoverage(
        counts / risk.size, risk[counts - 1], float(risk.mean()), float(oracle), float(errors.mean(dtype=np.float64))
    )


def reliability(chance: Float[np.ndarray, " n"], happened: Bool[np.ndarray, " n"], *, bins: int = 10) -> Reliability:
    """Compares stated chances with what happened.

    Args:
      chance: of every place, in [0, 1].
      happened: of the same places.
      bins: of the chances, evenly spread.

    Raises:
      InputError: there is no place or no bin, or a chance is not in [0, 1].
    """
    if not chance.size or bins < 1:
        raise InputError(f"{chance.size} places in {bins} bins tell nothing of chances; give one or more of each")
    # f32 sums of probabilities pass 1 by their rounding.
    if not ((chance >= -1e-4) & (chance <= 1 + 1e-4)).all():
        raise InputError("a chance does not lie between 0 and 1; leave that place out")
    place = np.clip((chance * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    held = counts > 0
    stated, observed = (np.bincount(place, weights=x, minlength=bins)[held] / counts[held] for x in (chance, happened))
    return Reliability(stated, observed, counts[held] / chance.size)


def _risks(certainty: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Mean error of the k most certain places, for k = 1..n."""
    _, group, sizes = np.unique(-certainty, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=errors) / sizes
    return np.cumsum(np.repeat(means, sizes)) / np.arange(1, errors.size + 1)


def _sample(motion: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Displacements [h, w, 2] at places [n] that are counted from the centre of the first pixel: [n, 2], bilinear."""
    height, width = motion.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = motion[top, left] * (1 - across) + motion[top, right] * across
    lower = motion[bottom, left] * (1 - across) + motion[bottom, right] * across
    return upper * (1 - down) + lower * down


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[..., 0], vectors[..., 1])
