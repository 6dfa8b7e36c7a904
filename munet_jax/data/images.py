"""Reading frames, and finding them in a folder."""

from __future__ import annotations

import collections
import contextlib
import io
import re
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from munet_jax.host_types import Image
from munet_jax.runtime.clutter import is_clutter
from munet_jax.runtime.content import HEAD, impostor
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import cannot_read

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
OTHER_PICTURES = (".bmp", ".tif", ".tiff", ".webp", ".gif", ".heic", ".avif", ".jp2", ".ppm", ".dng")
ORIENTATION = 0x0112  # EXIF's
_PNG = b"\x89PNG\r\n\x1a\n"
# How a stored picture is shown, by its EXIF orientation: whether its axes are swapped, then the steps along rows and columns.
_TURNS = {
    1: (False, 1, 1), 2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1),
    5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1),
}  # fmt: skip
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
        found = impostor(_head(path, content))
        reason = f"not an image: it {found}" if found else "not an image that can be read; save it again as PNG or JPEG"
        raise InputError(f"{path}: {reason}") from error
    # Pillow's decoders report broken data as any of these, by format; only the system's errors have a number.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, PILImage.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{path}: {cannot_read(error)}") from error
        raise InputError(f"{path}: cannot be read ({error}); the file is damaged or cut off, copy it again") from error


@contextlib.contextmanager
def open_whole_image(path: Path | str, content: bytes | None = None) -> Iterator[PILImage.Image]:
    """`open_image` for who needs the pixels: a PNG is checked for damage that its decoder does not notice.

    Raises:
      InputError: as `open_image`, and for a part of a PNG that is not what was written.
    """
    if content is None:
        with open_image(path), Path(path).open("rb") as file:  # what is no image is told first
            content = file.read()
    if content.startswith(_PNG) and not _is_whole_png(content):
        raise InputError(f"{path}: is damaged or cut off: a part of it is not what was written; copy it again")
    with open_image(path, content) as image:
        yield image


def _is_whole_png(content: bytes) -> bool:
    """Whether the checksums of a PNG's pixels are right; Pillow checks those of the other parts alone."""
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if kind == b"IDAT" and content[end : end + 4] != zlib.crc32(content[place + 4 : end]).to_bytes(4, "big"):
            return False
        place = end + 4
    return True


def _head(path: Path | str, content: bytes | None) -> bytes:
    if content is not None:
        return content[:HEAD]
    try:
        with Path(path).open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b"?"


def read_image(path: Path | str, content: bytes | None = None, *, upright: bool = True) -> Image:
    """Reads a frame as RGB uint8 [h, w, 3], from a file, or from the encoded `content` that errors call `path`.

    Grey, palette and CMYK images are converted, and transparency is dropped.

    Args:
      path: the file.
      content: an encoded image that is read instead.
      upright: turn it by its EXIF orientation, as viewers and labelling tools do; else the pixels are as they lie in the file.

    Raises:
      InputError: the file is missing, unreadable, cut off, or has more than 8 bits in a channel.
    """
    with open_whole_image(path, content) as image:
        if image.mode in WIDE_MODES:
            raise InputError(f"{path}: has {image.mode} pixels, more than 8 bits in a channel; save it as 8-bit RGB")
        swapped, rows, columns = _TURNS[orientation_of(image) if upright else 1]
        # The detour by RGBA spares a warning about transparency.
        converted = image.convert("RGBA").convert("RGB") if image.mode == "P" else image
        picture = np.array(converted if converted.mode == "RGB" else converted.convert("RGB"))
    if (swapped, rows, columns) == (False, 1, 1):
        return picture
    return np.ascontiguousarray((picture.transpose(1, 0, 2) if swapped else picture)[::rows, ::columns])


def image_size(path: Path | str, content: bytes | None = None, *, upright: bool = True) -> tuple[int, int]:
    """(height, width) of an image, from its header; arguments and errors as of `read_image`."""
    with open_image(path, content) as image:
        swapped = upright and _TURNS[orientation_of(image)][0]
        return (image.width, image.height) if swapped else (image.height, image.width)


def exif_orientation(path: Path | str, content: bytes | None = None) -> int:
    """An image's EXIF orientation, 1 to 8; 1 is upright. Raises InputError as `read_image` does."""
    with open_image(path, content) as image:
        return orientation_of(image)


def orientation_of(image: PILImage.Image) -> int:
    """The EXIF orientation of an open image; 1 where it has none that can be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's readers of damaged EXIF raise what they meet
        return 1
    return found if found in _TURNS else 1


def describe_size(shape: tuple[int, ...]) -> str:
    """'width x height' of an array [h, w, ...], as errors say it."""
    return f"{shape[1]} x {shape[0]}"


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key under which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def list_images(
    folder: Path, suffixes: tuple[str, ...] = FRAME_SUFFIXES, *, without: Collection[Path] = ()
) -> dict[str, Path]:
    """The images of a folder, {name without suffix: path}, in natural order; empty where there is no such folder.

    What systems leave there is left out: macOS puts `._00000.jpg` beside `00000.jpg`.

    Args:
      folder: to look in; not in its folders.
      suffixes: that the images have.
      without: files that are left out.

    Raises:
      InputError: two files differ only in their suffix.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (natural_key(path.stem), path.suffix)):
        if path.suffix.lower() not in suffixes or is_clutter(path.name) or path in without:
            continue
        if path.stem in found:
            raise InputError(f"{folder}: both {found[path.stem].name} and {path.name} exist; keep one of them")
        found[path.stem] = path
    return found


def no_frames(folder: Path | str) -> str:
    """What to say of a folder without frames: whether it holds pictures of other kinds, or videos."""
    said = f"{folder}: holds no frames ({', '.join(FRAME_SUFFIXES)})"
    files = [path for path in Path(folder).iterdir() if path.is_file()] if Path(folder).is_dir() else []
    kinds = collections.Counter(path.suffix.lower() for path in files if not is_clutter(path.name))
    others = [kind for kind, _ in kinds.most_common() if kind in OTHER_PICTURES]
    if others:
        return f"{said}, but {kinds[others[0]]} {others[0]} files; convert them to .png"
    return said


def odd_names(names: Sequence[str]) -> list[str]:
    """The few names that do not count on as all others do: 'mask' among '00000', '00001', ...; [] where most do not count.

    Of 'shot 1', 'shot 2', ... the text before the number is part of how they count.
    """
    texts = [re.fullmatch(r"(.*?)\d+", name, re.DOTALL) for name in names]
    counts = collections.Counter(match[1] if match else None for match in texts)
    usual, count = counts.most_common(1)[0] if counts else (None, 0)
    if usual is None or count == len(names) or 2 * count <= len(names) or count < 2:
        return []
    return [name for name, match in zip(names, texts, strict=True) if match is None or match[1] != usual]
