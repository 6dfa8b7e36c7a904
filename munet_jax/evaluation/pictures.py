"""Pictures of an evaluated video: a strip of masks, an animation, and what the MU-Layer and MSAM saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from munet_jax.data.clips import ClipSource
from munet_jax.data.masks import read_mask
from munet_jax.inference.prediction import Prediction
from munet_jax.visualization.figures import motion_figure
from munet_jax.visualization.overlays import overlay_labels, save_gif, save_png, strip

FOLDER = "pictures"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FRAMES_PER_SECOND = 12
MOTION_OUTPUTS = ("labels", "uncertainty", "displacement", "attention")


def middle_frame(frames: int) -> int:
    """The frame whose motion is drawn: the middle one, never the first (it has no frame before it)."""
    return max(1, frames // 2)


def draw_pictures(
    source: ClipSource, index: int, masks: Path, folder: Path, motion: tuple[int, Prediction] | None
) -> list[Path]:
    """Draw one video from its written masks.

    Args:
      source: the videos.
      index: which of them.
      masks: folder of its masks, one PNG per frame.
      folder: where pictures/ is made.
      motion: a frame's index and its prediction with uncertainty, displacement and attention, to draw too.

    Returns:
      The pictures' paths.
    """
    video = source.video(index)
    pictures = folder / FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    count = len(video.frame_names)

    def overlay(number: int) -> np.ndarray:
        return overlay_labels(source.frame(index, number), read_mask(masks / f"{video.frame_names[number]}.png"))

    shown = [round(share * (count - 1)) for share in SHARES]
    captions = [f"{share:.0%}, frame {video.frame_names[number]}" for share, number in zip(SHARES, shown, strict=True)]
    paths = [pictures / f"{video.name}_masks.png", pictures / f"{video.name}.gif"]
    save_png(paths[0], strip([overlay(number) for number in shown], captions))
    save_gif(paths[1], [overlay(number) for number in range(count)], FRAMES_PER_SECOND)
    if motion is not None:
        number, prediction = motion
        assert prediction.uncertainty is not None
        assert prediction.displacement is not None
        assert prediction.attention is not None
        figure = motion_figure(
            source.frame(index, number),
            prediction.uncertainty,
            prediction.displacement,
            prediction.attention,
            labels=prediction.labels,
        )
        paths.append(pictures / f"{video.name}_motion.png")
        save_png(paths[2], figure)
    return paths
