"""The fields of `config.inference`; nothing here needs jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from munet_jax.runtime.fields import as_config, field_of

REMOVED = ("size_multiple",)  # fields of older versions
SIZES = ("min_size", "max_size", "object_size", "object_max_size")  # at which frames are worked on
MOST_OBJECTS = 255  # a label map of uint8 has no more ids


@dataclasses.dataclass(frozen=True)
class AdaptiveConfig:
    """Of the policy 'adaptive': see `munet_jax.models.memory.Adaptive`."""

    capacity: int = field_of(16, "adaptive: memory of each object, as many positions as N frames have")
    merge_above: float = field_of(
        0.95, "adaptive: merge a new position into a remembered one above this cosine of their keys"
    )
    merge_rate: float = field_of(
        0.1, "adaptive: how far a merge moves the remembered key to the new one, as a share (0 to 1)"
    )


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How videos are segmented, by evaluations, `munet segment` and `VideoSegmenter`."""

    memory_policy: Literal["every_k", "adaptive"] = field_of(
        "every_k", "every_k keeps frames in memory; adaptive keeps positions and merges them, for long videos"
    )
    memory_interval: int = field_of(
        5, "every_k: keep every N-th frame in memory, beside the first and the previous one"
    )
    memory_capacity: int = field_of(24, "every_k: frames in memory at most, the first and the previous one included")
    adaptive: AdaptiveConfig = AdaptiveConfig()
    max_objects: int = field_of(16, f"objects that are tracked, {MOST_OBJECTS} at most; masks with more are refused")
    max_size: int = field_of(
        0, "short side in pixels at which larger frames are worked on; 0 works on every frame at its own size"
    )
    min_size: int = field_of(
        0, "short side in pixels to which smaller frames are enlarged to be worked on; 0 enlarges none"
    )
    object_size: int = field_of(
        0,
        "objects of the first mask that would be smaller than this, in pixels (the square root of the area; of several the "
        "geometric mean), are worked on at this size, in larger frames; 0 looks at no object",
    )
    object_max_size: int = field_of(0, "short side in pixels up to which object_size enlarges frames")
    flip: bool = field_of(False, "also segment each frame mirrored, and average")
    scales: tuple[float, ...] = field_of((1.0,), "segment each frame at these scales, and average")
    read_chunk: int = field_of(2048, "memory positions to read at a time; fewer need less memory, 0 reads all at once")
    object_chunk: int = field_of(16, "objects to decode at a time; fewer need less memory, 0 decodes all at once")
    dtype: Literal["float32", "bfloat16", "float16"] = field_of(
        "float32",
        "type of compute; softmax, cost volume and masks stay float32. Half of it is for GPUs: CPUs get slower",
    )
    winograd: bool = field_of(
        True, "on CPUs, compute wide 3x3 convolutions in Winograd's form: faster, with other rounding"
    )


def default_options() -> ConfigDict:
    """All fields."""
    return as_config(InferenceConfig())


def fill_options(config: ConfigDict) -> None:
    """Give `config.inference` of an older run the fields that it does not know, and take those that are gone."""
    for name in REMOVED:
        if name in config.inference:
            del config.inference[name]
    for name, value in default_options().items():
        if name not in config.inference:
            config.inference[name] = value
