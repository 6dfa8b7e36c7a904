"""Segmenting a data set's videos: each object is given where the data says, and masks are written for every frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import common, testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.data.masks import read_mask
from munet_jax.data.youtube_vos import YouTubeVosSource
from munet_jax.evaluation.protocols import YOUTUBE_VOS
from munet_jax.evaluation.run import evaluate
from munet_jax.evaluation.split import segment_video
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.runtime.errors import InputError
from tests.data.trees import make_youtube_vos


@pytest.fixture
def segmenter(variables: Any) -> VideoSegmenter:
    """A small network: what it predicts is of no interest here."""
    config = testing.get_config()
    return VideoSegmenter(create_model(config.model), variables, config)


def test_an_object_is_given_where_it_appears_and_no_other(segmenter: VideoSegmenter, tmp_path: Path) -> None:
    source = YouTubeVosSource(make_youtube_vos(tmp_path / "data"), frames="annotated")
    segment_video(segmenter, source, 0, tmp_path / "masks", YOUTUBE_VOS)
    written = {path.stem: read_mask(path) for path in (tmp_path / "masks").iterdir()}
    assert sorted(written) == ["00000", "00005", "00010", "00015"]
    np.testing.assert_array_equal(written["00000"], source.labels(0, 0))
    assert 2 not in written["00005"]
    labels = source.labels(0, 2)
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(written["00010"] == 2, labels == 2)
    # The label map shows object 1 too, but an untrained network has to find it by itself.
    assert not np.array_equal(written["00010"] == 1, labels == 1)


def test_a_file_of_weights_in_place_of_a_run(variables: Any, tmp_path: Path) -> None:
    """The network is the file's, data and inference are the config's."""
    write_weights(tmp_path / "some.safetensors", variables, testing.get_config(), 12)
    config = common.get_config()  # of another network
    config.evaluation.kind = "synthetic"
    config.evaluation.synthetic.update(videos=1, frames=3, height=48, width=64, min_objects=2, max_objects=2)
    config.evaluation.pictures = 0
    results = evaluate(config, tmp_path / "out", weights=str(tmp_path / "some.safetensors"))
    assert (results["step"], results["weights"]) == (12, str(tmp_path / "some.safetensors"))
    assert results["config"]["model"]["key_dim"] == testing.get_config().model.key_dim
    assert len(list((tmp_path / "out/evaluation/masks").rglob("*.png"))) == 3
    with pytest.raises(InputError, match="other.safetensors: no such file of weights.*lite"):
        evaluate(config, tmp_path / "out", weights=str(tmp_path / "other.safetensors"))
