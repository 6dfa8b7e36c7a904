"""A session of eight small frames, served with the network of configs/testing.py."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs import testing
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.web.desk import Desk
from tests.web.serving import Client, frames_folder, served

# Without the extra 'web' there is nothing to test.
collect_ignore_glob = [] if importlib.util.find_spec("starlette") else ["test_*.py"]
WIDTH, HEIGHT, COUNT = 72, 56, 8


@pytest.fixture(scope="session")
def create(variables: Any) -> Callable[[], VideoSegmenter]:
    """Makes a segmenter of random parameters."""

    def make() -> VideoSegmenter:
        config = testing.get_config()
        return VideoSegmenter(create_model(config.model), variables, config)

    return make


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frames_folder(tmp_path_factory.mktemp("video") / "frames", COUNT, (HEIGHT, WIDTH))


@pytest.fixture
def desk(create: Callable[[], VideoSegmenter], frames: Path, tmp_path: Path) -> Desk:
    """With the frames opened, as by the command line."""
    made = Desk(create, tmp_path / "out")
    made.open(str(frames), tmp_path / "out")
    made.fixed = True
    return made


@pytest.fixture
def client(desk: Desk) -> Iterator[Client]:
    with served(desk) as found:
        yield found
