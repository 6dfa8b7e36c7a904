"""Prepared TFDS datasets as a `ClipSource`: the builders of this package, and the catalogue's own `davis`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from munet_jax.data.clips import Video
from munet_jax.data.images import open_image, read_image
from munet_jax.data.tfds.builders import BUILDERS, VIDEOS
from munet_jax.host_types import Image, LabelMap
from munet_jax.runtime.errors import InputError


class PreparedSource:
    """A split that a builder of this package prepared; frames are read one by one."""

    def __init__(self, data_dir: Path | str, dataset: str, split: str, *, name: str | None = None) -> None:
        """Opens a prepared dataset.

        Args:
          data_dir: where prepared datasets lie.
          dataset: such as 'munet_davis/2017'.
          split: of the dataset.
          name: of the source; 'dataset-split' if not given.

        Raises:
          InputError: it was not prepared here, in another format, or has no such split.
        """
        self.name = name or f"{dataset}-{split}"
        self._where = f"{data_dir}/{dataset}"
        self.objects_appear_later = dataset.startswith("munet_folder/")
        builder = open_builder(Path(data_dir), dataset)
        described = read_metadata(builder).get(VIDEOS)
        if described is None:
            raise InputError(f"{self._where}: was not prepared by this package; choose one of {', '.join(BUILDERS)}")
        self._records = open_split(
            builder, split, {"image": tfds.decode.SkipDecoding(), "labels": tfds.decode.SkipDecoding()}
        )
        self._videos = tuple(map(_video, described.get(split, ())))
        self._first = np.cumsum([0, *(len(video.frame_names) for video in self._videos)])
        if len(self._records) != self._first[-1]:
            count = f"{len(self._records)} records, but {self._first[-1]} frames were prepared"
            raise InputError(f"{self._where}: has {count}; {again(builder.data_dir)}")

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._videos)

    def video(self, index: int) -> Video:
        """Name, frame names and annotated frames of video `index`."""
        return self._videos[index]

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3]. Raises InputError for a damaged record."""
        return read_image(self._called(index, frame), self._record(index, frame)["image"])

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map of an annotated frame: uint8 [h, w]. Raises InputError for a frame without one."""
        if frame not in self._videos[index].annotated:
            raise InputError(
                f"{self._called(index, frame)}: this frame has no label map; ask for annotated frames only"
            )
        return _grey(self._called(index, frame), self._record(index, frame)["labels"])

    def _called(self, index: int, frame: int) -> str:
        video = self._videos[index]
        return f"{self._where}/{video.name}/{video.frame_names[frame]}"

    def _record(self, index: int, frame: int) -> dict[str, Any]:
        return read_record(self._records, int(self._first[index]) + frame, self._called(index, frame))


class _Undecoded(tfds.decode.SkipDecoding):
    """Encoded bytes inside sequences too, where TFDS's own decoder raises."""

    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        """The bytes of all elements."""
        return serialized_example


class CatalogueDavisSource:
    """The catalogue's `davis`, prepared elsewhere; one record holds a whole video, the last few are kept.

    Its records do not name frames: they are numbered.
    """

    def __init__(
        self, data_dir: Path | str, dataset: str = "davis/480p", split: str = "train", *, name: str | None = None
    ) -> None:
        """Reads every record once, for its name and length.

        Raises:
          InputError: it was not prepared here, in another format, or has no such split.
        """
        self.name = name or f"{dataset}-{split}"
        self._where = f"{data_dir}/{dataset}"
        builder = open_builder(Path(data_dir), dataset)
        decoders = {"video": {"frames": _Undecoded(), "segmentations": _Undecoded()}}
        self._records = open_split(builder, split, decoders)
        self._videos = tuple(self._describe(index) for index in range(len(self._records)))

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._videos)

    def video(self, index: int) -> Video:
        """Name, frame numbers and annotated frames (all) of video `index`."""
        return self._videos[index]

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3]."""
        return read_image(self._called(index, frame), self._video_record(index)["video"]["frames"][frame])

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map: uint8 [h, w]."""
        return _grey(self._called(index, frame), self._video_record(index)["video"]["segmentations"][frame])

    def _describe(self, index: int) -> Video:
        record = read_record(self._records, index, f"{self._where}, record {index}")
        count = int(record["metadata"]["num_frames"])
        names = tuple(f"{frame:05d}" for frame in range(count))
        return Video(record["metadata"]["video_name"].decode(), names, tuple(range(count)))

    def _called(self, index: int, frame: int) -> str:
        return f"{self._where}/{self._videos[index].name}/{frame:05d}"

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a source lives as long as the run
    def _video_record(self, index: int) -> Any:
        return read_record(self._records, index, f"{self._where}/{self._videos[index].name}")


def again(folder: Path | str) -> str:
    """The remedy for a damaged dataset."""
    return f"delete {folder} and prepare it again"


def open_builder(data_dir: Path, dataset: str) -> Any:
    """The newest prepared version of a dataset. Raises InputError where there is none, or a damaged one."""
    folder = data_dir.expanduser() / dataset
    versions = [path for path in folder.glob("*") if _version(path.name) and (path / "dataset_info.json").is_file()]
    if not versions:
        known = f"; run munet prepare {dataset} --source DIR --data-dir {data_dir}" if dataset in BUILDERS else ""
        raise InputError(f"{folder}: nothing is prepared here{known}")
    newest = max(versions, key=lambda path: _version(path.name))
    try:
        return tfds.builder_from_directory(str(newest))
    # TFDS reports damaged descriptions as whatever its parsers raise.
    except Exception as error:
        raise InputError(f"{newest}: cannot be opened ({error}); {again(newest)}") from error


def read_metadata(builder: Any) -> dict[str, Any]:
    """What a builder wrote beside its records; empty where it wrote nothing. Raises InputError for a damaged file."""
    try:
        return builder.info.metadata or {}
    except ValueError as error:
        raise InputError(
            f"{builder.data_dir}: the metadata cannot be read ({error}); {again(builder.data_dir)}"
        ) from error


def _version(name: str) -> tuple[int, ...]:
    """(1, 0, 0) of '1.0.0'; empty for any other name, such as that of an unfinished preparation."""
    parts = name.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(part.isdecimal() for part in parts) else ()


def open_split(builder: Any, split: str, decoders: Any) -> Sequence[Any]:
    """Random access to a split's records. Raises InputError: no such split, or a format that needs TensorFlow."""
    if split not in builder.info.splits:
        raise InputError(f"{builder.data_dir}: has no split {split!r}; choose of {', '.join(builder.info.splits)}")
    if builder.info.file_format.value != "array_record":
        found = builder.info.file_format.value
        raise InputError(f"{builder.data_dir}: is in {found}, which needs TensorFlow; prepare it with array_record")
    return builder.as_data_source(split, decoders=decoders)


def read_record(records: Sequence[Any], number: int, called: str) -> Any:
    """One record. Raises InputError where the file is damaged."""
    try:
        record = records[number]
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise InputError(
            f"{called}: the record cannot be read ({error}); delete the dataset and prepare it again"
        ) from error
    # A file that was cut off gives records without content.
    if any(value is None for value in record.values()):
        raise InputError(f"{called}: the record is damaged; delete the dataset and prepare it again")
    return record


def _video(described: dict[str, Any]) -> Video:
    return Video(
        described["name"],
        tuple(described["frames"]),
        tuple(described["annotated"]),
        {int(number): category for number, category in described["categories"].items()},
        {int(number): frame for number, frame in described["first_frames"].items()},
        described["still"],
    )


def _grey(called: str, content: bytes) -> LabelMap:
    with open_image(called, content) as image:
        return np.array(image)
