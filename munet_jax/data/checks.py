"""Looking for trouble in data before a training run does: every file opened, every problem listed."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.images import describe_size, image_size, list_images
from munet_jax.data.masks import IGNORE, read_mask
from munet_jax.host_types import LabelMap
from munet_jax.runtime.errors import InputError

THREADS = 4


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
      problems: one line each, beginning with the file or video.
      frames: frames that were looked at.
      masks: label maps that were looked at.
      stills: folders of label maps that were taken for those of unrelated images.
    """

    problems: tuple[str, ...]
    frames: int
    masks: int
    stills: tuple[Path, ...] = ()


def check_source(source: ClipSource) -> Report:
    """Opens every frame and label map of a source.

    Problems are: files that cannot be read, label maps that are no label maps or of another size than their frame, frames
    of different sizes in a video, first label maps without an object, gaps in the numbering of frames.
    """
    problems: list[str] = []
    frames = masks = 0
    videos = range(len(source))
    for found, video in _in_parallel(
        lambda index: (check_video(source, index), source.video(index)), videos, source.name
    ):
        problems += found
        frames += len(video.frame_names)
        masks += len(video.annotated)
    return Report(tuple(problems), frames, masks)


def check_video(source: ClipSource, index: int) -> list[str]:
    """The problems of one video of a source."""
    video = source.video(index)
    called = f"{source.name}/{video.name}"
    # Where the data says which frames there are, listing them has found what is missing.
    problems = [] if video.first_frames else [f"{called}: {gap}" for gap in numbering_gaps(video.frame_names)]
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    annotated = set(video.annotated)
    for frame in range(len(video.frame_names)):
        image = _try(problems, called, source.frame, index, frame)
        labels = _try(problems, called, source.labels, index, frame) if frame in annotated else None
        if image is not None:
            sizes[image.shape[:2]] += 1
        if labels is not None and image is not None and labels.shape != image.shape[:2]:
            found = f"label map {describe_size(labels.shape)}, frame {describe_size(image.shape)}"
            problems.append(f"{called}/{video.frame_names[frame]}: {found} (width x height)")
        if frame == 0 and labels is not None and not shows_object(labels) and not _appears_later(video):
            problems.append(f"{called}/{video.frame_names[0]}: the first label map shows no object")
    if len(sizes) > 1:
        found = ", ".join(f"{count} of {describe_size(size)}" for size, count in sizes.most_common())
        problems.append(f"{called}: frames of different sizes ({found}, width x height)")
    return problems


def check_masks(folder: Path, frames: Path | None = None) -> Report:
    """Opens every PNG below a folder of label maps, such as a method's results.

    Args:
      folder: of label maps; each folder with PNGs in it is taken for a video, or for the masks of still images
        (`are_stills`), of which neither numbers nor sizes must go together.
      frames: the folder of frames, with the same folders in it, to compare names and sizes with. Its frames need not
        all have a label map, but a folder of frames without a folder of label maps is a problem.

    Raises:
      InputError: no such folder, or no PNG in it.
    """
    for given in (folder, frames):
        if given is not None and not given.is_dir():
            raise InputError(f"{given}: there is no such folder")
    videos = sorted({path.parent for path in folder.rglob("*") if path.suffix.lower() == ".png"})
    if not videos:
        raise InputError(f"{folder}: holds no label maps (.png)")
    problems: list[str] = []
    frame_count = mask_count = 0
    stills: list[Path] = []

    def check(video: Path) -> tuple[list[str], int, int, bool]:
        return check_mask_folder(video, None if frames is None else frames / video.relative_to(folder))

    if frames is not None:
        missing = sorted(path.name for path in frames.iterdir() if path.is_dir() and not (folder / path.name).is_dir())
        problems += [f"{folder / name}: there is no such folder, but there are frames of it" for name in missing]
    for video, (found, opened_frames, opened_masks, still) in zip(
        videos, _in_parallel(check, videos, str(folder)), strict=True
    ):
        problems += found
        frame_count += opened_frames
        mask_count += opened_masks
        stills += [video] if still else []
    return Report(tuple(problems), frame_count, mask_count, tuple(stills))


def check_mask_folder(folder: Path, frames: Path | None) -> tuple[list[str], int, int, bool]:
    """Problems of one folder's label maps, the number of frames and of label maps, and whether they are of stills."""
    problems: list[str] = []
    try:
        masks = list_images(folder, (".png",))
        images = {} if frames is None else list_images(frames)
    except InputError as error:
        return [str(error)], 0, 0, False
    if frames is not None:
        problems += [
            f"{path}: there is no frame of this name in {frames}" for name, path in masks.items() if name not in images
        ]
    sizes: collections.Counter[tuple[int, ...]] = collections.Counter()
    empty: list[str] = []
    for name, path in masks.items():
        labels = _try(problems, "", read_mask, path)
        if labels is None:
            continue
        sizes[labels.shape] += 1
        if not shows_object(labels):
            empty.append(name)
        size = _try(problems, "", image_size, images[name]) if name in images else None
        if size is not None and size != labels.shape:
            problems.append(
                f"{path}: label map {describe_size(labels.shape)}, frame {describe_size(size)} (width x height)"
            )
    stills = are_stills(tuple(masks), sizes)
    if stills:
        return problems + [f"{masks[name]}: shows no object" for name in empty], len(images), len(masks), True
    problems += [f"{folder}: {gap}" for gap in numbering_gaps(tuple(masks))]
    if empty and empty[0] == next(iter(masks)):
        problems.append(f"{masks[empty[0]]}: the first label map shows no object")
    if len(sizes) > 1:
        found = ", ".join(f"{count} of {describe_size(size)}" for size, count in sizes.most_common())
        problems.append(f"{folder}: label maps of different sizes ({found}, width x height)")
    return problems, len(images), len(masks), False


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


def _appears_later(video: Video) -> bool:
    """Whether the data says that no object is in the first frame."""
    return bool(video.first_frames) and min(video.first_frames.values()) > 0


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
