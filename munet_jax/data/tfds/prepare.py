"""Preparing a TFDS dataset from an unpacked data set: all or nothing."""

from __future__ import annotations

from pathlib import Path

import tensorflow_datasets as tfds

from munet_jax.data.tfds.builders import BUILDERS
from munet_jax.runtime.errors import InputError


def prepare(dataset: str, source: Path, data_dir: Path) -> tuple[Path, bool]:
    """Prepare `dataset` under `data_dir`, with a progress bar; what was prepared before is left as it is.

    TFDS writes into a folder whose name says that it is incomplete and renames it at the end.

    Args:
      dataset: a name of `BUILDERS`, such as 'munet_davis/2017'.
      source: the folder that the data set was unpacked into.
      data_dir: where prepared datasets lie.

    Returns:
      The folder of the prepared dataset, and whether it is new.

    Raises:
      InputError: unknown dataset, data that is not there or cannot be used.
    """
    if dataset not in BUILDERS:
        raise InputError(f"there is no dataset {dataset!r} to prepare; choose one of {', '.join(BUILDERS)}")
    if not source.is_dir():
        raise InputError(f"{source}: there is no such folder; give the folder that the data set was unpacked into")
    config = dataset.split("/")[1]
    builder = BUILDERS[dataset](data_dir=str(data_dir.expanduser()), config=config, file_format="array_record")
    folder = Path(builder.data_dir)
    new = not folder.exists()
    if new:
        builder.sources(source)  # what cannot be listed ends here, before anything is written
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source.expanduser()))
    return folder, new
