"""TFDS builders for the data sets that plain trees are read of, and for nothing that a tree would not show.

    munet_davis/2016, munet_davis/2017       splits as the lists of ImageSets name them (test-dev is test_dev)
    munet_youtube_vos/annotated, .../all     splits train, valid, as far as they are there
    munet_static/<set>                       split train
    munet_folder/videos                      split train

One record per frame: image bytes as they lie in the file, label map as 8-bit grey PNG (Pillow, OpenCV and TensorFlow agree
on those). Records lie in the order of videos and frames; which is which is in the metadata. Data sets cannot be downloaded
for licence reasons: the folder that a set was unpacked into is TFDS's manual folder.
"""

from __future__ import annotations

import abc
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image as PILImage

from munet_jax.data.clips import ClipSource
from munet_jax.data.coco import CocoSource
from munet_jax.data.davis import YEARS, DavisSource, list_splits
from munet_jax.data.folder import FolderSource
from munet_jax.data.images import exif_orientation
from munet_jax.data.static import LAYOUTS, StaticSource
from munet_jax.data.youtube_vos import FRAMES, YouTubeVosSource
from munet_jax.runtime.errors import InputError

VIDEOS = "videos"  # key of the metadata: per split, what each video is
COCO = "coco"


class FileSource(ClipSource, Protocol):
    """A source whose frames are files."""

    def frame_file(self, index: int, frame: int) -> Path:
        """The file of a frame."""
        ...


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What all builders do; each says which sources its manual folder holds, by split."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the folder that the data set was unpacked into (docs/data.md)."

    @abc.abstractmethod
    def sources(self, root: Path) -> dict[str, FileSource]:
        """Sources by split name."""

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "video": tfds.features.Text(),
            "frame": tfds.features.Text(),
            "image": tfds.features.Image(),
            "labels": tfds.features.Image(shape=(None, None, 1)),
            "annotated": np.bool_,  # if not, `labels` is one pixel
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({VIDEOS: {}}),
        )

    def _split_generators(self, dl_manager: Any) -> Mapping[str, Any]:
        sources = self.sources(Path(dl_manager.manual_dir))
        for split, source in sources.items():
            self.info.metadata[VIDEOS][split] = [describe(source, index) for index in range(len(source))]
        return {split: self._generate_examples(source) for split, source in sources.items()}

    def _generate_examples(self, source: FileSource) -> Iterator[tuple[int, dict[str, Any]]]:
        key = 0
        for index in range(len(source)):
            video = source.video(index)
            annotated = set(video.annotated)
            for frame, name in enumerate(video.frame_names):
                known = frame in annotated
                labels = source.labels(index, frame) if known else np.zeros((1, 1), np.uint8)
                yield (
                    key,
                    {
                        "video": video.name,
                        "frame": name,
                        "image": encoded_frame(source, index, frame),
                        "labels": encode_labels(labels),
                        "annotated": known,
                    },
                )
                key += 1


class MunetDavis(ClipBuilder):
    """DAVIS 2016 (all objects are one) and 2017, 480p."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=year) for year in YEARS]

    def sources(self, root: Path) -> dict[str, FileSource]:
        """All splits that have a list."""
        year = self.builder_config.name
        splits = list_splits(root, year)
        if not splits:
            raise InputError(f"{root / 'ImageSets' / year}: holds no list; unpack DAVIS {year} again")
        return {split.replace("-", "_"): DavisSource(root, split, year) for split in splits}


class MunetYoutubeVos(ClipBuilder):
    """YouTube-VOS 2018: annotated frames alone, or all of them."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=frames) for frames in FRAMES]

    def sources(self, root: Path) -> dict[str, FileSource]:
        """The splits whose folder is there."""
        splits = [split for split in ("train", "valid") if (root / split).is_dir()]
        if not splits:
            raise InputError(f"{root}: has neither train nor valid; give the folder that holds them")
        return {split: YouTubeVosSource(root, split, frames=self.builder_config.name) for split in splits}


class MunetStatic(ClipBuilder):
    """Sets of still images."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in (*LAYOUTS, COCO)]

    def sources(self, root: Path) -> dict[str, FileSource]:
        """The images of the set: VOC's trainval, COCO's train2017."""
        name = self.builder_config.name
        return {"train": CocoSource(root) if name == COCO else StaticSource(root, name, split="trainval")}


class MunetFolder(ClipBuilder):
    """Any folder of videos."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="videos")]

    def sources(self, root: Path) -> dict[str, FileSource]:
        """All its videos."""
        return {"train": FolderSource(root)}


BUILDERS: dict[str, type[ClipBuilder]] = {
    f"{builder.name}/{config.name}": builder
    for builder in (MunetDavis, MunetYoutubeVos, MunetStatic, MunetFolder)
    for config in builder.BUILDER_CONFIGS
}


def describe(source: ClipSource, index: int) -> dict[str, Any]:
    """A `Video` as JSON."""
    video = source.video(index)
    return {
        "name": video.name,
        "frames": list(video.frame_names),
        "annotated": list(video.annotated),
        "categories": {str(number): category for number, category in video.categories.items()},
        "first_frames": {str(number): frame for number, frame in video.first_frames.items()},
        "still": video.still,
    }


def encoded_frame(source: FileSource, index: int, frame: int) -> io.BytesIO:
    """A frame's file; of one with an EXIF orientation, which not all sources follow, what the source gives, as PNG.

    Raises:
      InputError: a file that cannot be read, which must not be prepared.
    """
    picture, path = source.frame(index, frame), source.frame_file(index, frame)
    return io.BytesIO(path.read_bytes()) if exif_orientation(path) == 1 else encode_png(picture)


def encode_labels(labels: np.ndarray) -> io.BytesIO:
    """A label map as the bytes of an 8-bit grey PNG."""
    return encode_png(labels)


def encode_png(pixels: np.ndarray) -> io.BytesIO:
    """An image [h, w] or [h, w, 3] as the bytes of a PNG."""
    content = io.BytesIO()
    PILImage.fromarray(pixels).save(content, format="PNG")
    content.seek(0)
    return content
