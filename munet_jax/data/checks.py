"""Looking for trouble in data before a training run does: every file opened, every problem listed."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.doubts import MOST_NAMED, find_doubts, summarise_doubts
from munet_jax.data.images import describe_size, exif_orientation, image_size, list_images, odd_names
from munet_jax.data.mask_colours import ColourMap
from munet_jax.data.masks import IGNORE, read_mask
from munet_jax.data.sizes import explain_size, sizes_of_image
from munet_jax.host_types import LabelMap
from munet_jax.runtime.clutter import list_files, list_folders
from munet_jax.runtime.errors import InputError

THREADS = 4


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
      problems: one line each, beginning with the file or video.
      warnings: likewise, of what is readable and may yet be a mistake.
      frames: frames that were looked at.
      masks: label maps that were looked at.
      stills: folders of label maps that were taken for those of unrelated images.
    """

    problems: tuple[str, ...]
    frames: int
    masks: int
    stills: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass
class _Findings:
    """What one video gives, while it is looked at.

    Attributes:
      called: the video.
      problems: a line each.
      frames: that were looked at.
      masks: likewise.
      stills: whether it is no video but unrelated images.
      doubts: label maps that may be a mistake, and why.
      turned: frames with an EXIF orientation.
      odd: frames whose names do not count on.
    """

    called: str = ""
    problems: list[str] = dataclasses.field(default_factory=list)
    frames: int = 0
    masks: int = 0
    stills: bool = False
    doubts: list[tuple[str, list[str]]] = dataclasses.field(default_factory=list)
    turned: list[str] = dataclasses.field(default_factory=list)
    odd: list[str] = dataclasses.field(default_factory=list)

    def warnings(self) -> list[str]:
        """What is readable and may yet be a mistake, a line each."""
        lines = summarise_doubts(self.doubts, "label maps")
        if self.odd:
            names = ", ".join(self.odd[:MOST_NAMED]) + (", ..." if len(self.odd) > MOST_NAMED else "")
            what = f"{len(self.odd)} of {max(self.frames, self.masks)} files do not count on as the others do"
            lines.append(f"{self.called}: {what} ({names}); do they belong there?")
        if self.turned:
            what = f"{len(self.turned)} of {self.frames} frames, such as {self.turned[0]},"
            lines.append(
                f"{what} are turned or mirrored by an EXIF orientation, as viewers show them; are the label maps, too?"
            )
        return lines


def check_source(source: ClipSource) -> Report:
    """Opens every frame and label map of a source.

    Problems are: files that cannot be read, label maps that are no label maps or of another size than their frame, frames
    of different sizes in a video, first label maps without an object, gaps in the numbering of frames. Warnings are: traces
    of resizing, dithering and colour reduction in label maps, frames that an EXIF orientation turns, names of frames that do
    not count on with the others.
    """
    found = list(_in_parallel(lambda index: _check_video(source, index), range(len(source)), source.name))
    if found and all(source.video(index).still for index in range(len(source))):  # or there would be a line for each
        doubts = [doubt for image in found for doubt in image.doubts]
        turned = [name for image in found for name in image.turned]
        return _summarised(found, [_Findings(source.name, frames=len(found), doubts=doubts, turned=turned)])
    return _summarised(found, found)


def _summarised(found: Sequence[_Findings], warned: Sequence[_Findings], stills: Iterable[Path] = ()) -> Report:
    """All videos' problems, and the warnings of some."""
    return Report(
        tuple(problem for video in found for problem in video.problems),
        sum(video.frames for video in found),
        sum(video.masks for video in found),
        tuple(stills),
        tuple(warning for video in warned for warning in video.warnings()),
    )


