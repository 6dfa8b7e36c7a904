"""Objects that are told apart by their motion (`inference.tracks`), in the segmenter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from configs import testing
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.export import create_step
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError

Create = Callable[..., VideoSegmenter]


def probabilities(stream: VideoSegmenter, frames: list[np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """[h, w, n + 1] of the frames after the first."""
    stream.step(frames[0], mask)
    return [stream.step(frame, outputs=("probabilities",)).probabilities for frame in frames[1:]]


def test_an_object_alone_is_segmented_as_without(segmenter: Create, video: Any) -> None:
    frames, labels = video
    mask = np.where(labels[0] == 1, 1, 0).astype(np.uint8)
    found = [probabilities(segmenter(tracks=tracks), frames[:4], mask) for tracks in (True, False)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_of_several_only_what_is_whose_changes(segmenter: Create, video: Any) -> None:
    frames, labels = video
    on, off = (np.stack(probabilities(segmenter(tracks=x), frames[:3], labels[0])) for x in (True, False))
    # The first frame after the given one: later ones have other masks in memory.
    np.testing.assert_allclose(on[0, ..., 0], off[0, ..., 0], atol=1e-5)
    assert np.abs(on[0, ..., 1:] - off[0, ..., 1:]).max() > 1e-3
    np.testing.assert_allclose(on.sum(axis=-1), 1.0, atol=1e-5)


def test_a_displacement_that_points_away_is_refused(variables: Any) -> None:
    config = testing.get_config()
    config.model.mu_layer.matching = "softargmin"
    model = create_model(config.model)
    with pytest.raises(InputError, match="tracks follows the displacement, .* 'softargmin' points away"):
        VideoSegmenter(model, variables, config)
    with pytest.raises(InputError, match="tracks follows"):
        create_step(model, variables, config, (64, 64), 2)
