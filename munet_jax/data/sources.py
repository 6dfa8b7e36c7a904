"""From config sections to sources: one for an evaluation, the weighted parts of a mix for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource, Part
from munet_jax.data.coco import CocoSource
from munet_jax.data.davis import DavisSource
from munet_jax.data.folder import FolderSource
from munet_jax.data.static import LAYOUTS, StaticSource
from munet_jax.data.stills import FramesAsStills
from munet_jax.data.subsets import split_off
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.data.youtube_vos import YouTubeVosSource
from munet_jax.runtime.errors import InputError

MIX = "mix"
STATIC = "static"
# Where the data sets of a mix lie under --data-root.
FOLDERS = {"davis": "DAVIS", "youtube_vos": "YouTube-VOS", STATIC: "static", "folder": "videos"}


def create_parts(config: ConfigDict) -> list[Part]:
    """Open the training data that `config` (fields: `DataConfig`) describes, with its weights.

    `still_share` of the clips of a kind with videos are made of single frames, moved as still images. The sets of still
    images share their weight by their size, so that every image is seen equally often.

    Raises:
      InputError: unknown kind or set, data that is not there, weights or a share that make no sense.
    """
    share = config["still_share"]
    if not 0 <= share <= 1:
        raise InputError(f"config.data.still_share is {share}; a share lies between 0 and 1")
    parts, found = [], []
    for kind, weight in _weights(config).items():
        if kind == STATIC:
            sets = _static_sets(config[STATIC])
            parts += [Part(source, weight * len(source) / sum(map(len, sets))) for source in sets]
        else:
            source, held = split_off(_open_videos(config, kind), config["held_out"])
            found += [held.video(index).name for index in range(len(held))] if held else []
            parts += [Part(source, weight * (1 - share), config["clip_phase"])] if share < 1 else []
            parts += [Part(FramesAsStills(source), weight * share)] if share > 0 else []
    missing = sorted(set(config["held_out"]) - set(found))
    if missing:
        raise InputError(f"config.data.held_out: no training video is called {missing[0]!r}")
    return parts


def held_out_videos(config: ConfigDict) -> ClipSource | None:
    """The videos that `config.data.held_out` keeps from training; None where it names none. They are all of one kind of a mix."""
    for kind in _weights(config):
        if kind != STATIC and config["held_out"]:
            _, held = split_off(_open_videos(config, kind), config["held_out"])
            if held is not None:
                return held
    return None


def create_source(config: ConfigDict) -> ClipSource:
    """Open the videos that `config` describes, for an evaluation.

    Raises:
      InputError: a kind that has no videos, or data that is not there.
    """
    return _open_videos(config, config["kind"])


def _weights(config: ConfigDict) -> dict[str, float]:
    if config["kind"] != MIX:
        return {config["kind"]: 1.0}
    weights = {kind: weight for kind, weight in config[MIX].items() if weight}
    if not weights or min(weights.values()) < 0:
        raise InputError(f"config.data.mix is {dict(config[MIX])}; give at least one kind a weight above 0, none below")
    return weights


def _open_videos(config: ConfigDict, kind: str) -> ClipSource:
    if kind not in OPENERS:
        kinds = f"{', '.join(OPENERS)}; training also has {STATIC} and {MIX}"
        raise InputError(f"data kind is {kind!r}; videos are read of the kinds {kinds}")
    return OPENERS[kind](config[kind])


def _static_sets(config: ConfigDict) -> Sequence[StaticSource | CocoSource]:
    """One source for each folder of a set; commas separate several."""
    sets: list[StaticSource | CocoSource] = []
    folders = [(name, folder) for name, given in config["sets"].items() for folder in given.split(",") if folder]
    for name, folder in folders:
        root = Path(_root(config, STATIC, "the sets of still images")) / folder.strip()
        if name == "coco":
            sets.append(CocoSource(root, config["coco_split"]))
        else:
            sets.append(StaticSource(root, name, split=config["voc_split"]))
    if not sets:
        names = ", ".join([*LAYOUTS, "coco"])
        raise InputError(f"no set of still images: name the folder of one by --config.data.static.sets.NAME ({names})")
    return sets


def _open_synthetic(config: ConfigDict) -> ClipSource:
    return SyntheticSource(SyntheticConfig(**config))


def _open_davis(config: ConfigDict) -> ClipSource:
    root = _root(config, "davis", "JPEGImages and Annotations")
    return DavisSource(root, config["split"], year=config["year"], resolution=config["resolution"])


def _open_youtube_vos(config: ConfigDict) -> ClipSource:
    return YouTubeVosSource(_root(config, "youtube_vos", "train and valid"), config["split"], frames=config["frames"])


def _open_folder(config: ConfigDict) -> ClipSource:
    return FolderSource(_root(config, "folder", "JPEGImages and Annotations"))


def _open_tfds(config: ConfigDict) -> ClipSource:
    from munet_jax.data.tfds.source import CatalogueDavisSource, PreparedSource  # takes seconds: only where it is used

    data_dir, dataset = config["data_dir"], config["dataset"]
    if not data_dir or not dataset:
        raise InputError(
            "no prepared dataset: give --config.data.tfds.data_dir=DIR and dataset, such as munet_davis/2017"
        )
    catalogue = dataset.split("/")[0] == "davis"
    return (CatalogueDavisSource if catalogue else PreparedSource)(data_dir, dataset, config["split"])


def _root(config: ConfigDict, kind: str, holds: str) -> str:
    if not config["root"]:
        raise InputError(
            f"no data root for {kind!r}: name the folder that holds {holds} by --data-root=DIR (of the training data where there "
            f"is some), --config.data.{kind}.root=DIR or --config.evaluation.{kind}.root=DIR"
        )
    return config["root"]


OPENERS: dict[str, Callable[[ConfigDict], ClipSource]] = {
    "synthetic": _open_synthetic,
    "davis": _open_davis,
    "youtube_vos": _open_youtube_vos,
    "folder": _open_folder,
    "tfds": _open_tfds,
}