def _check_video(source: ClipSource, index: int) -> _Findings:
    video = source.video(index)
    called = f"{source.name}/{video.name}"
    found = _Findings(
        called, frames=len(video.frame_names), masks=len(video.annotated), odd=odd_names(video.frame_names)
    )
    problems = found.problems
    # Where the data says which frames there are, listing them has found what is missing.
    problems += [] if video.first_frames else [f"{called}: {gap}" for gap in numbering_gaps(video.frame_names)]
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    annotated, shown = set(video.annotated), False
    for frame, name in enumerate(video.frame_names):
        image = _try(problems, called, source.frame, index, frame)
        labels = _try(problems, called, source.labels, index, frame) if frame in annotated else None
        if image is not None:
            sizes[image.shape[:2]] += 1
            found.turned += [f"{called}/{name}"] if _is_turned(source, index, frame) else []
        if labels is None:
            continue
        shown = shown or shows_object(labels)
        found.doubts += [(f"{called}/{name}", traces)] if (traces := find_doubts(labels)) else []
        if image is not None and labels.shape != image.shape[:2]:
            problems.append(f"{called}/{name}: the label map is {explain_size(labels.shape, image.shape[:2])}")
        if frame == 0 and not shows_object(labels) and not may_appear_later(source, video):
            problems.append(f"{called}/{name}: the first label map shows no object")
    if not shown and may_appear_later(source, video) and not problems:
        problems.append(f"{called}: no label map shows an object")
    if len(sizes) > 1:
        counts = ", ".join(f"{count} of {describe_size(size)}" for size, count in sizes.most_common())
        problems.append(f"{called}: frames of different sizes ({counts}, width x height)")
    return found


def _is_turned(source: Any, index: int, frame: int) -> bool:
    """Whether a frame that is a file has an EXIF orientation."""
    return hasattr(source, "frame_file") and exif_orientation(source.frame_file(index, frame)) > 1


def check_masks(folder: Path, frames: Path | None = None, *, colours: ColourMap | None = None) -> Report:
    """Opens every PNG below a folder of label maps, such as a method's results.

    Args:
      folder: of label maps; each folder with PNGs in it is taken for a video, or for the masks of still images
        (`are_stills`), of which neither numbers nor sizes must go together.
      frames: the folder of frames, with the same folders in it, to compare names and sizes with. Its frames need not
        all have a label map, but a folder of frames without a folder of label maps is a problem.
      colours: ids by colour, where the label maps are to be read by their colours.

    Raises:
      InputError: no such folder, or no PNG in it.
    """
    for given in (folder, frames):
        if given is not None and not given.is_dir():
            raise InputError(f"{given}: there is no such folder")
    videos = sorted({path.parent for path in list_files(folder) if path.suffix.lower() == ".png"})
    if not videos:
        raise InputError(f"{folder}: holds no label maps (.png)")

    def check(video: Path) -> _Findings:
        return _check_mask_folder(video, None if frames is None else frames / video.relative_to(folder), colours)

    missing = [] if frames is None else sorted(name for name in list_folders(frames) if not (folder / name).is_dir())
    first = _Findings("", [f"{folder / name}: there is no such folder, but there are frames of it" for name in missing])
    found = list(_in_parallel(check, videos, str(folder)))
    stills = [video for video, of in zip(videos, found, strict=True) if of.stills]
    return _summarised([first, *found], found, stills)


