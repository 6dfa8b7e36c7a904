"""Pictures of an evaluated video: a strip of masks, an animation, and what the MU-Layer and MSAM saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import read_mask
from munet_jax.host_types import LabelMap
from munet_jax.inference.motion import motion_maps
from munet_jax.models import MUNet
from munet_jax.visualization.figures import motion_figure
from munet_jax.visualization.overlays import overlay_labels, save_gif, save_png, strip

FOLDER = "pictures"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FRAMES_PER_SECOND = 12


def middle_frame(frames: int) -> int:
    """The frame whose motion is drawn: the middle one, never the first (it has no frame before it)."""
    return max(1, frames // 2)


def draw_pictures(
    source: ClipSource, index: int, masks: Path, folder: Path, network: tuple[MUNet, Any, ConfigDict]
) -> list[Path]:
    """Draw one video from its written masks.

    Args:
      source: the videos.
      index: which of them.
      masks: folder of all videos' masks.
      folder: where pictures/ is made.
      network: model, variables and config, for what it sees in the middle frame.

    Returns:
      The pictures' paths.
    """
    video = source.video(index)
    pictures = folder / FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    count = len(video.frame_names)

    def labels(number: int) -> LabelMap:
        return read_mask(masks / video.name / f"{video.frame_names[number]}.png")

    def overlay(number: int) -> np.ndarray:
        return overlay_labels(source.frame(index, number), labels(number))

    shown = [round(share * (count - 1)) for share in SHARES]
    captions = [f"{share:.0%}, frame {video.frame_names[number]}" for share, number in zip(SHARES, shown, strict=True)]
    paths = [pictures / f"{video.name}_masks.png", pictures / f"{video.name}.gif"]
    save_png(paths[0], strip([overlay(number) for number in shown], captions))
    save_gif(paths[1], [overlay(number) for number in range(count)], FRAMES_PER_SECOND)
    if count > 1:
        shown_frame = middle_frame(count)
        frame = source.frame(index, shown_frame)
        maps = motion_maps(*network, source.frame(index, shown_frame - 1), frame)
        figure = motion_figure(frame, maps.uncertainty, maps.displacement, maps.attention, labels=labels(shown_frame))
        paths.append(pictures / f"{video.name}_motion.png")
        save_png(paths[2], figure)
    return paths
