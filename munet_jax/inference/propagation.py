"""From annotated frames, wherever they are, to every frame: forward, backward, or both and averaged between them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from munet_jax.array_types import Float
from munet_jax.inference.arguments import given_ids
from munet_jax.inference.prediction import Prediction, label_dtype
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

DIRECTIONS = ("forward", "backward", "both")
SPILLED_OUTPUTS = ("labels", "probabilities")
LEVELS = 255
Annotation: TypeAlias = np.ndarray | tuple[np.ndarray, Sequence[int]]
"""A label map [h, w], or one with the ids that it speaks about."""


def propagate(
    segmenter: VideoSegmenter,
    frames: Any,
    annotations: Mapping[int, Annotation],
    *,
    direction: str = "both",
    outputs: Sequence[str] = ("labels",),
) -> Iterator[Prediction]:
    """Segment a video from the label maps of some of its frames.

    Each direction is a pass of its own through the video, in which the MU-Layer compares a frame with the one before it in
    that direction, and objects of annotated frames are as given. Frames that a direction reaches before any annotation are
    background there.

    Args:
      segmenter: is reset first.
      frames: RGB [h, w, 3] each. 'forward' takes any iterable; the others need something with a length that can be asked for
        a frame by number, and may read it from a file then, since frames are looked at one at a time.
      annotations: by frame index, a label map [h, w] or (label map, ids), as `VideoSegmenter.step` takes them.
      direction: 'forward', 'backward' or 'both'. With 'both' a frame between two annotated ones has the average of both passes,
        the nearer annotation counting more; before the first one and after the last one there is one pass alone. The backward
        pass is made first, its probabilities wait in a temporary folder (in 8 bits), and memory does not grow with the video.
      outputs: as `VideoSegmenter.step`; maps of 'both' are those of the forward pass where there is one.

    Yields:
      One prediction a frame: in the order of the frames, but for 'backward' from the last frame to the first.

    Raises:
      InputError: no annotation, an annotation of a frame that is not there, a direction that needs a sequence.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction is {direction!r}; choose one of {', '.join(DIRECTIONS)}")
    if not annotations:
        raise InputError("no frame is annotated: at least one label map is needed")
    for index, given in annotations.items():  # not when their turn comes
        mask, ids = given if isinstance(given, tuple) else (given, None)
        try:
            given_ids(mask, ids, (), segmenter.max_objects)
        except InputError as error:
            raise InputError(f"annotation of frame {index}: {error}") from error
    if min(annotations) < 0:
        raise InputError(f"there is no frame {min(annotations)} to annotate: frames are counted from 0")
    if hasattr(frames, "__len__") and hasattr(frames, "__getitem__"):
        _check_inside(annotations, len(frames))
    elif direction != "forward":
        raise InputError(f"direction '{direction}' needs frames that can be asked for by number, such as a list")
    if direction == "forward":
        yield from _forward(segmenter, frames, annotations, outputs)
    else:
        if direction == "backward":
            segmenter.reset()
            yield from run_pass(segmenter, backwards(frames, len(frames) - 1), annotations, outputs)
        else:
            with tempfile.TemporaryDirectory(prefix="munet_") as folder:
                yield from _both(segmenter, frames, annotations, outputs, Path(folder))


def _forward(
    segmenter: VideoSegmenter,
    frames: Iterable[np.ndarray],
    annotations: Mapping[int, Annotation],
    outputs: Sequence[str],
) -> Iterator[Prediction]:
    segmenter.reset()
    count = 0
    for prediction in run_pass(segmenter, enumerate(frames), annotations, outputs):
        count += 1
        yield prediction
    _check_inside(annotations, count)


def run_pass(
    segmenter: VideoSegmenter,
    numbered: Iterable[tuple[int, np.ndarray]],
    annotations: Mapping[int, Annotation],
    outputs: Sequence[str],
) -> Iterator[Prediction]:
    """Segment (index, frame) pairs in the order in which they come; the segmenter goes on from where it is."""
    for index, frame in numbered:
        given = annotations.get(index)
        if given is None and segmenter.frame_index < 0:
            yield _background(frame.shape[:2], index, outputs)
            continue
        mask, ids = given if isinstance(given, tuple) else (given, None)
        yield segmenter.step(frame, mask, ids, outputs=outputs).at(index)


