"""Checks of what a segmenter is given: it refuses options, frames and masks that it would have to guess about."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from munet_jax.data.masks import IGNORE
from munet_jax.data.sizes import explain_size
from munet_jax.inference.options import MOST_OBJECTS, SIZES, InferenceConfig
from munet_jax.inference.prediction import OUTPUTS
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import check_section

LARGEST_ID = 2**31 - 1


def check_options(config: ConfigDict) -> None:
    """Refuse values of `config.inference` that cannot be."""
    check_section("config.inference", config, InferenceConfig)
    for name in SIZES:
        if config[name] < 0:
            raise InputError(f"config.inference.{name} is {config[name]}; give pixels, or 0 for any")
    if config.object_size and not config.object_max_size:
        raise InputError(
            f"config.inference.object_size is {config.object_size}, but nothing says how far frames may be enlarged for it: set "
            "config.inference.object_max_size, or object_size to 0"
        )
    if not config.scales or min(config.scales) <= 0:
        raise InputError(f"config.inference.scales is {tuple(config.scales)}; give positive factors, (1.0,) for none")
    if not 1 <= config.max_objects <= MOST_OBJECTS:
        raise InputError(f"config.inference.max_objects is {config.max_objects}; it lies between 1 and {MOST_OBJECTS}")
    for name in ("read_chunk", "object_chunk"):
        if config[name] < 0:
            raise InputError(f"config.inference.{name} is {config[name]}; give a number of at least 1, or 0 for all")


def check_similarity(config: ConfigDict, similarity: str) -> None:
    """Refuse options that a network with this `model.similarity` cannot follow."""
    if similarity != "dot" and config.memory_policy == "adaptive":
        raise InputError(
            f"memory_policy 'adaptive' merges keys by direction: it needs similarity 'dot', not {similarity!r}"
        )


def check_outputs(outputs: Sequence[str]) -> None:
    """Refuse names of outputs that there are not."""
    if isinstance(outputs, str):
        raise InputError(f"outputs is the text {outputs!r}; give a tuple of names, such as ({outputs!r},)")
    unknown = set(outputs) - set(OUTPUTS)
    if unknown:
        raise InputError(f"outputs has {', '.join(sorted(unknown))}; choose of {', '.join(OUTPUTS)}")


def check_ids(object_ids: Any) -> set[int]:
    """Object ids as plain numbers, of any collection or iterator, which is looked through once.

    Raises:
      InputError: text, other numbers, or numbers that cannot be ids.
    """
    if isinstance(object_ids, str | bytes) or not isinstance(object_ids, Iterable):
        raise InputError(f"object ids are whole numbers, such as [1, 2], not {object_ids!r}")
    return set(map(_check_id, object_ids))


def _check_id(value: Any) -> int:
    try:
        identity = operator.index(value) if not isinstance(value, bool | np.bool_) else None
    except TypeError:
        identity = None
    if identity is None:
        raise InputError(f"object ids are whole numbers, such as 1, not {value!r}")
    if not 0 < identity <= LARGEST_ID or identity == IGNORE:
        raise InputError(
            f"{identity} cannot be an object's id: ids are 1 to {LARGEST_ID} (2**31 - 1), and {IGNORE} is 'not known'"
        )
    return identity


def check_frame(frame: Any, number: int) -> None:
    """Refuse what is not an RGB frame of uint8 or of floats in [0, 1]."""
    if frame is None:
        raise InputError(f"frame {number} is None, as a camera or video gives when it has ended; stop there")
    if isinstance(frame, tuple) and len(frame) == 2 and isinstance(frame[0], bool):
        raise InputError(
            f"frame {number} is a pair, as OpenCV's read() gives: whether there is one, and the frame; pass that"
        )
    if not _is_array(frame):
        raise InputError(f"frame {number} is a {_kind(frame)}, not an array; use np.asarray(frame)")
    if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        remedy = ""
        if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
            remedy = "; repeat a grey one three times: np.repeat(grey.reshape(h, w, 1), 3, axis=2)"
        elif frame.ndim == 3 and frame.shape[2] == 4:
            remedy = "; drop the alpha channel: frame[..., :3]"
        raise InputError(f"frame {number} must be RGB of shape [h, w, 3], not {list(frame.shape)}{remedy}")
    if frame.dtype != np.uint8 and not np.issubdtype(frame.dtype, np.floating):
        remedy = "use uint8, or floats in [0, 1] of float16, float32 or float64"
        if frame.dtype == np.uint16:
            remedy = "divide 16-bit frames by 65535.0"
        elif "float" in str(frame.dtype):  # bfloat16 and the like, which numpy does not count among its floats
            remedy = "use np.asarray(frame, np.float32)"
        raise InputError(f"frame {number} is of {frame.dtype}; {remedy}")
    if frame.dtype != np.uint8 and not (frame.min() >= -0.01 and frame.max() <= 1.01):
        raise InputError(
            f"frame {number} is of floats from {frame.min():.3g} to {frame.max():.3g}, which must lie in [0, 1]; "
            "divide values of 0 to 255 by 255"
        )


def check_size(size: tuple[int, int], first: tuple[int, int], number: int) -> None:
    """Refuse a frame whose (height, width) is not that of the video's first one."""
    if size == first:
        return
    cause = "it is turned by a quarter; turn it back" if size == first[::-1] else "take all from one video, none scaled"
    raise InputError(
        f"frame {number} is {size[1]} x {size[0]} but the video began with {first[1]} x {first[0]}: {cause}; to start another "
        "video, call reset()"
    )


