"""Makes docs/pictures: the figures of `munet report` for synthetic videos, with the masks of a trained quickstart network and the
motion maps of the shipped one.

Command:   python docs/tools/make_pictures.py runs/quickstart
Data:      none; the videos are those that configs/quickstart.py scores
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import PIL.Image
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2]))

from configs import quickstart
from munet_jax.cli import main as munet
from munet_jax.commands.scripts import exit_code_of
from munet_jax.data.masks import write_mask
from munet_jax.data.sources import create_source
from munet_jax.visualization.overlays import save_png

PICTURES = Path(__file__).parents[1] / "pictures"
VIDEO = 0  # whose figures are kept
WIDTH = 1100
KINDS = ("iou", "strips", "motion", "matching")


def main() -> int:
    """Draws the pictures; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path, help="a finished run of configs/quickstart.py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_trees(quickstart.get_config(), folder)
        given = [
            "--annotations",
            f"{folder}/Annotations",
            "--frames",
            f"{folder}/JPEGImages",
            "--out",
            f"{folder}/report",
        ]
        results = [f"MUNet={options.workdir}/evaluation/masks", f"first mask={folder}/copied"]
        given += [argument for result in results for argument in ("--results", result)]
        code = munet(["report", *given, "--protocol", "davis2017", "--weights", "lite", "--formats", "png"])
        if code:
            return code
        PICTURES.mkdir(exist_ok=True)
        for kind in KINDS:
            keep(folder / "report" / kind / f"{video}.png", PICTURES / f"{kind}.jpg")
        keep(folder / "report" / "bars" / "sequences.png", PICTURES / "bars.jpg")
    return 0


def keep(figure: Path, target: Path) -> None:
    """Saves a figure at the width of a page, as JPEG: noise makes frames large as PNG."""
    with PIL.Image.open(figure) as image:
        shown = image.convert("RGB")
    if shown.width > WIDTH:
        shown = shown.resize((WIDTH, round(shown.height * WIDTH / shown.width)), PIL.Image.Resampling.LANCZOS)
    shown.save(target, quality=85)


def write_trees(config: ConfigDict, folder: Path) -> str:
    """Writes the scored videos as folders of frames, of label maps, and of copies of the first one; gives the name of VIDEO."""
    source = create_source(config.evaluation)
    for index in range(len(source)):
        video = source.video(index)
        for number, name in enumerate(video.frame_names):
            frames = folder / "JPEGImages" / video.name
            frames.mkdir(parents=True, exist_ok=True)
            save_png(frames / f"{name}.png", source.frame(index, number))
            write_mask(folder / "Annotations" / video.name / f"{name}.png", source.labels(index, number))
            write_mask(folder / "copied" / video.name / f"{name}.png", source.labels(index, 0))
    return source.video(VIDEO).name


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
