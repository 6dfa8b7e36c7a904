"""What in a label map is no error of form and yet looks like a mistake: traces of resizing, dithering, colour reduction.

Nothing here refuses anything: people draw thin things. Each doubt comes with counts, so that who knows the picture can judge.
The limits were set on the label maps of DAVIS, YouTube-VOS, COCO, VOC, Cityscapes, ECSSD and Weizmann's horses, where they
find something in 4 of 3,709 files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from munet_jax.host_types import LabelMap

IGNORE = 255
MOST_NAMED = 3  # files or frames that a summary names before it counts the rest

_LEAST_PIXELS = 16  # of a trace that is told
# Of rings: pixels across at most, share of a border that they cover, pixels as a share of the picture's width and height.
# Wide ones, of a picture that was made several times as large, must be long and nearly whole.
_RINGS = ((3, 0.4, 0.1), (6, 0.9, 0.5))
_SPECKS = 0.06  # of all edges; real label maps have up to 0.024
_BORDER = 0.8  # of the picture's border under one object, and no more background there than the rest
_LEAST_FRINGES = 3  # ids without a 3 x 3 block


def find_doubts(labels: LabelMap) -> list[str]:
    """What looks like a mistake in a label map, a sentence each; mostly none."""
    known = np.where(labels == IGNORE, 0, labels).astype(np.uint8)
    return [*_rings(known), *_specks(known), *_fringes(known), *_inverted(labels)]


def summarise_doubts(found: Sequence[tuple[str, list[str]]], what: str) -> list[str]:
    """Doubts about several files in few lines: the first files by name, and how many more.

    Args:
      found: (name of a file, its doubts); those without are left out.
      what: the files are called, such as 'label maps'.
    """
    lines = [f"{name}: {doubt}" for name, doubts in found[:MOST_NAMED] for doubt in doubts]
    more = len(found) - MOST_NAMED
    return [*lines, f"{more} more {what} look like that ({len(found)} in all)"] if more > 0 else lines


def _rings(labels: LabelMap) -> Iterator[str]:
    """Ids that lie as a thin ring between a lower and a higher one: what interpolating between those two gives."""
    if np.count_nonzero(np.bincount(labels.ravel())) < 3:
        return
    found: dict[int, tuple[list[int], int]] = {}
    touching = _touching(labels)
    for width, share, part in _RINGS:
        least = max(_LEAST_PIXELS, part * sum(labels.shape))
        rows = _between(labels, width)
        between = np.where(rows > 0, rows, _between(labels.T, width).T)
        counts = np.bincount(between.ravel(), minlength=1 << 16)
        counts[0] = 0
        for pair in np.flatnonzero((counts >= least) & (counts >= share * (counts + touching))).tolist():
            ids = [int(i) for i in np.unique(labels[between == pair])]
            found.setdefault(pair, (ids, int(counts[pair])))
    if found:
        pair, (ids, ring) = max(found.items(), key=lambda item: item[1][1])
        called = f"id {ids[0]} lies" if len(ids) == 1 else f"ids {', '.join(map(str, ids))} lie"
        more = f", and so between {len(found) - 1} more pairs of ids" if len(found) > 1 else ""
        yield (
            f"{called} as a thin ring of {ring} pixels between {pair >> 8 or 'background'} and {pair & 255}{more}, as a resize "
            "that interpolates leaves it; scale label maps with nearest neighbour only"
        )


def _between(labels: LabelMap, width: int) -> np.ndarray:
    """Of pixels in runs along rows that are short and lie between a lower and a higher id: lower * 256 + higher; else 0."""
    wide = labels.shape[1]
    flat = np.ascontiguousarray(labels).ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.union1d(starts, np.arange(0, flat.size, wide))
    lengths = np.diff(starts, append=flat.size)
    values = flat[starts].astype(np.int64)
    before, after = np.roll(values, 1), np.roll(values, -1)
    low, high = np.minimum(before, after), np.maximum(before, after)
    inside = (starts % wide > 0) & ((starts + lengths) % wide > 0)
    short = np.flatnonzero(inside & (lengths <= width) & (low < values) & (values < high))
    found = np.zeros(flat.size, np.int64)
    for step in range(width):
        there = short[lengths[short] > step]
        found[starts[there] + step] = low[there] << 8 | high[there]
    return found.reshape(labels.shape)


def _touching(labels: LabelMap) -> np.ndarray:
    """How many edges each two ids have in common, by lower id * 256 + higher id."""
    counts = np.zeros(1 << 16, np.int64)
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        differs = one != other
        a, b = one[differs].astype(np.int64), other[differs].astype(np.int64)
        counts += np.bincount(np.minimum(a, b) << 8 | np.maximum(a, b), minlength=1 << 16)
    return counts


def _specks(labels: LabelMap) -> Iterator[str]:
    """Single pixels whose id no neighbour has: what dithering leaves."""
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    alone = np.ones(labels.shape, bool)
    alone[:, 1:] &= across
    alone[:, :-1] &= across
    alone[1:] &= down
    alone[:-1] &= down
    specks, edges = np.count_nonzero(alone), np.count_nonzero(across) + np.count_nonzero(down)
    if specks >= _LEAST_PIXELS and specks > _SPECKS * edges:
        yield (
            f"{specks} single pixels have an id that no neighbour has, as dithering or reducing colours leaves them; save the "
            "label map without dithering"
        )


def _fringes(labels: LabelMap) -> Iterator[str]:
    """Ids that are nowhere more than a fringe: what is left of soft edges where the number of colours was reduced."""
    counts = np.bincount(labels.ravel(), minlength=256)
    ids = np.flatnonzero(counts)
    if len(ids) <= _LEAST_FRINGES or min(labels.shape) < 3:
        return
    blocks = _with_block(labels)
    fringes = [int(i) for i in ids if i and counts[i] >= 3 and not blocks[i]]
    if len(fringes) >= _LEAST_FRINGES and 3 * len(fringes) > len(ids) - 1:
        yield (
            f"{len(fringes)} of {len(ids) - 1} ids ({', '.join(map(str, fringes[:6]))}{', ...' if len(fringes) > 6 else ''}; "
            f"{counts[fringes].sum()} pixels) are nowhere 3 x 3 pixels large, as soft edges leave them where colours are "
            "reduced; draw with hard edges, one colour per object"
        )


def _with_block(labels: LabelMap) -> np.ndarray:
    """Which ids cover 3 x 3 pixels somewhere: bool [256]."""
    rows = labels[:-2] == labels[1:-1]
    rows &= labels[2:] == labels[1:-1]
    middle = labels[1:-1, 1:-1]
    whole = rows[:, 1:-1] & rows[:, :-2] & rows[:, 2:]
    whole &= (middle == labels[1:-1, :-2]) & (middle == labels[1:-1, 2:])
    return np.bincount(middle[whole], minlength=256) > 0


def _inverted(labels: LabelMap) -> Iterator[str]:
    """An object all around the picture and hardly any background: the two are exchanged, or 0 is no background."""
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    shares = np.bincount(border, minlength=256) / border.size
    shares[IGNORE] = 0
    identity = int(shares[1:].argmax()) + 1
    inside = np.count_nonzero(labels == 0)
    if shares[identity] >= _BORDER and shares[0] <= 1 - _BORDER and 0 < inside < labels.size / 2:
        yield (
            f"object {identity} covers {shares[identity]:.0%} of the picture's border, and background (0) {shares[0]:.0%}; if "
            "the two are exchanged, invert the mask"
        )
