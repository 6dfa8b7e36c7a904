"""The fields of `config.evaluation`. Nothing here needs jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from munet_jax.data.options import DavisConfig, SourceConfig, TfdsConfig, YouTubeVosConfig
from munet_jax.runtime.fields import field_of


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(SourceConfig):
    """The videos that evaluate.py segments and scores."""

    kind: Literal["synthetic", "davis", "youtube_vos", "folder", "tfds"] = field_of(
        "davis", "where videos come from; each kind has a section"
    )
    davis: DavisConfig = DavisConfig(split="val")
    youtube_vos: YouTubeVosConfig = YouTubeVosConfig(split="valid")
    tfds: TfdsConfig = TfdsConfig(split="val")
    merge_objects: bool = field_of(False, "score all objects as one, as DAVIS-2016 does")
    batch_videos: int = field_of(
        1, "videos of one frame size that a device segments in step: a GPU is idle with a single frame"
    )
    after_training: bool = field_of(False, "train.py evaluates when it has finished")
    pictures: int = field_of(3, "videos to draw strips, GIFs and motion maps of")
