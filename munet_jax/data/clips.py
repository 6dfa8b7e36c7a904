"""What a data set is to the rest of the package, a `ClipSource`, and what a training clip made of it is like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ml_collections import ConfigDict

from munet_jax.data.still_motion import StillMotionConfig
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.host_types import Image, LabelMap


@dataclasses.dataclass(frozen=True)
class Video:
    """One video of a source, known without opening its frames.

    Attributes:
      name: the folder's name; also the folder that results are written to.
      frame_names: the frames in order, without extension; results keep these names.
      annotated: indices into `frame_names` of the frames that have a label map.
      categories: what an object is, by its id, where the data says so.
      first_frames: by object id, the index of the frame whose label map gives the object to a method; empty where that is
        frame 0 for all.
      still: whether this is one image, of which training clips are made by moving it.
      origin: what stills that show the same things have in common, such as the video that they are frames of.
    """

    name: str
    frame_names: tuple[str, ...]
    annotated: tuple[int, ...]
    categories: Mapping[int, str] = dataclasses.field(default_factory=dict)
    first_frames: Mapping[int, int] = dataclasses.field(default_factory=dict)
    still: bool = False
    origin: str = ""


@runtime_checkable
class ClipSource(Protocol):
    """Videos with frames and label maps, read one frame at a time; only names and indices are held in memory.

    Ids in label maps are the data's own: 0 is background, 1 to 254 are objects, 255 (where a set uses it) is 'ignore'.
    """

    name: str

    def __len__(self) -> int:
        """The number of videos."""
        ...

    def video(self, index: int) -> Video:
        """Name, frame names and annotated frames of video `index`."""
        ...

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3]."""
        ...

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map of an annotated frame: uint8 [h, w]. Raises InputError for a frame without one."""
        ...


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """What training clips are like, whatever source they come from.

    Attributes:
      length: frames.
      size: (height, width) of the frames.
      max_objects: object slots.
      augmentation: strengths.
      still_motion: how still images move.
      max_skip: every k-th annotated frame of a video is taken, k drawn from 1 to this (less where the video ends).
      min_pixels: an object with fewer pixels in frame 0, after cropping, is not followed.
      composite: chance that the objects of another video of the source pass over a clip of a video. Where a slot is free,
        they are one more object to follow in half of the cases, and others may pass with the same chance.
      look_alike: chance that what passes over a clip, or crosses an object of a still image, is the clip's own object once
        more, in other colours.
    """

    length: int
    size: tuple[int, int]
    max_objects: int
    augmentation: AugmentationConfig = AugmentationConfig()
    still_motion: StillMotionConfig = StillMotionConfig()
    max_skip: int = 1
    min_pixels: int = 16
    composite: float = 0.0
    look_alike: float = 0.0


@dataclasses.dataclass(frozen=True)
class Part:
    """What clips are taken from.

    Attributes:
      source: the videos.
      weight: how often clips are taken from it, relative to the other parts of a mix.
      phase: where its clips start, 'random' or 'fixed' (`ClipIndex`).
    """

    source: ClipSource
    weight: float = 1.0
    phase: str = "random"


def clip_options(config: ConfigDict) -> ClipOptions:
    """What `config.data` says about clips."""
    return ClipOptions(
        length=config.clip_length,
        size=tuple(config.size),
        max_objects=config.max_objects,
        augmentation=AugmentationConfig(**config.augmentation),
        still_motion=StillMotionConfig(**config.still_motion),
        max_skip=config.max_skip,
        min_pixels=config.min_pixels,
        composite=config.composite,
        look_alike=config.look_alike,
    )
