"""Scores of held-out training videos during a run, by which the best checkpoint is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.evaluation.pictures import draw_pictures
from munet_jax.evaluation.protocols import YOUTUBE_VOS, Protocol, protocol_of
from munet_jax.evaluation.run import read_masks, score_masks
from munet_jax.evaluation.scoring import summarise
from munet_jax.evaluation.split import MASKS, segment_video
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet
from munet_jax.training.step import TrainState

FOLDER = "validation"
SCORE = "validation_J&F"


class Validation:
    """Segments the held-out videos as an evaluation would; masks and pictures of the last time stay in the workdir."""

    def __init__(self, config: ConfigDict, model: MUNet, source: ClipSource, workdir: Path) -> None:
        """Nothing is read or compiled yet."""
        self._config, self._model, self._source = config, model, source
        self._folder = workdir / FOLDER

    def score(self, state: TrainState) -> tuple[dict[str, float], list[Path]]:
        """J, F and J&F with a host state's parameters (their average, where there is one), and pictures."""
        variables: dict[str, Any] = {"params": state.ema or state.params, "batch_stats": state.batch_stats}
        segmenter = VideoSegmenter(self._model, variables, self._config)
        scores, pictures = {}, []
        masks, protocol = self._folder / MASKS, self._protocol()
        for index in range(len(self._source)):
            video = self._source.video(index)
            segment_video(segmenter, self._source, index, masks / video.name, protocol)
            scores[video.name] = score_masks(self._source, index, read_masks(video, masks / video.name), protocol)
            if index < self._config.evaluation.pictures:
                network = (self._model, variables, self._config)
                pictures += draw_pictures(self._source, index, masks, self._folder, network)
        summary = summarise(scores)
        return {f"validation_{name}": summary[name] for name in ("J&F", "J", "F")}, pictures

    def _protocol(self) -> Protocol:
        """The evaluation's, but for videos that say themselves in which frames objects are given."""
        later = any(self._source.video(index).first_frames for index in range(len(self._source)))
        return YOUTUBE_VOS if later else protocol_of(self._config)
