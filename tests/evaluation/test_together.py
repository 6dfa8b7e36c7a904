"""Videos that a device segments in step get the masks that each would get alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from configs import testing
from munet_jax.data.masks import read_mask
from munet_jax.evaluation.protocols import GENERIC
from munet_jax.evaluation.split import MASKS, segment_split
from munet_jax.evaluation.together import geometry_of, groups_of
from munet_jax.inference import VideoSegmenter, budget
from munet_jax.inference.in_step import VideosTogether
from munet_jax.inference.views import Geometry, create_geometry
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from tests.data.trees import MemorySource, label_map


def create(variables: Any, **changes: Any) -> VideoSegmenter:
    config = testing.get_config()
    config.inference.update(memory_interval=2, **changes)
    return VideoSegmenter(create_model(config.model), variables, config)


def clips() -> MemorySource:
    """Different lengths; one begins without an object, one has an object that comes later, one has none."""
    nothing = np.zeros_like(label_map((1,)))
    return MemorySource(
        [
            [label_map((1,), shift=t) for t in range(6)],
            [label_map((1, 2), shift=2 * t) for t in range(4)],
            [nothing, *[label_map((2,), shift=t) for t in range(4)]],
            [label_map((1,)), label_map((1,), shift=1), *[label_map((1, 2), shift=t) for t in (2, 3)]],
            [nothing] * 3,
        ]
    )


def geometry(source: MemorySource, **changes: Any) -> Callable[[int], Geometry]:
    config = testing.get_config()
    config.inference.update(**changes)
    return lambda index: geometry_of(source, index, GENERIC, config.inference)


def test_groups_are_of_one_size() -> None:
    source = MemorySource([*([[label_map((1,))]] * 3), [label_map((1,))[8:]], [label_map((1,))]])
    assert groups_of(range(5), 3, geometry(source)) == [[0, 1, 2], [4], [3]]
    assert groups_of([4, 2], 1) == [[4], [2]]
    with pytest.raises(InputError, match="batch_videos is 0; it is at least 1"):
        groups_of([4, 2], 0)


def test_groups_are_of_one_size_of_their_objects() -> None:
    """The first object of a video decides, in whichever frame it comes."""
    large, small = label_map((1,)), label_map((1, 2))  # squares of 32 and 16 pixels in frames of 48 x 64
    nothing = np.zeros_like(large)
    source = MemorySource([[large], [small], [nothing, large], [nothing]])
    found = geometry(source, object_size=64, object_max_size=192)
    assert [found(index).work for index in range(4)] == [(80, 107), (160, 213), (80, 107), (48, 64)]
    assert groups_of(range(4), 4, found) == [[0, 2], [1], [3]]


def test_a_split_has_the_same_masks(variables: Any, tmp_path: Path) -> None:
    source, changes, found = clips(), {"object_size": 24, "object_max_size": 96, "max_size": 32}, []
    for videos in (1, 5):
        folder, devices = tmp_path / str(videos), jax.devices()[:1]
        timings = segment_split(
            source,
            lambda: create(variables, **changes),
            folder,
            "a",
            devices,
            GENERIC,
            batch_videos=videos,
            geometry=geometry(source, **changes),
        )
        assert [timing.objects for timing in timings.values()] == [1, 2, 1, 2, 0]
        masks = sorted((folder / MASKS).rglob("*.png"))
        found.append({str(path.relative_to(folder)): read_mask(path) for path in masks})
    alone, together = found
    assert alone.keys() == together.keys()
    assert len(alone) == 6 + 4 + 5 + 4 + 3
    assert timings["video0"].frames > 0
    for name, labels in alone.items():
        np.testing.assert_array_equal(labels, together[name], err_msg=name)


def test_probabilities_are_those_of_each_alone(variables: Any) -> None:
    source = clips()
    both = VideosTogether(create(variables), create_geometry(source.frame(0, 0).shape[:2]), [(1,), (1, 2)])
    streams = [create(variables), create(variables)]
    for number in range(4):
        given = [None if number else (source.labels(index, 0), (1, 2)[: index + 1]) for index in (0, 1)]
        both.step([source.frame(index, number) for index in (0, 1)], given)
        for index, stream in enumerate(streams):
            stream.step(source.frame(index, number), None if number else source.labels(index, 0))
            (view,) = stream._views
            count = len(stream.object_ids)
            masks = both.states.masks[index][:, :count]
            np.testing.assert_allclose(masks, view.state.masks[:, :count], atol=1e-5)


def test_what_is_for_one_video_alone_is_refused(variables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"batch_videos to 1"):
        VideosTogether(create(variables, flip=True), create_geometry((48, 64)), [(1,), (1,)])
    monkeypatch.setattr(budget, "available_memory", lambda: 10)
    with pytest.raises(InputError, match=r"2 videos with frames .* set config.evaluation.batch_videos to fewer, or"):
        VideosTogether(create(variables), create_geometry((48, 64)), [(1,), (1,)])
