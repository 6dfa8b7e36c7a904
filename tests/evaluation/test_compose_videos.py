"""Videos of several objects, composed of videos of one: the same from the same seed, with labels of what shows."""

from pathlib import Path

import numpy as np
import pytest

from docs.tools import compose_videos
from munet_jax.data.davis import DavisSource
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.errors import InputError
from tests.data.trees import COLOURS, MemorySource

SIZE = (60, 100)


def moving(identity: int, side: int, frames: int = 9) -> list[np.ndarray]:
    """A square that moves right."""
    videos = []
    for frame in range(frames):
        labels = np.zeros(SIZE, np.uint8)
        labels[20 : 20 + side, 25 + frame : 25 + frame + side] = identity
        videos.append(labels)
    return videos


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> MemorySource:
    monkeypatch.setattr(compose_videos, "COLOURS", AugmentationConfig.none())
    return MemorySource([moving(1, 18), moving(3, 14), moving(4, 16)])


def test_labels_say_what_shows_and_the_seed_says_all(source: MemorySource) -> None:
    kinds = set()
    for number in range(6):
        name, video = compose_videos.compose(source, number, 0, length=6)
        again = compose_videos.compose(source, number, 0, length=6)
        assert name == again[0]
        np.testing.assert_array_equal(video.frames, again[1].frames)
        np.testing.assert_array_equal(video.labels, again[1].labels)
        parts = [int(part.removeprefix("video")) for part in name.split("-")[1:]]
        kinds.add(tuple(part == parts[0] for part in parts[1:]))
        assert set(np.unique(video.labels[0])) == set(range(len(parts) + 1))
        for slot, part in enumerate(parts, start=1):
            colour = COLOURS[(1, 3, 4)[part]].astype(int)
            shown = (np.abs(video.frames.astype(int) - colour) <= 40).all(axis=-1)
            inner = video.labels == slot
            assert shown[inner].mean() > 0.85  # edges are mixed
            alike = np.isin(video.labels, [k for k, other in enumerate(parts, start=1) if other == part])
            assert not (shown & ~alike).any()
    assert kinds == {(False,), (True,), (False, True)}
    assert any(
        not np.array_equal(
            compose_videos.compose(source, 0, seed, 6)[1].labels, compose_videos.compose(source, 0, 9, 6)[1].labels
        )
        for seed in range(3)
    )


def test_what_passes_crosses_the_object_in_the_middle(source: MemorySource) -> None:
    below = compose_videos.read(source, 0, 9, np.random.default_rng(0))
    above = compose_videos.read(source, 1, 9, np.random.default_rng(0))
    hidden = set()
    for seed in range(6):
        labels = compose_videos.passing(below, above, np.random.default_rng(seed)).labels
        before, middle = (int((below.labels[k] > 0).sum() - (labels[k] == 1).sum()) for k in (0, 4))
        shown = int((labels[4] == 2).sum())
        assert middle > 60 or shown < 150  # in front, or behind
        assert before < middle or shown < (labels[0] == 2).sum()
        hidden.add(middle > 60)
    assert hidden == {True, False}


def test_the_tree_is_davis_2017s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: MemorySource) -> None:
    monkeypatch.setattr(compose_videos, "DavisSource", lambda *_: source)
    monkeypatch.setattr(compose_videos, "VIDEOS", 2)
    monkeypatch.setattr(compose_videos, "FRAMES", 4)
    assert compose_videos.main([str(tmp_path), str(tmp_path / "dev")]) == 0
    written = DavisSource(tmp_path / "dev", "val", "2017")
    assert len(written) == 2
    _, video = compose_videos.compose(source, 1, compose_videos.SEED, 4)
    np.testing.assert_array_equal(written.labels(1, 3), video.labels[3])
    assert np.abs(written.frame(1, 3).astype(int) - video.frames[3]).mean() < 6
    with pytest.raises(InputError, match="dev: exists already"):
        compose_videos.main([str(tmp_path), str(tmp_path / "dev")])
    with pytest.raises(InputError, match="has 1 videos; to compose some, give two or more"):
        compose_videos.compose(MemorySource([moving(1, 18)]), 0, 0, 4)
