"""Propagation from annotated frames: directions, what is kept as given, what is averaged."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from munet_jax.inference import Prediction, VideoSegmenter, propagate
from munet_jax.inference.propagation import fuse, nearness
from munet_jax.runtime.errors import InputError

Create = Callable[..., VideoSegmenter]
ALL = ("labels", "probabilities", "displacement")


def labels_of(predictions: Any) -> dict[int, np.ndarray]:
    return {prediction.frame_index: prediction.labels for prediction in predictions}


def test_forward_equals_step_after_step(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    expected = [stream.step(f, None if n else labels[0]).labels for n, f in enumerate(frames)]
    got = labels_of(propagate(segmenter(), iter(frames), {0: labels[0]}, direction="forward"))
    assert list(got) == list(range(8))
    for number, wanted in enumerate(expected):
        np.testing.assert_array_equal(got[number], wanted)


def test_backward_is_the_video_turned_round(segmenter: Create, video: Any) -> None:
    """The neighbour of the MU-Layer is the frame after: in the running direction."""
    frames, labels = video
    backward = list(propagate(segmenter(), frames, {7: labels[7]}, direction="backward", outputs=ALL))
    assert [prediction.frame_index for prediction in backward] == list(range(7, -1, -1))
    turned = list(propagate(segmenter(), frames[::-1], {0: labels[7]}, direction="forward", outputs=ALL))
    for one, two in zip(backward, turned, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
        np.testing.assert_array_equal(one.displacement, two.displacement)


def test_frames_before_the_first_annotation_are_background(segmenter: Create, video: Any) -> None:
    frames, labels = video
    got = list(propagate(segmenter(), frames, {3: labels[3]}, direction="forward", outputs=ALL))
    for prediction in got[:3]:
        assert not prediction.labels.any()
        assert prediction.object_ids == ()
        assert prediction.probabilities.shape == (56, 72, 1)
    np.testing.assert_array_equal(got[3].labels, labels[3])


def test_both_ways_keeps_annotations_and_averages_between_them(segmenter: Create, video: Any) -> None:
    frames, labels = video
    annotations = {2: labels[2], 5: labels[5]}
    passes = {
        direction: {
            p.frame_index: p for p in propagate(segmenter(), frames, annotations, direction=direction, outputs=ALL)
        }
        for direction in ("forward", "backward", "both")
    }
    both = passes["both"]
    assert list(both) == list(range(8))
    for number in annotations:
        np.testing.assert_array_equal(both[number].labels, labels[number])
    for number in (3, 4):
        share = nearness(number, annotations)
        one, two = passes["forward"][number].probabilities, passes["backward"][number].probabilities
        mean = share * one[..., 1:] + (1 - share) * two[..., 1:]
        np.testing.assert_allclose(
            both[number].probabilities[..., 1:], mean, atol=4e-3
        )  # 8 bits wait for the second pass
    for number in (0, 1):  # only the backward pass knows anything
        np.testing.assert_allclose(both[number].probabilities, passes["backward"][number].probabilities, atol=4e-3)
    for number in (6, 7):
        np.testing.assert_array_equal(both[number].probabilities, passes["forward"][number].probabilities)
    plain = labels_of(propagate(segmenter(), frames, annotations))
    for number in range(8):
        np.testing.assert_array_equal(plain[number], both[number].labels)


def test_an_annotation_may_speak_about_some_objects(segmenter: Create, video: Any) -> None:
    frames, labels = video
    nothing = np.zeros_like(labels[0])
    got = labels_of(propagate(segmenter(), frames, {0: labels[0], 4: (nothing, [1])}, direction="forward"))
    assert 1 not in got[4]


def prediction(objects: dict[int, float]) -> Prediction:
    """One pixel."""
    values = [1.0 - sum(objects.values()), *objects.values()]
    probabilities = np.array(values, np.float32).reshape(1, 1, -1)
    return Prediction(np.zeros((1, 1), np.uint8), tuple(objects), 4, probabilities)


def test_an_object_that_one_pass_knows_is_as_that_one_says() -> None:
    fused = fuse(prediction({1: 0.2}), prediction({1: 0.4, 7: 0.5}), 0.25)
    assert fused.object_ids == (1, 7)
    np.testing.assert_allclose(fused.probabilities[0, 0], np.array([0.15, 0.35, 0.5]), atol=1e-6)
    assert fused.labels[0, 0] == 7
    crowded = fuse(prediction({1: 0.9}), prediction({7: 0.9}), 0.5)
    np.testing.assert_allclose(crowded.probabilities.sum(), 1.0, atol=1e-6)
    alone = fuse(prediction({}), prediction({7: 0.75}), 1.0)  # however little its pass counts
    np.testing.assert_allclose(alone.probabilities[0, 0], np.array([0.25, 0.75]), atol=1e-6)


def test_large_ids_and_frames_in_one_array(segmenter: Create, video: Any) -> None:
    frames, labels = video
    large = np.where(labels[3] == 1, 300, 0).astype(np.int32)
    got = labels_of(propagate(segmenter(), np.stack(frames), {3: large}))
    assert list(got) == list(range(8))
    assert got[0].dtype == np.int32
    assert set(np.unique(got[7])) <= {0, 300}


def test_how_much_each_pass_counts() -> None:
    annotations = [2, 6, 7]
    shares = [nearness(number, annotations) for number in (0, 1, 3, 4, 5)]
    assert shares == [0.0, 0.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("annotations", "direction", "reason"),
    [
        ((), "both", "no frame is annotated"),
        ((8,), "both", r"frame 8 is annotated, but the video has 8 frames \(0 to 7\)"),
        ((-1,), "both", "no frame -1"),
        ((0,), "sideways", "direction is 'sideways'; choose one of forward, backward, both"),
    ],
)
def test_what_cannot_be_propagated(
    segmenter: Create, video: Any, annotations: Sequence[int], direction: str, reason: str
) -> None:
    frames, labels = video
    with pytest.raises(InputError, match=reason):
        next(propagate(segmenter(), frames, dict.fromkeys(annotations, labels[0]), direction=direction))


def test_a_stream_runs_forward_only_and_must_reach_its_annotations(segmenter: Create, video: Any) -> None:
    frames, labels = video
    with pytest.raises(InputError, match="needs frames that can be asked for by number"):
        next(propagate(segmenter(), iter(frames), {0: labels[0]}))
    with pytest.raises(InputError, match="frame 5 is annotated, but the video has 3 frames"):
        list(propagate(segmenter(), iter(frames[:3]), {0: labels[0], 5: labels[0]}, direction="forward"))
