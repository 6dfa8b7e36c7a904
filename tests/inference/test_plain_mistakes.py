"""What people pass to a segmenter by mistake: nothing of it may go by without a word, nor spoil what follows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from munet_jax.inference import VideoSegmenter
from munet_jax.runtime.errors import InputError

Create = Callable[..., VideoSegmenter]


@pytest.fixture
def begun(segmenter: Create, video: Any) -> VideoSegmenter:
    """After the first frame, with the objects 1 and 2."""
    created = segmenter()
    created.step(video[0][0], np.where(video[1][0] > 0, video[1][0], 0))
    assert created.object_ids == (1, 2)
    return created


def test_an_iterator_of_objects_removes_them(begun: VideoSegmenter, video: Any) -> None:
    begun.remove(i for i in begun.object_ids if i == 2)  # type: ignore[arg-type]
    assert begun.object_ids == (1,)
    labels = begun.step(video[0][1]).labels
    assert set(np.unique(labels)) <= {0, 1}


@pytest.mark.parametrize("given", [{2}, (2,), {2: "ball"}, range(2, 3)])
def test_any_collection_of_objects_removes_them(begun: VideoSegmenter, given: Any) -> None:
    begun.remove(given)
    assert begun.object_ids == (1,)


def test_what_is_no_id_removes_nothing_and_says_so(begun: VideoSegmenter) -> None:
    for given, reason in (
        ([3], "object 3 is not tracked"),
        ([2, 0], "0 cannot be an object's id"),
        ([True], "not True"),
    ):
        with pytest.raises(InputError, match=reason):
            begun.remove(given)
        assert begun.object_ids == (1, 2)


@pytest.mark.parametrize("values", [(0, 255), (255, 255), (0, 0)])
def test_a_correction_that_shows_no_object_is_refused(
    begun: VideoSegmenter, video: Any, values: tuple[int, int]
) -> None:
    """As OpenCV makes binary masks: 255 is 'not known' here, and the correction had no effect."""
    correction = np.where(video[1][1] == 1, values[1], values[0]).astype(np.uint8)
    with pytest.raises(InputError, match=r"the mask shows no object: every pixel is 0 .* or 255 .*object_ids"):
        begun.step(video[0][1], correction)
    assert begun.frame_index == 0  # as it was


def test_an_object_that_is_named_and_not_shown_has_left(begun: VideoSegmenter, video: Any) -> None:
    labels = begun.step(video[0][1], np.zeros_like(video[1][1]), object_ids=[1]).labels
    assert 1 not in labels


@pytest.mark.parametrize(("mask", "ids"), [(3_000_000_000, None), (1, [3_000_000_000]), (1, [True]), (-1, None)])
def test_ids_that_cannot_be_leave_the_segmenter_as_it_was(
    begun: VideoSegmenter, video: Any, mask: int, ids: Any
) -> None:
    with pytest.raises(InputError):
        begun.step(video[0][1], video[1][1].astype(np.int64) * mask, ids)
    assert begun.object_ids == (1, 2)
    assert begun.step(video[0][1]).frame_index == 1


def test_the_most_objects_are_named_as_a_field_of_the_config(segmenter: Create, video: Any) -> None:
    """Which option sets it depends on the command that runs."""
    created = segmenter(max_objects=1)
    with pytest.raises(InputError, match=r"config\.inference\.max_objects is 1") as caught:
        created.step(video[0][0], video[1][0])
    assert "munet segment" not in str(caught.value)