def backwards(frames: Any, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index, frame) from the frame `last` to the first."""
    return ((index, frames[index]) for index in range(last, -1, -1))


def _both(
    segmenter: VideoSegmenter,
    frames: Any,
    annotations: Mapping[int, Annotation],
    outputs: Sequence[str],
    folder: Path,
) -> Iterator[Prediction]:
    segmenter.reset()
    for prediction in run_pass(segmenter, backwards(frames, max(annotations)), annotations, SPILLED_OUTPUTS):
        spill(prediction, folder)
    wanted = tuple({*outputs, *SPILLED_OUTPUTS})
    for forward in _forward(segmenter, frames, annotations, wanted):
        fused = fuse_spilled(forward, annotations, folder)
        yield fused if "probabilities" in outputs else fused.without_probabilities()


def spill(prediction: Prediction, folder: Path) -> None:
    """Put the objects' probabilities of a frame into a file of `folder`, in 8 bits."""
    assert prediction.probabilities is not None
    levels = np.round(prediction.probabilities[..., 1:] * np.float32(LEVELS)).astype(np.uint8)
    with atomic_path(folder / f"{prediction.frame_index}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, ids=np.array(prediction.object_ids, np.int64), levels=levels)


def fuse_spilled(forward: Prediction, annotations: Collection[int], folder: Path) -> Prediction:
    """`fuse` with what the backward pass left in `folder`; annotated frames, and those after the last, stay as they are."""
    index = forward.frame_index
    if index in annotations or index > max(annotations):
        return forward
    with np.load(folder / f"{index}.npz") as stored:
        objects = stored["levels"].astype(np.float32) / np.float32(LEVELS)
        ids = tuple(map(int, stored["ids"]))
    background = np.clip(1.0 - objects.sum(axis=-1, keepdims=True), 0.0, 1.0)
    backward = Prediction(forward.labels, ids, index, np.concatenate([background, objects], axis=-1))
    return fuse(forward, backward, nearness(index, annotations))


def fuse(forward: Prediction, backward: Prediction, share: float | int) -> Prediction:
    """Average two predictions of a frame, each with its probabilities.

    An object that only one of them knows is as that one says. Labels are the most probable of what comes out, maps are the
    forward one's.

    Args:
      forward: counts `share`.
      backward: counts 1 - `share`.
      share: 0 to 1.
    """
    ids = tuple(sorted({*forward.object_ids, *backward.object_ids}))
    parts = []
    for i in ids:
        known = [(p, w) for p, w in ((forward, share), (backward, 1.0 - share)) if i in p.object_ids]
        total = sum(weight for _, weight in known)
        # Between two annotations neither counts nothing; at their ends a direction may be all there is.
        shares = [weight / total if total else 1.0 / len(known) for _, weight in known]
        parts.append(sum(s * channel(p, i) for s, (p, _) in zip(shares, known, strict=True)))
    objects = np.stack(parts, axis=-1)
    background = np.clip(1.0 - objects.sum(axis=-1, keepdims=True), 0.0, None)
    probabilities = np.concatenate([background, objects], axis=-1)
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    names = np.array([0, *ids], label_dtype(ids))
    return Prediction(
        names[probabilities.argmax(axis=-1)],
        ids,
        forward.frame_index,
        probabilities,
        forward.uncertainty,
        forward.displacement,
        forward.attention,
    )


def channel(prediction: Prediction, identity: int) -> Float[np.ndarray, "h w"]:
    """The probabilities of one object."""
    assert prediction.probabilities is not None
    return prediction.probabilities[..., 1 + prediction.object_ids.index(identity)]


def nearness(index: int, annotations: Collection[int]) -> float:
    """How much the forward pass counts at a frame: less, the nearer the next annotation is; 0 before the first."""
    before = max((number for number in annotations if number < index), default=None)
    after = min(number for number in annotations if number > index)
    return 0.0 if before is None else (after - index) / (after - before)


def _background(size: tuple[int, ...], index: int, outputs: Sequence[str]) -> Prediction:
    """Of a frame about which nothing is known."""
    everywhere = np.ones((*size, 1), np.float32) if "probabilities" in outputs else None
    return Prediction(np.zeros(size, np.uint8), (), index, everywhere)


def _check_inside(annotations: Collection[int], count: int) -> None:
    if max(annotations) >= count:
        raise InputError(
            f"frame {max(annotations)} is annotated, but the video has {count} frames (0 to {count - 1}); correct the number"
        )
