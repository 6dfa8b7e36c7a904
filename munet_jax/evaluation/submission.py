"""Zips for the servers that hold the masks of DAVIS test-dev and YouTube-VOS valid: packs them, and says what is wrong."""

from __future__ import annotations

import collections
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.data.images import open_image
from munet_jax.data.masks import read_mask
from munet_jax.data.sizes import explain_size
from munet_jax.data.sources import create_source
from munet_jax.evaluation.mask_trees import MOST_NAMED
from munet_jax.evaluation.metrics import objects_in
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.clutter import is_in_clutter
from munet_jax.runtime.content import refuse_impostor
from munet_jax.runtime.errors import InputError

SUBMISSION_FILE = "submission.zip"
_FOLDERS = {"davis": "", "youtube_vos": "Annotations/"}
# What zipfile raises of files that are damaged, or of a kind that it does not know.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, UnicodeDecodeError, EOFError)
_LARGEST_MASK = 64 * 2**20  # bytes
_DATE = (1980, 1, 1, 0, 0, 0)  # the same masks make the same file


class Layout(NamedTuple):
    """What a benchmark's server takes.

    Attributes:
      folder: holds the videos' folders, with a slash at its end; '' where they lie at the top.
      source: the videos with those frames whose masks belong in the zip.
    """

    folder: str
    source: ClipSource


class Expected(NamedTuple):
    """What a zip must hold under one name.

    Attributes:
      size: (height, width) of the mask.
      objects: ids that the mask may show.
      given: ids that the mask must show, since this frame gives them.
    """

    size: tuple[int, ...]
    objects: frozenset[int]
    given: frozenset[int]


def layout_of(config: ConfigDict) -> Layout:
    """The layout for the data of `config`, which is a config's section `evaluation`.

    Of YouTube-VOS the frames that meta.json lists are submitted, whichever were segmented.

    Raises:
      InputError: the data is of no benchmark that takes submissions, or is not there.
    """
    if config.kind not in _FOLDERS:
        kinds = " and ".join(_FOLDERS)
        raise InputError(f"config.evaluation.kind is {config.kind!r}; submissions are made for {kinds}")
    listed = config.copy_and_resolve_references()
    listed.youtube_vos.frames = "annotated"
    return Layout(_FOLDERS[config.kind], create_source(listed))


def write_submission(layout: Layout, masks: Path, target: Path) -> Path:
    """Packs masks/<video>/<frame>.png, verifies the zip, and only then gives it its name.

    Raises:
      InputError: a mask is missing, or the verifier finds something.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for index in range(len(layout.source)):
                video = layout.source.video(index)
                for name in video.frame_names:
                    path = masks / video.name / f"{name}.png"
                    if not path.is_file():
                        raise InputError(f"{path}: there is no such mask, so there is no zip; segment the split again")
                    entry = zipfile.ZipInfo(f"{layout.folder}{video.name}/{name}.png", _DATE)
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, path.read_bytes())
        problems = verify_submission(layout, temporary)
        if problems:
            more = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
            raise InputError(f"{masks}: {problems[0]}{more}; no zip was written")
    return target


def verify_submission(layout: Layout, path: Path) -> list[str]:
    """What is wrong with a zip, a line for each fault; empty where the server will take it. One mask is held at a time.

    A name may be missing, unknown, there twice, in the wrong folder, or outside it. A mask may have another mode or size, an
    id that no object has or that is given only later, or lack an object that its frame gives.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_BROKEN, OSError) as error:
        refuse_impostor(path)
        return [f"{path.name}: cannot be opened as a zip ({error}); pack it again"]
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        expected = dict(_expected(layout))
        problems = _name_problems([entry.filename for entry in entries], expected, layout.folder)
        for entry in entries:
            if entry.filename in expected:
                found = _mask_problem(archive, entry, expected[entry.filename])
                problems += [f"{entry.filename}: {found}"] if found else []
    return problems


def _expected(layout: Layout) -> Iterator[tuple[str, Expected]]:
    source = layout.source
    for index in range(len(source)):
        video = source.video(index)
        first = source.labels(index, video.annotated[0])
        appears = video.first_frames or dict.fromkeys(objects_in(first), 0)
        for number, name in enumerate(video.frame_names):
            known = frozenset(i for i, start in appears.items() if start <= number)
            given = frozenset(i for i, start in appears.items() if start == number)
            if given:  # the data itself may name a frame whose label map does not show the object
                given &= frozenset(objects_in(source.labels(index, number)))
            yield f"{layout.folder}{video.name}/{name}.png", Expected(first.shape, known, given)


def _name_problems(names: list[str], expected: Mapping[str, Expected], folder: str) -> list[str]:
    problems = [f"{name}: is in it {count} times" for name, count in collections.Counter(names).items() if count > 1]
    for name in dict.fromkeys(names):
        if name not in expected:
            problems.append(f"{name}: {_why_unknown(name, expected, folder)}")
    there = set(names)
    missing = [name for name in expected if name not in there]
    problems += [f"{name}: is missing" for name in missing[:MOST_NAMED]]
    if len(missing) > MOST_NAMED:
        problems.append(f"{len(missing)} of {len(expected)} masks are missing in all")
    return problems


def _why_unknown(name: str, expected: Mapping[str, Expected], folder: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return "leaves the folder; names are relative, with plain folders"
    if is_in_clutter(path):
        return "is no mask; leave out what the system adds"
    top = folder or "the videos' folders"
    if (
        f"{folder}{name}" in expected
        or "/".join(path.parts[1:]) in expected
        or folder + "/".join(path.parts[1:]) in expected
    ):
        return f"lies in the wrong folder; {top} must be at the top of the zip"
    if path.suffix != ".png":
        return "is no mask; masks are .png"
    return "there is no such frame to submit"


def _mask_problem(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, expected: Expected) -> str | None:
    if entry.flag_bits & 1:
        return "is encrypted; pack it without a password"
    if entry.file_size > _LARGEST_MASK:
        return f"has {entry.file_size} bytes, more than any mask; pack it again"
    try:
        content = archive.read(entry)
    except (*_BROKEN, OSError) as error:
        return f"is damaged or packed by a method that few can read ({error}); pack it again"
    try:
        with open_image("", content) as image:
            if image.format != "PNG" or image.mode not in ("P", "L"):
                return f"is {image.format} with mode {image.mode}; save it as a palette PNG"
        labels = read_mask("", content=content)
    except InputError as error:
        return str(error).removeprefix(".: ").removeprefix(": ")
    if labels.shape != expected.size:
        return f"is {explain_size(labels.shape, expected.size, called='the frame')}"
    shown = set(objects_in(labels, ignore=None))
    unknown, absent = sorted(shown - expected.objects), sorted(expected.given - shown)
    if unknown:
        known = ", ".join(map(str, sorted(expected.objects))) or "none"
        return f"shows ids {', '.join(map(str, unknown))}, but the objects up to this frame are {known}"
    if absent:
        return f"does not show object {absent[0]}, whose mask is given with this frame"
    return None
