"""Draws an evaluated video: a strip of masks, an animation, and what the MU-Layer and MSAM saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import read_mask
from munet_jax.host_types import Image, LabelMap
from munet_jax.inference.maps import motion_maps
from munet_jax.models import MUNet
from munet_jax.visualization.motion_figures import motion_figure
from munet_jax.visualization.overlays import STRIP_SHARES, overlay_labels, save_gif, save_png, strip, strip_frames

FOLDER = "pictures"
FRAMES_PER_SECOND = 12


def middle_frame(frames: int) -> int:
    """The frame whose motion is drawn: the middle one, never the first (it has no frame before it)."""
    return max(1, frames // 2)


def draw_pictures(
    source: ClipSource, index: int, masks: Path, folder: Path, network: tuple[MUNet, Any, ConfigDict]
) -> list[Path]:
    """Draws one video from its written masks.

    Args:
      source: the videos.
      index: of the video.
      masks: the folder of all videos' masks.
      folder: gets pictures/.
      network: model, variables and config; draws what it sees in the middle frame.

    Returns:
      The pictures' paths.
    """
    video = source.video(index)
    pictures = folder / FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    count = len(video.frame_names)

    def frame(number: int) -> Image:
        return source.frame(index, number)

    def labels(number: int) -> LabelMap:
        return read_mask(masks / video.name / f"{video.frame_names[number]}.png")

    paths = [pictures / f"{video.name}_masks.png", pictures / f"{video.name}.gif"]
    draw_strip(paths[0], [(frame(n), labels(n), video.frame_names[n]) for n in strip_frames(count)])
    save_gif(paths[1], [overlay_labels(frame(number), labels(number)) for number in range(count)], FRAMES_PER_SECOND)
    if count > 1:
        middle = middle_frame(count)
        paths.append(pictures / f"{video.name}_motion.png")
        draw_motion(paths[2], network, frame(middle - 1), frame(middle), labels(middle))
    return paths


def draw_strip(path: Path, shown: Sequence[tuple[Image, LabelMap, str]]) -> None:
    """Draws the frames of `strip_frames` side by side; each is given as frame, label map and name."""
    overlays = [overlay_labels(frame, labels) for frame, labels, _ in shown]
    captions = [f"{share:.0%}, frame {name}" for share, (_, _, name) in zip(STRIP_SHARES, shown, strict=True)]
    save_png(path, strip(overlays, captions))


def draw_motion(
    path: Path, network: tuple[MUNet, Any, ConfigDict], before: Image, frame: Image, labels: LabelMap
) -> None:
    """Draws what the network (model, variables, config) sees between two frames."""
    maps = motion_maps(*network, before, frame)
    save_png(path, motion_figure(frame, maps.uncertainty, maps.displacement, maps.attention, labels=labels))
