"""Label maps in and out: one strict reader, one writer.

A label map is uint8 [h, w]: 0 is background, 1 to 254 are objects, 255 is 'ignore' where a data set uses it. The reader
never lets an image library turn palette indices into colours or brightness, and refuses what it would have to guess.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from munet_jax.data.images import WIDE_MODES, open_image, open_whole_image
from munet_jax.data.mask_colours import (
    ColourMap,
    colour_codes,
    find_palette_conflict,
    labels_of_colours,
    palette_codes,
    refuse_palette,
    suggest_colour_map,
)
from munet_jax.host_types import Image, LabelMap, UInt8
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

IGNORE = 255
SOFT_THRESHOLD = 128
MAX_GREY_ID = 32  # grey values above this are shades, not ids; a palette image may use every id

_AS_PALETTE = "save it as a palette PNG, scaled with nearest neighbour only"
# Grey PNGs of 2 and 4 bits are stretched to 0..255 by Pillow; dividing gives the stored values back.
_STRETCH = {"L;2": 85, "L;4": 17}
_LOSSY = ("JPEG", "MPO")  # formats that change values


@functools.cache
def _palette() -> UInt8[np.ndarray, "256 3"]:
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for bit in range(3):
            # Bit 3 j + c of the index becomes bit 7 - j of channel c.
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def davis_palette() -> UInt8[np.ndarray, "256 3"]:
    """The palette of DAVIS, which is the colour map of PASCAL VOC: RGB uint8 [256, 3], black first."""
    return _palette().copy()


def read_mask(
    path: Path | str,
    *,
    objects: int | None = None,
    ids: bool = False,
    content: bytes | None = None,
    colours: ColourMap | None = None,
) -> LabelMap:
    """Reads a label map, uint8 [h, w], with the ids that the file's author meant.

    * Palette images: the indices, all of them, 255 included; but not where the palette shows another one than 0 as background.
    * Grey images: 0 and 255 alone (or black and white of one bit) are a binary mask and become 0 and 1, and so does one
      single value above 32 beside 0. Values up to 32 are ids, beside which 255 means 'ignore'. An opaque alpha channel
      is dropped (DAVIS has such a file).
    * RGB and RGBA images: only if every colour is one of the DAVIS palette; its index is the id. Black and white alone
      are a binary mask.

    Args:
      path: the file, or what errors call `content`.
      objects: how many objects the data has, where that is known. Larger ids are then an error; with `objects=1` any
        single value of a grey image other than 0 is object 1.
      ids: whether a grey image is known to hold ids: 255 is then 'ignore' also where it stands alone.
      content: an encoded image that is read instead of the file.
      colours: ids by colour; the image is then read by its colours alone, whatever its kind.

    Raises:
      InputError: missing or damaged file, 16-bit pixels, transparency, anti-aliased or compressed masks (with the
        number of values found), colours that are not in the palette or in `colours`, ids above `objects`.
    """
    path = Path(path)
    with open_whole_image(path, content) as image:
        if colours is None:
            labels = _decode(path, image, objects, ids)
        else:
            labels = labels_of_colours(path, _flat_colours(path, image), colours)
    if objects is not None:
        too_high = [int(value) for value in _values(labels) if objects < value < IGNORE]
        if too_high:
            raise InputError(f"{path}: has ids {_short(too_high)}, but at most {objects} objects are expected here")
    return labels


def holds_ids(path: Path | str) -> bool:
    """Whether a label map is a grey image that shows an id from 1 to 32: the others of its video then hold ids too.

    False also for a file that cannot be read; reading it says what is wrong.
    """
    try:
        with open_image(path) as image:
            values = np.flatnonzero(image.histogram()[:256]) if image.mode in ("L", "LA") else np.zeros(0, int)
    except InputError:
        return False
    return bool(((values > 0) & (values <= MAX_GREY_ID)).any())


def read_soft_mask(path: Path | str) -> LabelMap:
    """Reads a grey mask whose values say how many people called a pixel the object: 1 from half of them on, else 0.

    Raises:
      InputError: missing or damaged file, colours, transparency, 16-bit pixels.
    """
    path = Path(path)
    with open_whole_image(path) as image:
        if image.mode not in ("1", "L", "LA"):
            raise InputError(
                f"{path}: a grey mask is expected here, this one is {image.mode}; save it as 8-bit grey PNG"
            )
        grey = _opaque(path, np.array(image))[..., 0] if image.mode == "LA" else np.array(image.convert("L"))
    return (grey >= SOFT_THRESHOLD).astype(np.uint8)


def write_mask(path: Path | str, labels: np.ndarray) -> None:
    """Writes a label map [h, w] as a palette PNG in the DAVIS palette; the file appears whole or not at all.

    Args:
      path: the file, ending in .png; its folder is made if it is missing.
      labels: integers from 0 to 255.

    Raises:
      InputError: another suffix, shape or dtype, or ids that a palette cannot hold.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: label maps are written as .png, since other formats lose ids")
    if labels.ndim != 2 or not labels.size:
        raise InputError(f"{path}: a label map has shape [h, w], this one has {list(labels.shape)}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: a label map holds integers, this one {labels.dtype}; use labels.astype(np.uint8)")
    if labels.min() < 0 or labels.max() > 255:
        found = f"{labels.min()} to {labels.max()}"
        raise InputError(f"{path}: ids run from {found}, but a palette PNG holds 0 to 255; renumber the objects")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        mask_image(labels.astype(np.uint8)).save(temporary, format="PNG")


