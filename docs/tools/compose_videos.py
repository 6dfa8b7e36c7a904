"""Composes videos of several objects from videos of one: what several objects are scored on where no such videos may be touched.

Command:   python docs/tools/compose_videos.py DATA/DAVIS OUT
           python evaluate.py --config configs/lite2.py --config.evaluation.davis.root=OUT --weights lite --workdir results/dev
               --config.evaluation.davis.year=2017 --config.evaluation.merge_objects=False
Data:      a DAVIS tree with ImageSets/2016/val.txt
Writes:    OUT, a DAVIS-2017 tree whose split val has the videos; the same ones from the same seed

Over the object of one video pass another video's object, the object itself once more (mirrored, in slightly other colours), or
both. What passes keeps its own changes of shape, and crosses the object in the middle of the video, in front or behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from munet_jax.commands.scripts import exit_code_of
from munet_jax.data.clips import ClipSource
from munet_jax.data.davis import DavisSource
from munet_jax.data.layers import middle_of
from munet_jax.data.masks import write_mask
from munet_jax.data.transforms import AugmentationConfig, Matrix, affine, recolour, warp_image, warp_mask
from munet_jax.runtime.atomic_files import atomic_path, writing_to
from munet_jax.runtime.errors import InputError

OTHER, ALIKE = "other", "alike"
# What passes over each video in turn.
KINDS: tuple[tuple[str, ...], ...] = ((OTHER,), (ALIKE,), (OTHER, ALIKE))
VIDEOS, FRAMES, SEED = 12, 40, 0
QUALITY = 92  # of the JPEGs
COLOURS = AugmentationConfig(brightness=0.12, contrast=0.12, saturation=0.2, hue=0.03)
REACH = (0.25, 0.4)  # of the frame's width: half of the way that something passes
SIZES = (0.7, 1.1)
TRIES = 30
LEAST = 0.004  # of frame 0, that each object shows

VISIBLE = 128  # of alpha: where half of a pixel or more is the object's, the pixel is


class Video(NamedTuple):
    """Frames uint8 [t, h, w, 3] and label maps uint8 [t, h, w]."""

    frames: np.ndarray
    labels: np.ndarray


def main(arguments: Sequence[str] | None = None) -> int:
    """Composes and writes; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("davis", type=Path, help="a DAVIS tree")
    parser.add_argument("out", type=Path, help="the tree to write")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    if options.out.exists():
        raise InputError(f"{options.out}: exists already; name another folder, or take it away")
    source = DavisSource(options.davis, "val", "2016")
    names = []
    for number in range(VIDEOS):
        name, video = compose(source, number, options.seed, FRAMES)
        write_video(options.out, name, video)
        names.append(name)
        print(f"{name}: {video.labels.max()} objects, {len(video.frames)} frames")
    listed = options.out / "ImageSets" / "2017" / "val.txt"
    with writing_to(listed.parent), atomic_path(listed) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return 0


def compose(source: ClipSource, number: int, seed: int, length: int) -> tuple[str, Video]:
    """Composes video `number` of a seed: its name and its frames.

    Args:
      source: annotated videos of one object each, at least two of them.
      number: of the video; the videos of the source and what passes over them take turns.
      seed: of the random numbers.
      length: frames, fewer where a video is shorter.

    Raises:
      InputError: the source has fewer than two videos, or no arrangement shows all objects.
    """
    if len(source) < 2:
        raise InputError(f"{source.name}: has {len(source)} videos; to compose some, give two or more")
    rng = np.random.default_rng([seed, number])
    base, kinds = number % len(source), KINDS[(number + number // len(source)) % len(KINDS)]
    rest = [index for index in range(len(source)) if index != base]
    for _ in range(TRIES):
        others = [int(rng.choice(rest)) if kind == OTHER else base for kind in kinds]
        videos = [read(source, index, length, rng) for index in [base, *others]]
        frames = min(len(video.frames) for video in videos)
        composed = Video(videos[0].frames[:frames].copy(), videos[0].labels[:frames].copy())
        for kind, video in zip(kinds, videos[1:], strict=True):
            above = Video(recolour(video.frames, rng, COLOURS), video.labels) if kind == ALIKE else video
            composed = passing(composed, above, rng)
        shown = np.bincount(composed.labels[0].ravel(), minlength=len(kinds) + 2)[1:]
        if (shown >= LEAST * composed.labels[0].size).all():
            parts = [source.video(index).name for index in [base, *others]]
            return "-".join([f"{number:02d}", *parts]), composed
    raise InputError(f"{source.name}: none of {TRIES} arrangements over {source.video(base).name} shows all objects")


def read(source: ClipSource, index: int, length: int, rng: np.random.Generator) -> Video:
    """`length` neighbouring frames of a video, or all it has."""
    count = len(source.video(index).frame_names)
    start = int(rng.integers(max(1, count - length + 1)))
    frames = range(start, min(start + length, count))
    return Video(
        np.stack([source.frame(index, frame) for frame in frames]),
        np.stack([(source.labels(index, frame) > 0).astype(np.uint8) for frame in frames]),
    )


def passing(below: Video, above: Video, rng: np.random.Generator) -> Video:
    """Lets the object of `above` pass over all of `below`, or behind its objects and before its background."""
    count, height, width = below.labels.shape
    mirrored, behind, side = rng.uniform(size=3) < 0.5
    shrink = 1.0 / rng.uniform(*SIZES)
    half = np.array([rng.uniform(*REACH) * width * (1 if side else -1), rng.uniform(-0.1, 0.1) * height])
    target = (
        middle_of(below.labels[count // 2] > 0) if below.labels[count // 2].any() else np.array([width, height]) / 2
    )
    frames, labels, slot = below.frames.copy(), below.labels.copy(), below.labels.max() + 1
    for number in range(count):
        mask = above.labels[number] > 0
        if not mask.any():
            continue
        to = target + half * (2 * number / max(1, count - 1) - 1)
        matrix = placed(middle_of(mask), to, shrink, mirrored=bool(mirrored))
        alpha = warp_mask(mask, matrix, (height, width))
        if behind:
            alpha = np.where(labels[number] > 0, np.uint8(0), alpha)
        picture = PIL.Image.fromarray(frames[number])
        over = PIL.Image.fromarray(warp_image(above.frames[number], matrix, (height, width)))
        picture.paste(over, mask=PIL.Image.fromarray(alpha))
        frames[number] = np.asarray(picture)
        labels[number][alpha >= VISIBLE] = slot
    return Video(frames, labels)


def placed(middle: np.ndarray, to: np.ndarray, shrink: float, *, mirrored: bool) -> Matrix:
    """From output to source positions: what lies around `middle` comes to lie around `to`, smaller by `shrink`."""
    matrix = affine(to, angle=0.0, shear=0.0, factor=shrink, move=(float(middle[0] - to[0]), float(middle[1] - to[1])))
    flip = np.array([[-1.0, 0.0, 2 * to[0]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return matrix @ flip if mirrored else matrix


def write_video(root: Path, name: str, video: Video) -> None:
    """Writes the frames and label maps of one video of a DAVIS tree."""
    folders = [root / kind / "480p" / name for kind in ("JPEGImages", "Annotations")]
    for folder in folders:
        folder.mkdir(parents=True)
    for number, (frame, labels) in enumerate(zip(*video, strict=True)):
        with atomic_path(folders[0] / f"{number:05d}.jpg") as temporary:
            PIL.Image.fromarray(frame).save(temporary, "JPEG", quality=QUALITY)
        write_mask(folders[1] / f"{number:05d}.png", labels)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
