"""The DAVIS measures of one object: region similarity J, boundary accuracy F, and their mean, recall and decay.

Definitions: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
with the tolerances and border rules of the DAVIS-2017 evaluation code, whose figures these functions reproduce.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from munet_jax.host_types import LabelMap, UInt8
from munet_jax.runtime.errors import InputError

IGNORE = 255
"""The id that label maps use for 'do not score'; never an object."""

TOLERANCE = 0.008
"""How far two boundaries may lie apart and still match, as a share of the image diagonal."""

# A mask is [h, w] or [t, h, w], bool or numbers; shapes are checked by hand, so that a user reads both of them.
Mask = Shaped[np.ndarray, "..."]
Scores = Float[np.ndarray, "t"]


class Statistics(NamedTuple):
    """What DAVIS reports of one measure over the frames of one object.

    Attributes:
      mean: mean over frames.
      recall: share of frames above 0.5.
      decay: mean of the first quarter of the frames minus mean of the last; positive where quality is lost over time.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(annotation: Mask, segmentation: Mask) -> float | Scores:
    """J, intersection over union; 1 where both masks are empty.

    Args:
      annotation: the true mask, [h, w] or [t, h, w]; non-zero is object.
      segmentation: the mask to judge, same shape.

    Returns:
      J in [0, 1]: a float for one frame, float64 [t] for several.

    Raises:
      InputError: the shapes differ, or are neither [h, w] nor [t, h, w].
    """
    return _per_frame(lambda a, s: _region_similarity(_crop(a, s)), annotation, segmentation)


def boundary_accuracy(annotation: Mask, segmentation: Mask, *, tolerance: float | int = TOLERANCE) -> float | Scores:
    """F, the harmonic mean of precision and recall of boundary pixels.

    A boundary pixel matches when the other mask has a boundary pixel within the tolerance radius. Where both boundaries
    are empty F is 1, where one is, 0. A mask that covers the whole frame has no boundary.

    Args:
      annotation: the true mask, [h, w] or [t, h, w]; non-zero is object.
      segmentation: the mask to judge, same shape.
      tolerance: below 1 a share of the image diagonal, rounded up to whole pixels; from 1 on the radius in pixels.

    Returns:
      F in [0, 1]: a float for one frame, float64 [t] for several.

    Raises:
      InputError: the shapes differ, or are neither [h, w] nor [t, h, w]; or the tolerance is negative.
    """
    if not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; it must be 0 or more")
    return _per_frame(
        lambda a, s: _boundary_accuracy(_crop(a, s), _radius(a.shape, tolerance)), annotation, segmentation
    )


def statistics(values: Scores) -> Statistics:
    """Mean, recall and decay of one measure over the frames of one object.

    Frames with NaN were not scored and count in none of the three. The quarters of the decay are those of the DAVIS
    code: neighbours share their border frame.

    Args:
      values: J or F per frame, [t].

    Raises:
      InputError: there is no frame.
    """
    if not values.size:
        raise InputError("there is no frame to take statistics of")
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    scored = values[~np.isnan(values)]
    return Statistics(
        mean=_mean(scored),
        recall=_mean((scored > 0.5).astype(np.float64)),
        decay=_nan_mean(values[edges[0] : edges[1] + 1]) - _nan_mean(values[edges[3] : edges[4] + 1]),
    )


def objects_in(labels: UInt8[np.ndarray, "_ _"], *, ignore: int | None = IGNORE) -> tuple[int, ...]:
    """The object ids of a label map uint8 [h, w] in rising order; background (0) and `ignore` are none."""
    # A value stands in the first column or where it differs from its left neighbour: few pixels to sort.
    changes = labels[:, 1:][labels[:, 1:] != labels[:, :-1]]
    found = np.flatnonzero(np.bincount(np.concatenate([labels[:, 0], changes])))
    return tuple(int(i) for i in found if i not in (0, ignore))


def object_scores(annotation: LabelMap, segmentation: LabelMap, object_id: int) -> tuple[float, float]:
    """J and F of one object in one frame; label maps uint8 [h, w] of equal size. Faster than one measure after the other."""
    codes = _crop(np.equal(annotation, object_id), np.equal(segmentation, object_id))
    return _region_similarity(codes), _boundary_accuracy(codes, _radius(annotation.shape, TOLERANCE))


def _per_frame(
    measure: Callable[[np.ndarray, np.ndarray], float], annotation: np.ndarray, segmentation: np.ndarray
) -> float | Scores:
    """Checks shapes, makes masks bool, and measures one frame or each of several."""
    if annotation.shape != segmentation.shape:
        raise InputError(
            f"annotation is {list(annotation.shape)} but segmentation is {list(segmentation.shape)}; give equal sizes"
        )
    if annotation.ndim not in (2, 3):
        raise InputError(f"masks must be [h, w] or [t, h, w], not {list(annotation.shape)}")
    if annotation.ndim == 2:
        return measure(_as_bool(annotation), _as_bool(segmentation))
    pairs = zip(annotation, segmentation, strict=True)
    return np.array([measure(_as_bool(a), _as_bool(s)) for a, s in pairs], np.float64)


