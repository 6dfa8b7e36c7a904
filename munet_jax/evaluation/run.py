"""Evaluation of a split: segment every video frame by frame, write masks, score them, draw pictures."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from munet_jax.array_types import LabelMap
from munet_jax.compiles import COMPILES
from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.sources import create_source
from munet_jax.errors import InputError
from munet_jax.evaluation.pictures import MOTION_OUTPUTS, draw_pictures, middle_frame
from munet_jax.evaluation.scoring import SequenceScore, score_sequence, summarise, write_results
from munet_jax.inference.prediction import Prediction
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.training.checkpoints import NEWEST
from munet_jax.training.restore import trained_variables

FOLDER = "evaluation"
RESULTS_FILE = "results.json"


@dataclasses.dataclass
class Timing:
    """Frames and seconds of one video, without its first frame and those in which XLA compiled something."""

    frames: int = 0
    model_seconds: float = 0.0
    total_seconds: float = 0.0


def evaluate(config: ConfigDict, workdir: Path, *, step: int | str = NEWEST) -> dict[str, Any]:
    """Segment the split of `config.evaluation` with a trained model, score it, and leave everything in the workdir.

    Writes workdir/evaluation/: masks/<video>/<frame>.png, results.json, and pictures of some videos.

    Args:
      config: a config of configs/, the one that trained the model.
      workdir: a training run.
      step: of the checkpoint, or 'newest' or 'best'.

    Returns:
      The content of results.json.

    Raises:
      InputError: no such data or checkpoint, or a file of the data cannot be used.
    """
    source = create_source(config.evaluation)
    variables, step = trained_variables(config, workdir, step)
    segmenter = VideoSegmenter(create_model(config.model), variables, config)
    folder = workdir / FOLDER
    masks = folder / "masks"
    scores: dict[str, SequenceScore] = {}
    copied: dict[str, SequenceScore] = {}
    timings: list[Timing] = []
    pictures: list[Path] = []
    merge = config.evaluation.merge_objects
    progress = tqdm(range(len(source)), desc="evaluate", unit="video", mininterval=0.5 if sys.stderr.isatty() else 15.0)
    for index in progress:
        video = source.video(index)
        drawn = index < config.evaluation.pictures and len(video.frame_names) > 1
        shown = middle_frame(len(video.frame_names)) if drawn else None
        timing, prediction = segment_video(segmenter, source, index, masks / video.name, shown=shown)
        timings.append(timing)
        if shown is not None and prediction is not None:
            pictures += draw_pictures(source, index, masks / video.name, folder, (shown, prediction))
        scores[video.name] = score_masks(source, index, read_masks(video, masks / video.name), merge=merge)
        copied[video.name] = score_masks(source, index, first_mask(source, index), merge=merge)
        progress.set_postfix({"J&F": f"{summarise(scores)['J&F']:.3f}"})
    results = summarise(scores) | speed(timings) | {"step": step, "first_mask_copy": brief(summarise(copied))}
    write_results(folder / RESULTS_FILE, results)
    report(results, folder, pictures)
    return results


def segment_video(
    segmenter: VideoSegmenter, source: ClipSource, index: int, folder: Path, *, shown: int | None = None
) -> tuple[Timing, Prediction | None]:
    """Segment one video from the label maps that give its objects and write a palette PNG per frame, as they come.

    Returns:
      The timing, and the prediction of frame `shown` with its motion maps.
    """
    video = source.video(index)
    folder.mkdir(parents=True, exist_ok=True)
    segmenter.reset()
    timing = Timing()
    kept = None
    for number, name in enumerate(video.frame_names):
        compiled, start = COMPILES.count, time.perf_counter()
        try:
            frame = source.frame(index, number)
            mask, new = given_objects(source, index, number)
            before = time.perf_counter()
            outputs = MOTION_OUTPUTS if number == shown else ("labels",)
            prediction = segmenter.step(frame, mask, new, outputs=outputs)
        except InputError as error:
            raise InputError(f"{source.name}/{video.name}, frame {name}: {error}") from error
        done = time.perf_counter()
        write_mask(folder / f"{name}.png", prediction.labels)
        if number == shown:
            kept = prediction
        elif number and COMPILES.count == compiled:
            timing.frames += 1
            timing.model_seconds += done - before
            timing.total_seconds += time.perf_counter() - start
    return timing, kept


def given_objects(source: ClipSource, index: int, number: int) -> tuple[LabelMap | None, list[int] | None]:
    """What a method is given with a frame: a label map [h, w] or None, and the ids that count in it; None counts all."""
    first_frames = source.video(index).first_frames
    if not first_frames:
        return source.labels(index, number) if number == 0 else None, None
    new = [identity for identity, frame in first_frames.items() if frame == number]
    return (source.labels(index, number), new) if new else (None, None)


def score_masks(source: ClipSource, index: int, masks: Iterator[np.ndarray], *, merge: bool) -> SequenceScore:
    """J and F of one video's masks, one per annotated frame."""
    video = source.video(index)
    annotations = (source.labels(index, number) for number in video.annotated)
    names = [video.frame_names[number] for number in video.annotated]
    try:
        return score_sequence(annotations, masks, names, merge_objects=merge)
    except InputError as error:
        raise InputError(f"{source.name}/{video.name}: {error}") from error


def read_masks(video: Video, folder: Path) -> Iterator[np.ndarray]:
    """The written masks of the annotated frames, in order."""
    for number in video.annotated:
        yield read_mask(folder / f"{video.frame_names[number]}.png")


def first_mask(source: ClipSource, index: int) -> Iterator[np.ndarray]:
    """The trivial baseline: the first label map, again and again."""
    labels = source.labels(index, 0)
    for _ in source.video(index).annotated:
        yield labels


def speed(timings: list[Timing]) -> dict[str, Any]:
    """Frames per second, and where they were measured."""
    measured = [t for t in timings if t.frames]
    frames = sum(t.frames for t in measured)
    device = jax.devices()[0]
    if not frames:
        return {"device": device.device_kind}
    return {
        "fps": frames / sum(t.model_seconds for t in measured),
        "fps_mean_of_sequences": float(np.mean([t.frames / t.model_seconds for t in measured])),
        "fps_with_files": frames / sum(t.total_seconds for t in measured),
        "device": device.device_kind,
    }


def brief(summary: dict[str, Any]) -> dict[str, float]:
    """J, F and J&F alone."""
    return {key: summary[key] for key in ("J", "F", "J&F")}


def report(results: dict[str, Any], folder: Path, pictures: list[Path]) -> None:
    """Tell the user the scores and where everything is."""
    copy = results["first_mask_copy"]
    print(f"{'':24}{'J&F':>7}{'J':>7}{'F':>7}")
    print(f"{'MUNet, step ' + str(results['step']):24}{results['J&F']:7.3f}{results['J']:7.3f}{results['F']:7.3f}")
    print(f"{'first mask copied':24}{copy['J&F']:7.3f}{copy['J']:7.3f}{copy['F']:7.3f}")
    if "fps" in results:
        print(f"{results['fps']:.1f} frames per second (model alone, no compilation) on {results['device']}")
    print(f"results:  {folder / RESULTS_FILE}")
    print(f"masks:    {folder / 'masks'}")
    for picture in pictures:
        print(f"picture:  {picture}")
