"""The streaming segmenter: equal to the network on a clip, later objects, memory, outputs, bad input."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.inference.views import create_geometry, fit_frame
from munet_jax.inference.working_size import typical_size, working_size
from munet_jax.runtime.errors import InputError
from munet_jax.training.step import one_hot_objects
from tests.inference.conftest import FRAMES

Create = Callable[..., VideoSegmenter]


def test_frame_by_frame_equals_the_network_on_a_clip(segmenter: Create, variables: Any, video: Any) -> None:
    """With every frame kept in memory the stream does what sequential training does."""
    frames, labels = video
    stream = segmenter(memory_interval=1)
    model = stream.model
    masks = one_hot_objects(jnp.asarray(labels[0])[None], 2)
    clip = jnp.asarray(np.stack(frames[:5]))[None]
    run = jax.jit(lambda *inputs: model.apply(*inputs, memory="sequential"))
    logits = run(variables, clip, masks, jnp.ones((1, 2), bool))
    together = np.asarray(jax.nn.softmax(logits[0], axis=-1))
    for number in range(5):
        prediction = stream.step(
            frames[number], labels[0] if number == 0 else None, outputs=("labels", "probabilities")
        )
        if number:
            np.testing.assert_allclose(prediction.probabilities, together[number - 1], atol=2e-4)
            np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(axis=-1))


def test_the_given_mask_is_returned_as_it_is_with_the_users_ids(segmenter: Create, video: Any) -> None:
    frames, labels = video
    ids = np.array([0, 40, 7], np.uint8)[labels[0]]
    stream = segmenter()
    np.testing.assert_array_equal(stream.step(frames[0], ids).labels, ids)
    assert stream.object_ids == (7, 40)
    assert set(np.unique(stream.step(frames[1]).labels)) <= {0, 7, 40}


def test_an_object_that_comes_later_covers_what_was_predicted(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    stream.step(frames[0], np.where(labels[0] == 1, 1, 0).astype(np.uint8))
    before = stream.step(frames[1]).labels
    late = np.zeros_like(labels[0])
    late[10:30, 20:40] = 5
    with_both = stream.step(frames[2], late).labels
    assert (with_both[10:30, 20:40] == 5).all()
    assert stream.object_ids == (1, 5)
    assert set(np.unique(before)) <= {0, 1}
    outside = np.ones(late.shape, bool)
    outside[10:30, 20:40] = False
    assert 5 not in with_both[outside]
    assert set(np.unique(stream.step(frames[3]).labels)) <= {0, 1, 5}


def test_an_object_that_is_named_and_not_shown_is_not_there(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    stream.step(frames[0], labels[0])
    corrected = stream.step(frames[1], np.zeros_like(labels[0]), object_ids=[1])
    assert 1 not in corrected.labels


def test_pixels_marked_as_not_known_keep_the_prediction(segmenter: Create, video: Any) -> None:
    frames, labels = video
    plain, marked = segmenter(), segmenter()
    for stream in (plain, marked):
        stream.step(frames[0], labels[0])
    expected = plain.step(frames[1]).labels
    unknown = np.full_like(labels[1], 255)
    np.testing.assert_array_equal(marked.step(frames[1], unknown, marked.object_ids).labels, expected)


def test_room_for_more_objects_changes_nothing(segmenter: Create, video: Any) -> None:
    """Three objects use four slots; the padded one takes no part."""
    frames, labels = video
    three = labels[0].copy()
    three[:6, :6] = 3
    one = segmenter()
    one.step(frames[0], three)
    probabilities = one.step(frames[1], outputs=("probabilities",)).probabilities
    assert probabilities.shape == (56, 72, 4)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-5)


def test_memory_is_bounded_and_the_first_frame_stays(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter(memory_interval=1, memory_capacity=4)
    stream.step(frames[0], labels[0])
    first = np.asarray(stream._views[0].state.bank.keys[:, :, 1])
    for number in range(1, FRAMES):
        stream.step(frames[number])
        assert stream.shapes["memory"] <= 4
    np.testing.assert_array_equal(np.asarray(stream._views[0].state.bank.keys[:, :, 1]), first)


def test_the_previous_frame_is_replaced_unless_it_stays(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter(memory_interval=3)
    occupied = []
    for number in range(5):
        stream.step(frames[number], labels[0] if number == 0 else None)
        occupied.append(np.asarray(stream._views[0].state.bank.occupied[0, 0, :, 0]).sum())
    # The first; with the one before; the same; frame 3 stays, so it is not kept twice; and the one before again.
    assert occupied == [1, 2, 2, 2, 3]


def test_every_output_has_the_size_of_the_frame(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    outputs = ("labels", "probabilities", "uncertainty", "displacement", "attention")
    first = stream.step(frames[0], labels[0], outputs=outputs)
    assert first.uncertainty is None
    assert first.displacement is None
    second = stream.step(frames[1], outputs=outputs)
    assert second.uncertainty.shape == second.attention.shape == second.labels.shape == (56, 72)
    assert second.displacement.shape == (56, 72, 2)
    assert np.abs(second.uncertainty).max() <= 1.0 + 1e-5
    assert 0.0 <= second.attention.min() <= second.attention.max() <= 1.0
    assert stream.step(frames[2]).probabilities is None


def test_a_frame_that_did_not_move_shows_no_motion(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter()
    stream.step(frames[0], labels[0])
    still = stream.step(frames[0], outputs=("displacement", "uncertainty"))
    assert np.median(np.abs(still.displacement)) < 1.0
    assert np.median(still.uncertainty) == pytest.approx(1.0, abs=1e-3)


def test_float_frames_reset_and_two_videos_at_once(segmenter: Create, video: Any) -> None:
    frames, labels = video
    one, other = segmenter(), segmenter()
    expected = []
    for number in range(3):
        expected.append(one.step(frames[number], labels[0] if number == 0 else None).labels)
    one.reset()
    for number in range(3):
        mask = labels[0] if number == 0 else None
        other.step(frames[number][::-1].copy(), None if mask is None else mask[::-1].copy())
        again = one.step(frames[number].astype(np.float32) / 255.0, mask)
        np.testing.assert_array_equal(again.labels, expected[number])


def test_bad_input_says_what_is_wrong(segmenter: Create, video: Any) -> None:
    frames, labels = video
    stream = segmenter(max_objects=1)
    with pytest.raises(InputError, match="frame 0 needs a mask"):
        stream.step(frames[0])
    with pytest.raises(InputError, match="no object"):
        stream.step(frames[0], np.zeros_like(labels[0]))
    with pytest.raises(InputError, match="mask is 72 x 40, but its frame is 72 x 56"):
        stream.step(frames[0], labels[0][:40])
    with pytest.raises(InputError, match=r"2 objects, and config.inference.max_objects is 1; raise it to 2"):
        stream.step(frames[0], labels[0])
    with pytest.raises(InputError, match=r"RGB"):
        stream.step(frames[0][..., 0], labels[0])
    with pytest.raises(InputError, match="outputs has depth"):
        stream.step(frames[0], labels[0], outputs=("depth",))
    with pytest.raises(InputError, match=r"outputs is the text 'labels'; give a tuple of names, such as \('labels',\)"):
        stream.step(frames[0], labels[0], outputs="labels")
    single = np.minimum(labels[0], 1)
    stream.step(frames[0], single)
    with pytest.raises(InputError, match=r"72 x 40 but the video began with 72 x 56"):
        stream.step(frames[1][:40])
    with pytest.raises(InputError, match="config.inference"):
        segmenter(memory_capacity=2)


def test_large_frames_are_worked_on_at_a_smaller_size(segmenter: Create, video: Any) -> None:
    """`max_size`: as if the smaller frames had been given, with the results at the frames' own size."""
    frames, labels = video
    large = [np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1) for frame in frames[:4]]
    mask = np.repeat(np.repeat(labels[0], 2, axis=0), 2, axis=1)
    outputs = ("labels", "probabilities", "uncertainty", "displacement", "attention")
    small_stream, large_stream = segmenter(), segmenter(max_size=56)
    shrinking = create_geometry((112, 144), max_size=56)
    for number in range(4):
        given = number == 0
        shrunk = np.asarray(fit_frame(jnp.asarray(large[number]), shrinking))[0]
        small = small_stream.step(shrunk, labels[0] if given else None, outputs=outputs)
        prediction = large_stream.step(large[number], mask if given else None, outputs=outputs)
        assert prediction.labels.shape == (112, 144)
        if given:
            np.testing.assert_array_equal(prediction.labels, mask)  # exactly, although the memory is smaller
            continue
        # Averaged back over 2 x 2 pixels, what was enlarged is what the small video gave, but for softer masks in memory.
        again = prediction.probabilities.reshape(56, 2, 72, 2, 3).mean(axis=(1, 3))
        assert np.abs(again - small.probabilities).mean() < 0.03
        np.testing.assert_allclose(prediction.probabilities.sum(axis=-1), 1.0, atol=1e-5)
        assert prediction.uncertainty.shape == prediction.attention.shape == (112, 144)
        again = prediction.displacement.reshape(56, 2, 72, 2, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(again.mean(axis=(0, 1)), 2 * small.displacement.mean(axis=(0, 1)), atol=0.1)
    assert large_stream._views[0].geometry.work == small_stream._views[0].geometry.work


def test_a_small_object_is_not_lost_when_frames_shrink(segmenter: Create) -> None:
    mask = np.zeros((128, 160), np.uint8)
    mask[60:62, 80:82] = 9
    stream = segmenter(max_size=32)
    frame = np.zeros((128, 160, 3), np.uint8)
    np.testing.assert_array_equal(stream.step(frame, mask).labels, mask)
    assert float(stream._views[0].state.masks.max()) > 0.1


def test_small_frames_are_enlarged_to_be_worked_on(segmenter: Create, video: Any) -> None:
    """`min_size`: as if the larger frames had been given, with the results at the frames' own size."""
    frames, labels = video
    enlarging = create_geometry((56, 72), min_size=112)
    stream, large = segmenter(min_size=112), segmenter()
    for number in range(3):
        given = number == 0
        prediction = stream.step(frames[number], labels[0] if given else None, outputs=("labels", "probabilities"))
        enlarged = np.asarray(fit_frame(jnp.asarray(frames[number]), enlarging))[0]
        mask = np.repeat(np.repeat(labels[0], 2, axis=0), 2, axis=1) if given else None
        expected = large.step(enlarged, mask, outputs=("probabilities",))
        assert prediction.labels.shape == (56, 72)
        if given:
            np.testing.assert_array_equal(prediction.labels, labels[0])
        else:
            again = expected.probabilities.reshape(56, 2, 72, 2, 3).mean(axis=(1, 3))
            assert np.abs(again - prediction.probabilities).mean() < 0.03
    assert stream._views[0].geometry.work == large._views[0].geometry.work == (112, 144)


@pytest.mark.parametrize(
    ("size", "min_size", "max_size", "expected"),
    [
        ((480, 854), 0, 0, (480, 854)), ((480, 854), 0, 240, (240, 427)), ((240, 427), 0, 480, (240, 427)),
        ((854, 480), 0, 240, (427, 240)), ((240, 427), 480, 0, (480, 854)), ((427, 240), 300, 300, (534, 300)),
        ((480, 854), 368, 368, (368, 655)), ((240, 427), 368, 200, (200, 356)), ((300, 400), 240, 480, (300, 400)),
    ],
)  # fmt: skip
def test_working_sizes(size: tuple[int, int], min_size: int, max_size: int, expected: tuple[int, int]) -> None:
    assert working_size(size, min_size, max_size) == expected


@pytest.mark.parametrize(
    ("size", "limits", "objects", "expected"),
    [
        ((480, 854), (0, 0), 200.0, (480, 854)),  # large enough
        ((240, 432), (0, 0), 0.0, (240, 432)),  # not known
        ((240, 432), (0, 0), 60.0, (400, 720)),
        ((432, 240), (0, 0), 65.0, (720, 400)),
        ((240, 432), (0, 0), 20.0, (640, 1152)),
        ((240, 432), (480, 0), 60.0, (480, 864)),  # enlarged further anyway
        ((1080, 1920), (0, 480), 400.0, (480, 853)),
        ((1080, 1920), (0, 480), 200.0, (560, 996)),  # shrunk by less
        ((720, 1280), (0, 700), 20.0, (700, 1244)),  # never below the other limit
    ],
)
def test_working_sizes_for_objects(
    size: tuple[int, int], limits: tuple[int, int], objects: float, expected: tuple[int, int]
) -> None:
    assert working_size(size, *limits, objects=objects, object_size=100, object_max_size=640) == expected


def test_an_object_has_the_size_of_a_square_of_its_area() -> None:
    mask = np.zeros((40, 60), np.int32)
    mask[:10, :10], mask[20:40, :20], mask[0, 59] = 1, 2, 255
    assert typical_size(mask, [1]) == pytest.approx(10.0)
    assert typical_size(mask, [1, 2]) == pytest.approx(200**0.5)
    assert typical_size(mask, [2, 7]) == pytest.approx(20.0)
    assert typical_size(mask, [7]) == typical_size(mask, []) == 0.0


def test_the_first_mask_decides_at_which_size_a_video_is_worked_on(segmenter: Create, video: Any) -> None:
    """What comes later changes nothing, a saved state keeps it, and the next video has its own."""
    frames, labels = video
    options = {"object_size": 16, "object_max_size": 96}
    stream, again = segmenter(**options), segmenter(**options)
    tiny = np.zeros_like(labels[0])
    tiny[20:26, 20:26] = 5
    assert stream.step(frames[0], tiny).labels.shape == tiny.shape
    assert stream._views[0].geometry.work == (96, 123)
    stream.step(frames[1], np.full_like(tiny, 6))
    again.load_state(stream.save_state())
    for each in (stream, again):
        last = each.step(frames[2])
        assert each._views[0].geometry.work == (96, 123)
        each.reset()
    assert last.labels.shape == tiny.shape
    stream.step(frames[0], np.ones_like(tiny))
    assert stream._views[0].geometry.work == tiny.shape


def test_an_object_size_needs_a_limit(segmenter: Create) -> None:
    with pytest.raises(
        InputError, match=r"object_size is 100, but nothing says how far .*: set config.inference.object_max"
    ):
        segmenter(object_size=100)


@pytest.mark.parametrize("name", ["min_size", "max_size", "object_size", "object_max_size"])
def test_a_negative_size_is_refused(segmenter: Create, name: str) -> None:
    with pytest.raises(InputError, match=f"inference.{name} is -1; give "):
        segmenter(**{name: -1})