def _check_mask_folder(folder: Path, frames: Path | None, colours: ColourMap | None) -> _Findings:
    """What is found in one folder's label maps."""
    try:
        masks = list_images(folder, (".png",))
        images = {} if frames is None else list_images(frames)
    except InputError as error:
        return _Findings(str(folder), [str(error)])
    found = _Findings(str(folder), frames=len(images), masks=len(masks))
    problems = found.problems
    if frames is not None:
        problems += [
            f"{path}: there is no frame of this name in {frames}" for name, path in masks.items() if name not in images
        ]
    sizes: collections.Counter[tuple[int, ...]] = collections.Counter()
    empty: list[str] = []
    for name, path in masks.items():
        labels = _try(problems, "", functools.partial(read_mask, colours=colours), path)
        if labels is None:
            continue
        sizes[labels.shape] += 1
        found.doubts += [(str(path), traces)] if (traces := find_doubts(labels)) else []
        if not shows_object(labels):
            empty.append(name)
        size = _try(problems, "", image_size, images[name]) if name in images else None
        if size is not None and size != labels.shape:
            problems.append(
                f"{path}: the label map is {explain_size(labels.shape, size, sizes_of_image(images[name]))}"
            )
    found.stills = are_stills(tuple(masks), sizes)
    if found.stills:
        problems += [f"{masks[name]}: shows no object" for name in empty]
        return found
    found.odd = odd_names(tuple(masks))
    problems += [f"{folder}: {gap}" for gap in numbering_gaps(tuple(masks))]
    if empty and empty[0] == next(iter(masks)):
        problems.append(f"{masks[empty[0]]}: the first label map shows no object")
    if len(sizes) > 1:
        counts = ", ".join(f"{count} of {describe_size(size)}" for size, count in sizes.most_common())
        problems.append(f"{folder}: label maps of different sizes ({counts}, width x height)")
    return found


def are_stills(names: tuple[str, ...], sizes: collections.Counter[tuple[int, ...]]) -> bool:
    """Whether label maps are of unrelated images rather than of a video's frames.

    They are if their names do not count on (one text and numbers, more than half of them the same step apart), or if
    there are three sizes or more and none is that of most. Of fewer than three nothing is known: they are a video's.

    Args:
      names: of the label maps.
      sizes: how many have which size.
    """
    if len(names) < 3:
        return False
    found = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    numbers = [int(match[2]) for match in found if match]
    texts = {match[1] for match in found if match}
    if len(numbers) < len(names) or len(texts) > 1 or usual_step(numbers) is None:
        return True
    return len(sizes) > 2 and 2 * max(sizes.values()) <= sizes.total()


def numbering_gaps(names: tuple[str, ...]) -> list[str]:
    """Where numbered frames skip numbers that their own step would have; nothing for names that are not numbers."""
    if not all(name.isdecimal() for name in names):
        return []
    numbers = sorted(int(name) for name in names)
    usual = usual_step(numbers)
    return [
        f"frame {after} follows frame {before}: {(after - before) // usual - 1} frames are missing between them"
        for before, after in zip(numbers, numbers[1:], strict=False)
        if usual is not None and after - before > usual and (after - before) % usual == 0
    ]


def usual_step(numbers: Iterable[int]) -> int | None:
    """From one number to the next one where more than half of them agree; None where there is no such step."""
    numbers = sorted(numbers)
    steps = collections.Counter(after - before for before, after in zip(numbers, numbers[1:], strict=False))
    step, count = steps.most_common(1)[0] if steps else (0, 0)
    return step if step > 0 and 2 * count > steps.total() else None


def shows_object(labels: LabelMap) -> bool:
    """Whether a label map has a pixel of an object."""
    return bool(((labels > 0) & (labels < IGNORE)).any())


def may_appear_later(source: ClipSource, video: Video) -> bool:
    """Whether the first frame may show no object: the data says so, or objects may appear in any frame of its kind."""
    told = bool(video.first_frames) and min(video.first_frames.values()) > 0
    return told or getattr(source, "objects_appear_later", False)


def _try(problems: list[str], called: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """What was read, or None with a line more in `problems`; `called` names what errors do not name."""
    try:
        return read(*arguments)
    except InputError as error:
        text = str(error)
        problems.append(text if not called or "/" in text.split(":")[0] else f"{called}: {text}")
        return None


def _in_parallel(check: Callable[[Any], Any], items: Iterable[Any], described: str) -> Iterator[Any]:
    """Results in order, with a progress bar; decoding releases the interpreter's lock."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        yield from tqdm(pool.map(check, items), total=len(items), desc=described, unit="video", mininterval=0.5)
