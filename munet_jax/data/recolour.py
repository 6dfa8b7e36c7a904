"""Masks in the colours of classes, as labelling tools export them, rewritten as label maps (`munet convert-masks`)."""

from __future__ import annotations

from pathlib import Path

from munet_jax.data.mask_colours import ColourMap
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.runtime.clutter import list_files
from munet_jax.runtime.errors import InputError

MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def convert_masks(source: Path, target: Path, colours: ColourMap) -> int:
    """Reads masks by their colours and writes them as palette PNGs; every mask is read before the first is written.

    Args:
      source: an image, or a folder of images and folders.
      target: a .png, or a folder, which gets the same folders.
      colours: ids by colour.

    Returns:
      The number of label maps.

    Raises:
      InputError: nothing to read, a mask that cannot be read, colours that the map does not name, a target that is the
        source or has files of these names already.
    """
    pairs = _pairs(source, target)
    for path, out in pairs:
        if out.exists():
            raise InputError(f"{out}: exists already; name another place, or take it away")
        read_mask(path, colours=colours)
    for path, out in pairs:
        write_mask(out, read_mask(path, colours=colours))
    return len(pairs)


def _pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    if source.is_file():
        return [(source, target)]
    if not source.is_dir():
        raise InputError(f"{source}: there is no such image or folder; check the name")
    found = [path for path in list_files(source) if path.suffix.lower() in MASK_SUFFIXES]
    if not found:
        raise InputError(f"{source}: holds no images ({', '.join(MASK_SUFFIXES)}); name the folder that does")
    pairs = [(path, target / path.relative_to(source).with_suffix(".png")) for path in found]
    twice = next((pair for pair, after in zip(pairs, pairs[1:], strict=False) if pair[1] == after[1]), None)
    if twice is not None:
        raise InputError(f"{twice[0]}: another file there differs only in its suffix; keep one of them")
    return pairs
