"""A short video, and segmenters of a small network with random parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image as PILImage

from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.data.masks import write_mask
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.data.video_files import write_video
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


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, video: Any, variables: Any) -> Path:
    """frames/shot 1.png to shot 12.png (natural order differs from that of text), masks, weights.safetensors."""
    pytest.importorskip("av")
    root = tmp_path_factory.mktemp("tree")
    frames, labels = video
    (root / "frames").mkdir()
    for number in range(12):
        PILImage.fromarray(frames[number % 8]).save(root / "frames" / f"shot {number + 1}.png")
    write_mask(root / "first.png", labels[0])
    write_mask(root / "later.png", labels[5])
    write_weights(root / "weights.safetensors", {"params": variables["params"], "batch_stats": {}}, settings(), 3)
    write_video(root / "clip.mp4", [np.repeat(np.repeat(f, 2, 0), 2, 1) for f in frames], 10)
    PILImage.fromarray(np.kron(labels[0], np.ones((2, 2), np.uint8))).save(root / "double.png")
    return root
