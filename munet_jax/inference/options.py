"""The fields of `config.inference` and their defaults; nothing here needs jax."""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

REMOVED = ("size_multiple",)  # fields of older versions
MOST_OBJECTS = 255  # a label map of uint8 has no more ids


@dataclasses.dataclass(frozen=True)
class AdaptiveConfig:
    """Of the policy 'adaptive': see `munet_jax.models.memory.Adaptive`."""

    capacity: int = 16
    merge_above: float = 0.95
    merge_rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How videos are segmented.

    Attributes:
      memory_policy: 'every_k' keeps frames; 'adaptive' positions, which are merged, for long videos.
      memory_interval: of every_k: every which frame stays in memory.
      memory_capacity: of every_k: frames, the previous one included.
      adaptive: of adaptive: its capacity and how it merges.
      max_objects: more are refused.
      max_size: short side at which larger frames are worked on; 0: every frame at its own size.
      flip: also look at each frame mirrored, and average.
      scales: look at each frame at these scales, and average.
      read_chunk: memory positions that are read at a time; 0: all.
      object_chunk: objects that are decoded and memorised at a time; 0: all.
      winograd: on CPUs, compute wide 3x3 convolutions in Winograd's form: faster, and rounded a little otherwise.
    """

    memory_policy: str = "every_k"
    memory_interval: int = 5
    memory_capacity: int = 24
    adaptive: AdaptiveConfig = AdaptiveConfig()
    max_objects: int = 16
    max_size: int = 0
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    read_chunk: int = 2048
    object_chunk: int = 16
    winograd: bool = True


def default_options() -> ConfigDict:
    """All fields."""
    return ConfigDict(dataclasses.asdict(InferenceConfig()))


def fill_options(config: ConfigDict) -> None:
    """Give `config.inference` of an older run the fields that it does not know, and take those that are gone."""
    for name in REMOVED:
        if name in config.inference:
            del config.inference[name]
    for name, value in default_options().items():
        if name not in config.inference:
            config.inference[name] = value
