"""Reading frames, and finding them in a folder."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from munet_jax.host_types import Image
from munet_jax.runtime.errors import InputError

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than 8 bits in a channel


@contextlib.contextmanager
def open_image(path: Path | str, content: bytes | None = None) -> Iterator[PILImage.Image]:
    """Opens an image with Pillow; whatever goes wrong with the file inside the block is an InputError that names it.

    With `content`, that is decoded, and `path` is what errors call it.

    Raises:
      InputError: no such file, not an image, or an image that ends too early.
    """
    try:
        with PILImage.open(path if content is None else io.BytesIO(content)) as image:
            yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the folder and the name") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read; save it again as PNG or JPEG") from error
    # Pillow's decoders report broken data as any of these, by format.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, PILImage.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read ({error}); the file is damaged or cut off, copy it again") from error


def read_image(path: Path | str, content: bytes | None = None) -> Image:
    """Reads a frame as RGB uint8 [h, w, 3], from a file, or from the encoded `content` that errors call `path`.

    Grey, palette and CMYK images are converted, transparency is dropped, and the EXIF orientation is not applied: data
    sets store label maps for the pixels as they lie in the file.

    Raises:
      InputError: the file is missing, unreadable, cut off, or has more than 8 bits in a channel.
    """
    with open_image(path, content) as image:
        if image.mode in WIDE_MODES:
            raise InputError(f"{path}: has {image.mode} pixels, more than 8 bits in a channel; save it as 8-bit RGB")
        if image.mode == "P":
            return np.array(image.convert("RGBA").convert("RGB"))  # the detour spares a warning about transparency
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) of an image, from its header. Raises InputError as `read_image` does."""
    with open_image(path) as image:
        return image.height, image.width


def describe_size(shape: tuple[int, ...]) -> str:
    """'width x height' of an array [h, w, ...], as errors say it."""
    return f"{shape[1]} x {shape[0]}"


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def list_images(folder: Path, suffixes: tuple[str, ...] = FRAME_SUFFIXES) -> dict[str, Path]:
    """The images of a folder, {name without suffix: path}, in natural order; empty where there is no such folder.

    Hidden files are left out: macOS leaves `._00000.jpg` beside `00000.jpg`.

    Raises:
      InputError: two files differ only in their suffix.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (natural_key(path.stem), path.suffix)):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{folder}: both {found[path.stem].name} and {path.name} exist; keep one of them")
        found[path.stem] = path
    return found
