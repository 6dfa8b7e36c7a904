"""What tests of `munet segment` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from munet_jax.data.masks import read_mask
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.files.job import segment_files
from munet_jax.inference.files.output_folder import Options

Create = Callable[..., VideoSegmenter]


def masks_of(out: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in sorted((out / "masks").iterdir())}


def segment(create: Create, tree: Path, out: Path, *masks: str, source: str = "frames", **options: Any) -> Any:
    given = [str(tree / mask) if "=" not in mask else mask for mask in masks or ("first.png",)]
    return segment_files(create(), str(tree / source), given, out, Options(**options))