def _as_bool(mask: np.ndarray) -> np.ndarray:
    return mask if mask.dtype == np.bool_ else mask != 0


def _radius(shape: tuple[int, ...], tolerance: float | int) -> float | int:
    """The tolerance in pixels, for a frame of this shape."""
    return tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*shape))


# Both masks travel as two bits of one byte: what is done to a map of codes (compare, dilate, cut out) is done to both in
# one pass.
_ANNOTATION, _SEGMENTATION = 1, 2


def _region_similarity(codes: UInt8[np.ndarray, "h w"]) -> float:
    union = np.count_nonzero(codes)
    return np.count_nonzero(codes == (_ANNOTATION | _SEGMENTATION)) / union if union else 1.0


def _boundary_accuracy(codes: UInt8[np.ndarray, "h w"], radius: float | int) -> float:
    boundaries = _boundaries(codes)
    totals = [np.count_nonzero(boundaries & bit) for bit in (_ANNOTATION, _SEGMENTATION)]
    if not any(totals):
        return 1.0
    # With one boundary empty the DAVIS code sets that side to 1 and the other to 0: their harmonic mean is 0.
    if not all(totals):
        return 0.0
    near = _where_both_are_near(boundaries, math.floor(radius))
    spread = _dilate(near, radius)
    # Annotation boundary near segmentation boundary, and the reverse.
    recall = np.count_nonzero(_doubled(near & _ANNOTATION) & spread) / totals[0]
    precision = np.count_nonzero(_doubled(spread & _ANNOTATION) & near) / totals[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _where_both_are_near(boundaries: UInt8[np.ndarray, "h w"], reach: int) -> UInt8[np.ndarray, "rows columns"]:
    """The part in which pixels of one boundary can be within `reach` of the other: their bounding boxes, grown by it, in common.

    Where the masks are far apart or of very different size, that is a small part.
    """
    for axis in (1, 0):
        found = np.bitwise_or.reduce(boundaries, axis=axis)
        ends = [np.flatnonzero(found & bit) for bit in (_ANNOTATION, _SEGMENTATION)]
        if not all(end.size for end in ends):
            return boundaries[:0]
        first = max(0, max(end[0] for end in ends) - reach)
        last = min(end[-1] for end in ends) + reach
        boundaries = boundaries[first : last + 1] if axis else boundaries[:, first : last + 1]
    return boundaries


def _crop(annotation: np.ndarray, segmentation: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """Codes of both masks, cut to their common bounding box and one pixel of background around it.

    That pixel holds the boundary on the top and left of the object; on the bottom and right it keeps the last row and
    column of the cut from being taken for those of the image.
    """
    codes = segmentation.view(np.uint8) + segmentation.view(np.uint8)
    codes |= annotation.view(np.uint8)
    columns = np.flatnonzero(np.bitwise_or.reduce(codes, axis=0))
    if not columns.size:
        return np.zeros((1, 1), np.uint8)
    codes = codes[:, max(columns[0] - 1, 0) : columns[-1] + 2]
    rows = np.flatnonzero(np.bitwise_or.reduce(codes, axis=1))
    return codes[max(rows[0] - 1, 0) : rows[-1] + 2]


def _doubled(codes: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Bit 0 as bit 1, in place; NumPy adds bytes several times faster than it shifts them."""
    codes += codes
    return codes


def _boundaries(codes: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Where a pixel differs from its east, south or south-east neighbour, for both bits.

    The last row is compared only with its east neighbours, the last column only with its south ones, the last pixel
    never.
    """
    boundaries = np.zeros_like(codes)
    here, inner = codes[:-1, :-1], boundaries[:-1, :-1]
    np.bitwise_xor(here, codes[:-1, 1:], out=inner)
    inner |= here ^ codes[1:, :-1]
    inner |= here ^ codes[1:, 1:]
    boundaries[-1, :-1] = codes[-1, :-1] ^ codes[-1, 1:]
    boundaries[:-1, -1] = codes[:-1, -1] ^ codes[1:, -1]
    return boundaries


def _dilate(codes: UInt8[np.ndarray, "h w"], radius: float | int) -> UInt8[np.ndarray, "h w"]:
    """Dilation of both bits by the disk x^2 + y^2 <= radius^2, inside the array.

    A disk is a stack of horizontal runs. The runs are grown from the shortest (its top and bottom) to the longest (its
    middle), and each length is laid down on its rows when it is reached: about 4 * radius passes instead of the
    3 * radius^2 of the disk's pixels.
    """
    h, w = codes.shape
    reach = math.floor(radius)
    padded = np.pad(codes, reach)
    runs = padded[:, reach : reach + w].copy()
    dilated = np.zeros_like(codes)
    grown = 0
    for dy in range(reach, -1, -1):
        half_width = math.floor(math.sqrt(radius**2 - dy**2))
        for dx in range(grown + 1, half_width + 1):
            runs |= padded[:, reach - dx : reach - dx + w]
            runs |= padded[:, reach + dx : reach + dx + w]
        grown = half_width
        dilated |= runs[reach - dy : reach - dy + h]
        dilated |= runs[reach + dy : reach + dy + h]
    return dilated


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _nan_mean(values: np.ndarray) -> float:
    return _mean(values[~np.isnan(values)])
