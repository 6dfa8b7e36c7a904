"""A `ClipSource` from a config section."""

from __future__ import annotations

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part
from munet_jax.data.stills import FramesAsStills
from munet_jax.data.synthetic import SyntheticConfig, SyntheticSource
from munet_jax.data.youtube_vos import YouTubeVosSource
from munet_jax.errors import InputError

KINDS = ("synthetic", "davis", "youtube_vos")


def create_parts(config: ConfigDict) -> list[Part]:
    """Open the training data that `config` describes: one source, or its videos and their single frames, moved as stills.

    Raises:
      InputError: unknown kind, data that is not there, or a share that is none.
    """
    source, share = create_source(config), config["still_share"]
    if not 0 <= share <= 1:
        raise InputError(f"config.data.still_share is {share}; a share lies between 0 and 1")
    parts = [Part(source, 1 - share), Part(FramesAsStills(source), share)]
    return [part for part in parts if part.weight > 0]


def create_source(config: ConfigDict) -> ClipSource:
    """Open the data that `config` (a section with `kind`, and that kind's own section) describes.

    Raises:
      InputError: unknown kind, or data that is not there.
    """
    kind = config["kind"]
    if kind == "synthetic":
        return SyntheticSource(SyntheticConfig(**config["synthetic"]))
    if kind == "youtube_vos":
        youtube = config["youtube_vos"]
        if not youtube["root"]:
            raise InputError("no data root: name the folder that holds train and valid by --data_root=DIR")
        return YouTubeVosSource(youtube["root"], youtube["split"], frames=youtube["frames"])
    if kind == "davis":
        davis = config["davis"]
        if not davis["root"]:
            raise InputError("no data root: name the folder that holds JPEGImages and Annotations by --data_root=DIR")
        return DavisSource(davis["root"], davis["split"], year=davis["year"], resolution=davis["resolution"])
    raise InputError(f"data kind is {kind!r}; choose one of {', '.join(KINDS)}")
