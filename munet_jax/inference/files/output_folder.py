"""The folder that a run of `munet segment` writes to: what may be in it, what is continued, what is removed."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from munet_jax.array_types import LabelMap
from munet_jax.data.mask_colours import ColourMap
from munet_jax.inference.files.given_masks import split_mask
from munet_jax.inference.files.inputs import FrameFiles, VideoFrames
from munet_jax.inference.files.results import MASKS, OBJECTS, PROBABILITIES, ROWS
from munet_jax.inference.files.seen import Seen
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path, remove_temporaries
from munet_jax.runtime.content import read_json
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import told_of

VIDEO, GIF = "overlay.mp4", "overlay.gif"
# Only on the way: the segmenter's state, what run this is, frames of a video, probabilities of a backward pass.
STATE, RUN, UNPACKED, BACKWARD = ".state.npz", ".run.json", ".unpacked", ".backward"
FRAMES = "frames"  # in RUN of a finished run: the checksum of all frames
OURS = (MASKS, PROBABILITIES, OBJECTS, VIDEO, GIF, STATE, RUN, UNPACKED, BACKWARD, ROWS)


@dataclasses.dataclass(frozen=True)
class Options:
    """How to segment.

    Attributes:
      direction: 'forward', 'backward' or 'both'.
      probabilities: also write them.
      overlays: of 'video' and 'gif'; None makes those that can be made.
      existing: what to do with an output folder that has results: 'refuse', 'continue' where a run stopped, or 'overwrite'.
      save_every: seconds between the states from which a run goes on that was killed.
      continues: whether who asks for this has a way to go on, `--continue`, of which messages may speak.
      colours: ids by colour, where the masks are to be read by their colours.
    """

    direction: str = "forward"
    probabilities: bool = False
    overlays: tuple[str, ...] | None = None
    existing: str = "refuse"
    save_every: float | int = 60.0
    continues: bool = True
    colours: ColourMap | None = None

    @property
    def no_space(self) -> str:
        """What to do about a full disk."""
        go_on = "go on with --continue" if self.continues else "begin anew"
        return f"what was written stays readable, free some and {go_on}"


def clean_up(out: Path) -> None:
    """Remove what was only needed on the way; what a killed writer left, too."""
    for name in (UNPACKED, BACKWARD, ROWS):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / STATE).unlink(missing_ok=True)
    remove_temporaries(out)


def described_run(
    segmenter: VideoSegmenter,
    source: str,
    frames: FrameFiles | VideoFrames,
    masks: Sequence[str],
    annotations: Mapping[int, LabelMap],
    options: Options,
) -> dict[str, Any]:
    """What a run must have in common with the one that it continues; of frames in files see `Seen`."""
    inference, leaves = segmenter.config.inference.to_dict(), jax.tree.leaves(segmenter.variables)
    return {
        "source": str(Path(source).absolute()),
        "video": frames.checksum(0) if isinstance(frames, VideoFrames) else None,
        "masks": [
            [text, zlib.crc32(labels.tobytes())] for text, labels in zip(masks, annotations.values(), strict=True)
        ],
        "direction": options.direction,
        "probabilities": options.probabilities,
        "inference": json.loads(json.dumps(inference)),
        "weights": functools.reduce(lambda crc, x: zlib.crc32(np.asarray(x).tobytes(), crc), leaves, 0),
    }


def open_folder(out: Path, options: Options, described: dict[str, Any], given: Sequence[str]) -> None:
    """Make the output folder, or look at what is in it.

    Args:
      out: the folder.
      options: say what to do with what is there.
      described: the run.
      given: input and masks, which must not be removed with older results.

    Raises:
      InputError: it has results and nobody said what to do with them, they are of another run than is to be continued,
        or it has folders of these names that `munet segment` did not make.
    """
    with told_of(out, "name another folder with --out"):
        there = [name for name in OURS if (out / name).exists()]
    results = [name for name in there if name not in (RUN, UNPACKED)]
    if results and not (out / RUN).exists():
        raise InputError(f"{out}: has {results[0]}, which is not of munet segment; name another folder with --out")
    if results and options.existing == "refuse":
        raise InputError(
            f"{out}: has results already ({results[0]}); --continue goes on where that run stopped, --overwrite begins anew"
        )
    with told_of(out, "name another folder with --out", no_space=options.no_space):
        if options.existing == "continue" and RUN in there:
            check_same_run(out, described)
            remove_temporaries(out)
            if not {STATE, OBJECTS} & set(there):  # killed before there was anything to go on from
                remove(out, [name for name in there if name not in (RUN, UNPACKED)])
            return
        refuse_own_results(out, given)
        remove(out, there)
        out.mkdir(parents=True, exist_ok=True)
        write_run(out, described)


def remove(out: Path, names: Sequence[str]) -> None:
    """Remove files and folders of an output folder."""
    for path in (out / name for name in names):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_run(out: Path, described: Mapping[str, Any]) -> None:
    """Say in the output folder what run this is."""
    with atomic_path(out / RUN) as temporary:
        temporary.write_text(json.dumps(described))


def read_run(out: Path) -> dict[str, Any]:
    """What run an output folder is of."""
    found = read_json(out / RUN, "begin anew with --overwrite")
    return found if isinstance(found, dict) else {}


def check_finished(out: Path, frames: FrameFiles | VideoFrames) -> None:
    """Refuse to take a finished run for one of frame files that have changed since."""
    before = read_run(out).get(FRAMES)
    if isinstance(frames, FrameFiles) and before != Seen(frames).add_all().total:
        raise InputError(f"{out}: was finished with other frames than these; begin anew with --overwrite")


def check_same_run(out: Path, described: dict[str, Any]) -> None:
    """Refuse to continue another run."""
    before = read_run(out)
    different = [name for name in described if before.get(name) != json.loads(json.dumps(described[name]))]
    if different:
        raise InputError(f"{out}: was begun with another {different[0]}; give the same, or begin anew with --overwrite")


def refuse_own_results(out: Path, given: Sequence[str]) -> None:
    """An input or a mask among the results that are to be overwritten."""
    for text in given:
        path = Path(os.path.realpath(split_mask(text)[1]))
        if any(path.is_relative_to(os.path.realpath(out / name)) for name in OURS):
            raise InputError(
                f"{text}: is one of the results that --overwrite would remove; copy it to another folder first"
            )
