"""The fields of `config.data`, and where the videos of an evaluation come from. Nothing here needs jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from munet_jax.data.still_motion import StillMotionConfig
from munet_jax.data.synthetic.videos import SyntheticConfig
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.fields import field_of


@dataclasses.dataclass(frozen=True)
class DavisConfig:
    """A DAVIS tree: kind 'davis'."""

    root: str = field_of("", "folder with JPEGImages, Annotations and ImageSets")
    year: Literal["2016", "2017"] = field_of("2017", "2016 merges all objects into one")
    split: str = field_of("train", "name of a list in ImageSets, such as train or val")
    resolution: str = field_of("480p", "name of a folder in JPEGImages and Annotations")


@dataclasses.dataclass(frozen=True)
class YouTubeVosConfig:
    """A YouTube-VOS 2018 tree: kind 'youtube_vos'."""

    root: str = field_of("", "folder with train and valid")
    split: str = field_of("train", "train, valid or another folder with a meta.json")
    frames: Literal["annotated", "all"] = field_of(
        "annotated", "take the frames of meta.json (every 5th), or every frame there is"
    )


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """Your own videos: kind 'folder'."""

    root: str = field_of("", "folder with JPEGImages/VIDEO and Annotations/VIDEO (or images, masks)")


@dataclasses.dataclass(frozen=True)
class TfdsConfig:
    """A TFDS dataset, prepared by `munet prepare` or the catalogue's own davis: kind 'tfds'."""

    data_dir: str = field_of("", "folder of prepared datasets")
    dataset: str = field_of("", "name of the dataset, such as munet_davis/2017, or the catalogue's davis/480p")
    split: str = field_of("train", "split of the dataset; the catalogue's davis calls val validation")


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Where videos come from: a section for each kind."""

    synthetic: SyntheticConfig = SyntheticConfig()
    davis: DavisConfig = DavisConfig()
    youtube_vos: YouTubeVosConfig = YouTubeVosConfig()
    folder: FolderConfig = FolderConfig()
    tfds: TfdsConfig = TfdsConfig()


@dataclasses.dataclass(frozen=True)
class StaticSetsConfig:
    """The folder of each set of still images below `static.root`.

    Several folders of a set have commas between them; a set without one is left out.
    """

    msra10k: str = field_of("", "MSRA10K")
    ecssd: str = field_of("", "ECSSD")
    hku_is: str = field_of("", "HKU-IS")
    pascal_s: str = field_of("", "PASCAL-S")
    voc2012_objects: str = field_of("", "PASCAL VOC 2012, objects as ids")
    voc2012_classes: str = field_of("", "PASCAL VOC 2012, classes as ids")
    coco: str = field_of("", "COCO 2017")
    images: str = field_of("", "any folder with JPEGImages and Annotations (or images, masks)")


@dataclasses.dataclass(frozen=True)
class StaticConfig:
    """Sets of still images, which training moves: kind 'static'."""

    root: str = field_of("", "folder that holds the sets' folders")
    voc_split: str = field_of("trainval", "split of PASCAL VOC 2012: train, val or trainval")
    coco_split: str = field_of("train2017", "split of COCO 2017, the name of its folder of images")
    sets: StaticSetsConfig = StaticSetsConfig()


@dataclasses.dataclass(frozen=True)
class MixConfig:
    """Clips of several kinds: kind 'mix'. Weights are relative to one another; 0 leaves a kind out."""

    synthetic: float = field_of(0.0, "weight of synthetic videos")
    davis: float = field_of(0.0, "weight of DAVIS")
    youtube_vos: float = field_of(0.0, "weight of YouTube-VOS")
    folder: float = field_of(0.0, "weight of your own videos")
    tfds: float = field_of(0.0, "weight of a TFDS dataset")
    static: float = field_of(0.0, "weight of all sets of still images together, which share it by their size")


@dataclasses.dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Training data, and the clips that are made of it."""

    kind: Literal["synthetic", "davis", "youtube_vos", "folder", "tfds", "static", "mix"] = field_of(
        "davis", "where clips come from; each kind has a section"
    )
    static: StaticConfig = StaticConfig()
    mix: MixConfig = MixConfig()
    size: tuple[int, int] = field_of((400, 400), "height and width of clips, in pixels")
    clip_length: int = field_of(6, "frames of a clip; the first is the reference")
    clip_stride: int = field_of(
        6, "annotated frames from the start of a clip to the next one's; less makes clips overlap"
    )
    clip_phase: Literal["random", "fixed"] = field_of(
        "random",
        "in every epoch, move the starts of a video's clips by a number drawn for video and epoch, or keep 0, stride, ...",
    )
    max_objects: int = field_of(2, "objects of a clip that are followed, at most")
    max_skip: int = field_of(1, "take every k-th annotated frame of a video, k drawn from 1 to this for each clip")
    min_pixels: int = field_of(16, "an object with fewer pixels in a clip's first frame is not followed")
    augmentation: AugmentationConfig = AugmentationConfig()
    still_motion: StillMotionConfig = StillMotionConfig()
    composite: float = field_of(
        0.0, "share of the clips of videos over which the objects of another video of the same source pass"
    )
    look_alike: float = field_of(
        0.0,
        "share of what passes over clips of videos or crosses objects of still images that is the clip's own objects once more, "
        "at another place and size, mirrored or not, in other colours",
    )
    still_share: float = field_of(
        0.0, "share of the clips of a kind with videos that are made of single annotated frames, moved as still images"
    )
    held_out: tuple[str, ...] = field_of(
        (), "names of training videos that are not trained on; train.validate_every scores them"
    )
    epoch_clips: int = field_of(0, "clips in an epoch; 0 takes as many as all parts together have")
    threads: int = field_of(
        -1, "threads that make clips, of each worker or of the training process; -1 follows the cores"
    )
    workers: int = field_of(
        -1, "processes that make clips; 0 makes them in threads of the training process, -1 follows the cores"
    )
    on_error: Literal["stop", "skip"] = field_of(
        "stop", "at a clip that cannot be read, end the run, or take another clip, warn and count"
    )
    fake: bool = field_of(False, "repeat the first batch, to tell the loader's time from the device's")
