"""What `munet demo` does: segment a video with a trained network and draw what there is to see."""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image as PILImage

import munet_jax
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource
from munet_jax.evaluation.pictures import draw_motion, draw_strip, middle_frame
from munet_jax.evaluation.protocols import DAVIS2017
from munet_jax.evaluation.run import given_masks, read_masks, score_masks
from munet_jax.evaluation.scoring import summarise
from munet_jax.host_types import Image
from munet_jax.inference.files.inputs import FrameFiles, VideoFrames, open_input
from munet_jax.inference.files.job import segment_files
from munet_jax.inference.files.output_folder import Options
from munet_jax.inference.files.results import MASKS
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.attempts import attempt
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.overlays import strip_frames

# Two objects that pass each other and a distractor; what the network does with it is also a test.
CLIP = SyntheticConfig(
    videos=1, frames=24, height=240, width=432, seed=9, min_objects=2, max_objects=2, distractors=1, min_size=0.35,
    max_size=0.55, speed=0.02, camera=0.006, leaving=0.0, noise=4.0, flicker=0.03,
)  # fmt: skip
FRAMES, FIRST_MASK, STRIP, MOTION = "frames", "first_mask.png", "masks.png", "motion.png"


def demonstrate(weights: str, source: str | None, mask: str | None, out: Path, *, overwrite: bool = False) -> None:
    """Segments a video, draws pictures, and says where they are.

    Args:
      weights: as `munet_jax.load` takes them.
      source: a video file, a folder of frames or a pattern; None for a clip that is made here.
      mask: the label map of its first frame; None with a clip that is made here, which is scored too.
      out: gets results/ (as `munet segment` writes them) and two pictures; of the clip also frames/ and its first mask.
      overwrite: whether older results may be removed.

    Raises:
      InputError: weights, video or mask that cannot be used, or a folder that has something in it.
    """
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name another folder by --out, or give --overwrite")
    made = SyntheticSource(CLIP) if source is None else None
    network = munet_jax.load(weights)
    if made is not None:
        source, mask = write_clip(made, out)
    assert source is not None
    assert mask is not None
    results = out / "results"
    options = Options(existing="overwrite" if overwrite else "refuse", continues=False)
    start = time.perf_counter()
    found = segment_files(VideoSegmenter(*network), source, [mask], results, options)
    assert found is not None
    seconds = time.perf_counter() - start
    count = found["frames"]
    shown = strip_frames(count)
    middle = middle_frame(count)
    wanted = {*shown, middle, middle - 1} & set(range(count))
    files = open_input(source, [Path(mask)])
    frames = pick_frames(files, wanted)
    labels = {number: read_mask(results / MASKS / f"{files.name(number)}.png") for number in wanted}
    pictures = [path for path in found["paths"] if path.suffix in (".gif", ".mp4")]

    def strip() -> None:
        draw_strip(out / STRIP, [(frames[n], labels[n], files.name(n)) for n in shown])
        pictures.insert(0, out / STRIP)

    def motion() -> None:
        draw_motion(out / MOTION, network, frames[middle - 1], frames[middle], labels[middle])
        pictures.append(out / MOTION)

    attempt(out / STRIP, strip, "the masks are whole")
    if count > 1:
        attempt(out / MOTION, motion, "the masks are whole")
    print(f"{count} frames in {seconds:.1f} s, with reading, writing and compilation")
    if made is not None:
        tell_scores(made, results / MASKS)
    for path in pictures:
        print(f"picture:  {path}")
    print(f"masks:    {results / MASKS}")


def write_clip(clip: SyntheticSource, out: Path) -> tuple[str, str]:
    """The clip's frames and its first mask as files, as a user would have them: the folder and the mask."""
    folder = out / FRAMES
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(clip.video(0).frame_names):
        with atomic_path(folder / f"{name}.png") as temporary:
            PILImage.fromarray(clip.frame(0, number)).save(temporary, format="PNG", compress_level=1)
    write_mask(out / FIRST_MASK, clip.labels(0, 0))
    return str(folder), str(out / FIRST_MASK)


def pick_frames(frames: FrameFiles | VideoFrames, wanted: set[int]) -> dict[int, Image]:
    """Some frames of a video by their numbers; a file is read up to the last of them."""
    if isinstance(frames, FrameFiles):
        return {number: frames[number] for number in wanted}
    picked = {}
    for number, frame in enumerate(frames):
        if number in wanted:
            picked[number] = frame
        if len(picked) == len(wanted):
            break
    return picked


def clip_scores(clip: SyntheticSource, masks: Path) -> tuple[dict[str, float], dict[str, float]]:
    """J, F and J&F of the clip's masks, and of its first mask copied to all frames."""
    video = clip.video(0)
    found = score_masks(clip, 0, read_masks(video, masks), DAVIS2017)
    copied = score_masks(clip, 0, given_masks(clip, 0, DAVIS2017), DAVIS2017)
    return summarise({video.name: found}), summarise({video.name: copied})


def tell_scores(clip: SyntheticSource, masks: Path) -> None:
    """Both scores in one line."""
    found, copied = clip_scores(clip, masks)
    print(f"J&F {found['J&F']:.3f}; the first mask copied to all frames has {copied['J&F']:.3f}")