def check_mask(mask: Any, size: tuple[int, int], number: int) -> None:
    """Refuse what is not a label map of the frame's size with ids that fit 32 bits."""
    if not _is_array(mask):
        raise InputError(f"the mask of frame {number} is a {_kind(mask)}, not an array; use np.asarray(mask)")
    if mask.ndim != 2:
        raise InputError(f"the mask of frame {number} must be a label map of shape [h, w], not {list(mask.shape)}")
    if mask.shape != size:
        raise InputError(f"the mask is {explain_size(mask.shape, size)}")
    if not (np.issubdtype(mask.dtype, np.integer) or mask.dtype == np.bool_):
        raise InputError(f"the mask of frame {number} is of {mask.dtype}; a label map holds integers, the objects' ids")
    if mask.size and mask.dtype.itemsize > 2 and int(mask.max()) > LARGEST_ID:
        raise InputError(
            f"the mask of frame {number} has the id {int(mask.max())}; ids end at {LARGEST_ID} (2**31 - 1), renumber the objects"
        )


def given_ids(mask: np.ndarray, object_ids: Iterable[int] | None, tracked: Sequence[int], most: int) -> tuple[int, ...]:
    """The objects that a mask speaks about, ascending: the named ones, or those that it shows.

    Raises:
      InputError: there is none, so that the mask would change nothing; ids that cannot be; more objects than `most`.
    """
    shown = [int(i) for i in np.unique(mask) if i not in (0, IGNORE)]
    given = tuple(sorted(check_ids(shown if object_ids is None else object_ids)))
    if not given:
        which = "mask" if tracked else "first mask"
        remedy = "; name the objects that are not in this frame by object_ids" if tracked else ""
        raise InputError(
            f"the {which} shows no object: every pixel is 0 (background) or {IGNORE} (not known); give its pixels an id from 1 "
            f"on, or read a picture of 0 and 255 by munet_jax.data.masks.read_mask{remedy}"
        )
    count = len({*tracked, *given})
    if count > most:
        raise InputError(
            f"the mask brings the video to {count} objects, and config.inference.max_objects is {most}; raise it to {count}, or "
            "merge objects in the mask"
        )
    return given


def _is_array(value: Any) -> bool:
    """Whether a value is an array of numpy, jax or a library that follows them."""
    return all(hasattr(value, name) for name in ("ndim", "shape", "dtype", "astype", "max"))


def _kind(value: Any) -> str:
    """'PIL.Image.Image' or 'list'."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
