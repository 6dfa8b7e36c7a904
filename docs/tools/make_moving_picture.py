"""Makes docs/pictures/munet.webp, the moving picture of the README: the demo's clip with masks, uncertainty and displacement.

Command:   python docs/tools/make_moving_picture.py
Data:      none; the clip is the one that `munet demo` makes, the network the one that the package ships
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).parents[2]))

import munet_jax
from munet_jax.commands.demonstration import CLIP
from munet_jax.commands.scripts import exit_code_of
from munet_jax.data.synthetic.videos import SyntheticSource
from munet_jax.host_types import Image
from munet_jax.inference import VideoSegmenter
from munet_jax.inference.prediction import Prediction
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.visualization.colours import flow_colours, heat_map
from munet_jax.visualization.motion_figures import colour_bar, wheel_legend
from munet_jax.visualization.overlays import blend, grid, overlay_labels

PICTURE = Path(__file__).parents[1] / "pictures" / "munet.webp"
WIDTH, MILLISECONDS, QUALITY = 320, 140, 80
CAPTIONS = ("masks (the first one is given)", "uncertainty (high: a sure match)", "displacement (coarse)")
SHARE = 95.0  # of all pixels have a displacement within the colours, in percent; a few wrong matches are much longer


def main() -> int:
    """Draws the picture; gives the exit code."""
    clip = SyntheticSource(CLIP)
    segmenter = VideoSegmenter(*munet_jax.load("lite"))
    frames = [clip.frame(0, number) for number in range(CLIP.frames)]
    outputs = ("labels", "uncertainty", "displacement")
    first, *others = frames
    segmenter.step(first, clip.labels(0, 0), outputs=outputs)
    save(PICTURE, draw(others, [segmenter.step(frame, outputs=outputs) for frame in others]))
    return 0


def draw(frames: Sequence[Image], predictions: Sequence[Prediction]) -> list[PIL.Image.Image]:
    """The three panels of every frame, in colours that mean the same all along."""
    uncertainty = np.stack([prediction.uncertainty for prediction in predictions])
    displacement = np.stack([prediction.displacement for prediction in predictions])
    low, high = (float(x) for x in np.percentile(uncertainty, (1, 99)))
    length = float(np.percentile(np.hypot(*np.moveaxis(displacement, -1, 0)), SHARE))
    legends = [
        PIL.Image.new("RGB", (WIDTH, 1), (255, 255, 255)),
        colour_bar(WIDTH, low, high, "cosine: low = unsure, high = sure match"),
        wheel_legend(WIDTH, length),
    ]
    pictures = []
    for frame, prediction in zip(frames, predictions, strict=True):
        panels = [
            overlay_labels(frame, prediction.labels),
            blend(frame, heat_map(prediction.uncertainty, low, high), 0.65),
            flow_colours(prediction.displacement, length),
        ]
        pictures.append(grid([[small(panel) for panel in panels], legends], column_captions=CAPTIONS))
    return pictures


def small(panel: Image) -> PIL.Image.Image:
    """A panel at the width that it is shown with."""
    height, width = panel.shape[:2]
    return PIL.Image.fromarray(panel).resize((WIDTH, round(height * WIDTH / width)), PIL.Image.Resampling.LANCZOS)


def save(path: Path, pictures: Sequence[PIL.Image.Image]) -> None:
    """Writes an animated WebP that repeats for ever."""
    first, *others = pictures
    with atomic_path(path) as temporary:
        first.save(
            temporary, format="WEBP", save_all=True, append_images=others, duration=MILLISECONDS, loop=0,
            quality=QUALITY, method=6,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
