"""A short video, and segmenters of a small network with random parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import testing
from munet_jax.data.synthetic import SyntheticConfig, SyntheticSource
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model

FRAMES = 8


def settings(**changes: Any) -> ConfigDict:
    config = testing.get_config()
    config.inference.update(changes)
    return config


@pytest.fixture(scope="session")
def video() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames whose size is not a multiple of 16, and their label maps with two objects."""
    config = SyntheticConfig(videos=1, frames=FRAMES, height=56, width=72, max_objects=2, min_occlusion=0.0)
    source = SyntheticSource(config)
    return [source.frame(0, t) for t in range(FRAMES)], [source.labels(0, t) for t in range(FRAMES)]


@pytest.fixture(scope="session")
def segmenter(variables: Any) -> Callable[..., VideoSegmenter]:
    """Makes a segmenter, with fields of `config.inference` changed."""

    def create(**changes: Any) -> VideoSegmenter:
        config = settings(**changes)
        return VideoSegmenter(create_model(config.model), variables, config)

    return create
