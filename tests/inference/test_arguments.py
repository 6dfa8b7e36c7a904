"""What a segmenter refuses of frames and masks, in words."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.inference.arguments import check_frame, check_ids, check_mask
from munet_jax.runtime.errors import InputError

FRAME = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (None, "frame 3 is None, as a camera or video gives when it has ended; stop there"),
        (PILImage.fromarray(FRAME), "frame 3 is a PIL.Image.Image, not an array; use np.asarray(frame)"),
        (FRAME.tolist(), "frame 3 is a list, not an array; use np.asarray(frame)"),
        (b"abc", "frame 3 is a bytes, not an array"),
        (jnp.asarray(FRAME / 255, jnp.bfloat16), "frame 3 is of bfloat16; use np.asarray(frame, np.float32)"),
        (FRAME.astype(np.uint16), "frame 3 is of uint16; divide 16-bit frames by 65535.0"),
        (FRAME.astype(np.int32), "frame 3 is of int32; use uint8, or floats in [0, 1] of float16, float32 or float64"),
        (FRAME[..., 0], "frame 3 must be RGB of shape [h, w, 3], not [16, 24]; repeat a grey one"),
        (FRAME.astype(np.float32), "which must lie in [0, 1]; divide values of 0 to 255 by 255"),
    ],
)
def test_frames_of_other_kinds(frame: Any, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        check_frame(frame, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_frames(dtype: type) -> None:
    check_frame((FRAME / 255).astype(dtype), 3)
    check_frame(jnp.asarray(FRAME), 3)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (PILImage.new("L", (24, 16)), "the mask of frame 3 is a PIL.Image.Image, not an array"),
        (np.full((16, 24), 2**31, np.int64), "has the id 2147483648; ids end at 2147483647 (2**31 - 1), renumber"),
        (np.full((16, 24), 2**63, np.uint64), "has the id 9223372036854775808; ids end at"),
        (
            np.zeros((24, 16), np.uint8),
            "the mask is 16 x 24, but its frame is 24 x 16 (width x height): width and height are ex",
        ),
        (np.zeros((8, 12), np.uint8), "it is 0.5 times as large, so it was made of a thumbnail"),
        (np.zeros((16, 24), np.float32), "is of float32; a label map holds integers"),
    ],
)
def test_masks_of_other_kinds(mask: Any, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        check_mask(mask, (16, 24), 3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.uint64])
def test_masks_of_every_integer(dtype: type) -> None:
    check_mask(np.ones((16, 24), dtype), (16, 24), 3)
    check_mask(np.full((16, 24), 2**31 - 1, np.int64), (16, 24), 3)


@pytest.mark.parametrize(
    "given",
    [[1, 2], (1, 2), range(1, 3), {1: "a", 2: "b"}, np.array([1, 2], np.uint8), jnp.array([1, 2]), iter([1, 2])],
)
def test_ids_of_every_collection(given: Any) -> None:
    assert check_ids(given) == {1, 2}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("12", "object ids are whole numbers, such as [1, 2], not '12'"),
        (2, "object ids are whole numbers, such as [1, 2], not 2"),
        (["2"], "object ids are whole numbers, such as 1, not '2'"),
        ([1.0], "not 1.0"),
        ([2.5], "not 2.5"),
        ([None], "not None"),
        ([[2]], "not [2]"),
        ([True], "not True"),
        ([0], "0 cannot be an object's id: ids are 1 to 2147483647 (2**31 - 1), and 255 is 'not known'"),
        ([1, 255], "255 cannot be"),
        ([2**31], "2147483648 cannot be"),
    ],
)
def test_what_is_no_id(given: Any, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        check_ids(given)
