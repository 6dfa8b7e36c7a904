"""Checks of what a segmenter is given: it refuses options, frames and masks that it would have to guess about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from munet_jax.data.masks import IGNORE
from munet_jax.inference.options import MOST_OBJECTS, InferenceConfig
from munet_jax.inference.prediction import OUTPUTS
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section


def check_options(config: ConfigDict) -> None:
    """Refuse values of `config.inference` that cannot be."""
    check_section("config.inference", config, InferenceConfig)
    if config.max_size < 0:
        raise InputError(f"config.inference.max_size is {config.max_size}; give a short side in pixels, or 0 for any")
    if not config.scales or min(config.scales) <= 0:
        raise InputError(f"config.inference.scales is {tuple(config.scales)}; give positive factors, (1.0,) for none")
    if not 1 <= config.max_objects <= MOST_OBJECTS:
        raise InputError(f"config.inference.max_objects is {config.max_objects}; it lies between 1 and {MOST_OBJECTS}")
    for name in ("read_chunk", "object_chunk"):
        if config[name] < 0:
            raise InputError(f"config.inference.{name} is {config[name]}; give a number of at least 1, or 0 for all")


def check_outputs(outputs: Sequence[str]) -> None:
    """Refuse names of outputs that there are not."""
    unknown = set(outputs) - set(OUTPUTS)
    if unknown:
        raise InputError(f"outputs has {', '.join(sorted(unknown))}; choose of {', '.join(OUTPUTS)}")


def check_ids(object_ids: Iterable[int]) -> set[int]:
    """Object ids as plain numbers; what is no whole number is refused."""
    ids: list[Any] = list(object_ids)
    wrong = [i for i in ids if isinstance(i, bool | np.bool_) or not isinstance(i, int | np.integer)]
    if wrong or isinstance(object_ids, str | bytes):
        raise InputError(f"object ids are whole numbers, not {wrong[0] if wrong else object_ids!r}")
    return {int(i) for i in ids}


def check_frame(frame: np.ndarray, number: int) -> None:
    """Refuse what is not an RGB frame of uint8 or of floats in [0, 1]."""
    if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        remedy = ""
        if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
            remedy = "; repeat a grey one three times: np.repeat(grey.reshape(h, w, 1), 3, axis=2)"
        elif frame.ndim == 3 and frame.shape[2] == 4:
            remedy = "; drop the alpha channel: frame[..., :3]"
        raise InputError(f"frame {number} must be RGB of shape [h, w, 3], not {list(frame.shape)}{remedy}")
    if frame.dtype != np.uint8 and not np.issubdtype(frame.dtype, np.floating):
        remedy = "divide 16-bit frames by 65535.0" if frame.dtype == np.uint16 else "use uint8, or floats in [0, 1]"
        raise InputError(f"frame {number} is of {frame.dtype}; {remedy}")
    if frame.dtype != np.uint8 and not (frame.min() >= -0.01 and frame.max() <= 1.01):
        raise InputError(
            f"frame {number} is of floats from {frame.min():.3g} to {frame.max():.3g}, which must lie in [0, 1]; "
            "divide values of 0 to 255 by 255"
        )


def check_mask(mask: np.ndarray, size: tuple[int, int], number: int) -> None:
    """Refuse what is not a label map of the frame's size."""
    if mask.ndim != 2:
        raise InputError(f"the mask of frame {number} must be a label map of shape [h, w], not {list(mask.shape)}")
    if mask.shape != size:
        raise InputError(f"the mask is {mask.shape[1]} x {mask.shape[0]} but its frame is {size[1]} x {size[0]}")
    if not (np.issubdtype(mask.dtype, np.integer) or mask.dtype == np.bool_):
        raise InputError(f"the mask of frame {number} is of {mask.dtype}; a label map holds integers, the objects' ids")


def given_ids(mask: np.ndarray, object_ids: Iterable[int] | None, tracked: Sequence[int], most: int) -> tuple[int, ...]:
    """The objects that a mask speaks about, ascending: the named ones, or those that it shows."""
    shown = [int(i) for i in np.unique(mask) if i not in (0, IGNORE)]
    given = tuple(shown if object_ids is None else sorted(check_ids(object_ids)))
    if not given and not tracked:
        raise InputError("the first mask shows no object: every pixel is 0 (background) or 255 (not known)")
    wrong = [i for i in given if i <= 0 or i == IGNORE]
    if wrong:
        raise InputError(f"{wrong[0]} cannot be an object's id: ids are positive, and 255 is 'not known'")
    count = len({*tracked, *given})
    if count > most:
        raise InputError(
            f"the mask brings the video to {count} objects and inference.max_objects is {most}; "
            "raise it (munet segment --max-objects), or merge objects in the mask"
        )
    return given