def mask_image(labels: LabelMap) -> PILImage.Image:
    """A label map as an image in the DAVIS palette."""
    image = PILImage.fromarray(np.ascontiguousarray(labels))
    image.putpalette(_palette().tobytes())
    return image


def _decode(path: Path, image: PILImage.Image, objects: int | None, ids: bool) -> LabelMap:
    if image.mode in WIDE_MODES:
        raise InputError(
            f"{path}: has 16-bit or wider pixels ({image.mode}); ids go up to 255, so save it as 8-bit PNG"
        )
    if image.mode == "P":
        return _from_palette(path, image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.format in _LOSSY and image.mode in ("L", "LA"):
        return _from_compressed(path, np.array(image.convert("L")))
    if image.mode == "L":
        # The raw mode is known before the pixels are decoded, and forgotten after.
        stretch = next((_STRETCH[tile[3]] for tile in getattr(image, "tile", ()) if tile[3] in _STRETCH), 1)
        grey = np.array(image)
        return _from_grey(path, grey if stretch == 1 else grey // np.uint8(stretch), objects, ids)
    if image.mode == "LA":
        return _from_grey(path, _opaque(path, np.array(image))[..., 0], objects, ids)
    if image.mode == "RGB":
        return _from_colours(path, np.array(image))
    if image.mode == "RGBA":
        return _from_colours(path, np.ascontiguousarray(_opaque(path, np.array(image))))
    raise InputError(f"{path}: {image.mode} images cannot be read as label maps; {_AS_PALETTE}")


def _from_palette(path: Path, image: PILImage.Image) -> LabelMap:
    """The indices; where the palette contradicts them and all its colours are DAVIS's own, what the colours say."""
    indices = np.array(image)
    conflict = find_palette_conflict(image, indices)
    if conflict is None:
        return indices
    colours, davis = palette_codes(image), set(colour_codes(_palette()).tolist())
    if "transparency" in image.info or not {colours.get(int(i)) for i in np.unique(indices)} <= davis:
        refuse_palette(path, image, indices, conflict)
    return _from_colours(path, np.array(image.convert("RGB")))


def _from_grey(path: Path, grey: LabelMap, objects: int | None, ids: bool) -> LabelMap:
    values = _values(grey)
    foreground = values[values > 0]
    if not ids and len(foreground) == 1 and (foreground[0] > MAX_GREY_ID or objects == 1):
        return (grey > 0).astype(np.uint8)
    shades = [int(value) for value in foreground if MAX_GREY_ID < value < IGNORE]
    if shades:
        found = f"{len(values)} distinct grey values, among them {_short(shades)}"
        raise InputError(f"{path}: {found}; it looks anti-aliased or compressed: {_AS_PALETTE}")
    return np.ascontiguousarray(grey)


def _from_compressed(path: Path, grey: LabelMap) -> LabelMap:
    """Of a JPEG, whose values are near what was stored: 0 and 255 alone can be told apart, and only where none is between."""
    values = _values(grey)
    if not set(values.tolist()) <= {0, 255}:
        raise InputError(
            f"{path}: {len(values)} distinct grey values ({_short(values.tolist())}) in a JPEG, which changes values when it is "
            f"compressed; {_AS_PALETTE}"
        )
    return (grey > 0).astype(np.uint8)


def _flat_colours(path: Path, image: PILImage.Image) -> Image:
    """The colours of an image of 8 bits without transparency."""
    if image.mode in WIDE_MODES or image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        raise InputError(f"{path}: {image.mode} images cannot be read by their colours; save it as 8-bit RGB PNG")
    pixels = np.array(image.convert("RGBA"))
    return np.ascontiguousarray(_opaque(path, pixels))


def _from_colours(path: Path, pixels: Image) -> LabelMap:
    codes = colour_codes(pixels)
    distinct, inverse = np.unique(codes, return_inverse=True)
    if set(distinct.tolist()) <= {0, 0xFFFFFF}:
        return (codes > 0).astype(np.uint8)
    id_of = {int(code): index for index, code in enumerate(colour_codes(_palette()))}
    foreign = [int(code) for code in distinct if int(code) not in id_of]
    if foreign:
        example = (foreign[0] >> 16, foreign[0] >> 8 & 255, foreign[0] & 255)
        found = f"{len(distinct)} distinct colours, {len(foreign)} of them not in the DAVIS palette (such as {example})"
        flat = suggest_colour_map(codes)
        if flat:
            raise InputError(f"{path}: {found}; {flat}")
        raise InputError(f"{path}: {found}; it looks anti-aliased or compressed: {_AS_PALETTE}")
    ids = np.array([id_of[int(code)] for code in distinct], np.uint8)
    return ids[inverse].reshape(codes.shape)


def _opaque(path: Path, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c-1"]:
    if pixels[..., -1].min() < 255:
        raise InputError(f"{path}: has transparent pixels, which may or may not be an object; {_AS_PALETTE}")
    return pixels[..., :-1]


def _values(labels: LabelMap) -> np.ndarray:
    # Pillow counts bytes ten times faster than np.bincount, which widens them first.
    return np.flatnonzero(PILImage.fromarray(labels).histogram())


def _short(values: list[int]) -> str:
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")
