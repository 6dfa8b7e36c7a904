"""Evaluation of a split: segment its videos, score the masks, draw pictures, and pack a submission where one is wanted."""

from __future__ import annotations

import concurrent.futures
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import munet_jax
from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.masks import read_mask
from munet_jax.data.sources import create_source
from munet_jax.errors import InputError
from munet_jax.evaluation.pictures import draw_pictures
from munet_jax.evaluation.protocols import DAVIS2016, DAVIS2017, GENERIC, YOUTUBE_VOS, Protocol
from munet_jax.evaluation.report import ReportOptions, make_report, require_libraries
from munet_jax.evaluation.report_data import mean_scores, sequences_of_source
from munet_jax.evaluation.score import RESULTS_FILE, YOUTUBE_VOS_MEASURES, seen_categories
from munet_jax.evaluation.scoring import (
    SequenceScore,
    frame_rows,
    score_sequence,
    seen_and_unseen,
    summarise,
    write_results,
)
from munet_jax.evaluation.split import MASKS, segment_split, speed
from munet_jax.evaluation.submission import SUBMISSION_FILE, layout_of, write_submission
from munet_jax.inference.motion import motion_maps
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet, create_model
from munet_jax.training.checkpoints import NEWEST
from munet_jax.training.restore import trained_variables

FOLDER, REPORT = "evaluation", "report"
SCORING_THREADS = 4


def evaluate(
    config: ConfigDict,
    workdir: Path,
    *,
    step: int | str = NEWEST,
    submission: bool = False,
    report: bool = False,
    again: bool = False,
) -> dict[str, Any]:
    """Segment the split of `config.evaluation` with a trained model, score it, and leave everything in the workdir.

    Writes workdir/evaluation/: masks/<video>/<frame>.png, results.json, and pictures of some videos; with `submission` also
    submission.zip, with `report` also report/ (figures and a page). A split whose masks are not public has no scores:
    results.json then says so.

    Args:
      config: a config of configs/, the one that trained the model.
      workdir: a training run.
      step: of the checkpoint, or 'newest' or 'best'.
      submission: whether to pack the masks as the benchmark's server wants them.
      report: whether to draw figures and a page of all videos (extra 'report').
      again: segment videos again that an earlier call with the same checkpoint and config finished.

    Returns:
      The content of results.json.

    Raises:
      InputError: no such data or checkpoint, a file of the data cannot be used, or the data is of no benchmark that takes
        submissions.
    """
    source = create_source(config.evaluation)
    layout = layout_of(config.evaluation) if submission else None
    if report:
        require_libraries()
    variables, step = trained_variables(config, workdir, step)
    folder, devices = workdir / FOLDER, jax.local_devices()
    made_with = fingerprint(config, variables, again)
    model = create_model(config.model)
    timings = segment_split(source, lambda: VideoSegmenter(model, variables, config), folder, made_with, devices)
    results: dict[str, Any] = speed(list(timings.values()), devices)
    results |= {"step": step, "config": config.to_dict(), "protocol": protocol_of(config).name}
    results |= score_split(source, config, folder / MASKS)
    write_results(folder / RESULTS_FILE, results)
    pictures = [
        path
        for index in range(min(config.evaluation.pictures, len(source)))
        for path in draw_pictures(source, index, folder / MASKS, folder, (model, variables, config))
    ]
    tell(results, folder, pictures)
    if report:
        print(f"report:   {draw_report(source, results, folder, (model, variables, config))}")
    if layout is not None:
        print(f"zip:      {write_submission(layout, folder / MASKS, folder / SUBMISSION_FILE)} (verified)")
    return results


def fingerprint(config: ConfigDict, variables: Any, again: bool) -> str:
    """What masks depend on, as text: parameters, network, inference, data, this package's version."""
    checksum = 0
    for leaf in jax.tree.leaves(variables):
        checksum = zlib.crc32(np.asarray(leaf).tobytes(), checksum)
    sections = {name: config[name].to_dict() for name in ("model", "inference", "evaluation")}
    for name in ("pictures", "after_training"):
        del sections["evaluation"][name]
    described: list[Any] = [munet_jax.__version__, checksum, sections]
    if again:
        described.append(os.urandom(8).hex())
    return json.dumps(described, sort_keys=True)


def protocol_of(config: ConfigDict) -> Protocol:
    """How a config's evaluation is scored."""
    kind, dataset = config.evaluation.kind, config.evaluation.tfds.dataset
    if config.evaluation.merge_objects:
        return DAVIS2016
    if kind == "youtube_vos" or (kind == "tfds" and "youtube_vos" in dataset):
        return YOUTUBE_VOS
    return GENERIC if kind == "folder" or (kind == "tfds" and "folder" in dataset) else DAVIS2017


def score_split(source: ClipSource, config: ConfigDict, masks: Path) -> dict[str, Any]:
    """Scores of written masks and of the first mask copied to all frames, or that there are none.

    {"scored", "J", "F", "J&F", ..., "sequences", "first_mask_copy", "frames"}, and on YouTube-VOS what `seen_and_unseen`
    gives. Videos of which nothing is known but what a method is given are not scored; where that is so of all of them,
    "scored" is False and there are no numbers.
    """
    protocol = protocol_of(config)
    videos = {index: source.video(index) for index in range(len(source)) if has_truth(source.video(index))}
    if not videos:
        return {"scored": False, "J": None, "F": None, "J&F": None, "sequences": {}}

    def score(index: int) -> tuple[SequenceScore, SequenceScore]:
        written = score_masks(source, index, read_masks(videos[index], masks / videos[index].name), protocol)
        return written, score_masks(source, index, given_masks(source, index), protocol)

    with concurrent.futures.ThreadPoolExecutor(min(SCORING_THREADS, os.cpu_count() or 1)) as pool:
        pairs = list(pool.map(score, videos))
    scores, copied = ({video.name: pair[k] for video, pair in zip(videos.values(), pairs, strict=True)} for k in (0, 1))
    summary = summarise(scores) | {"first_mask_copy": brief(summarise(copied)), "frames": frame_rows(scores)}
    if protocol == YOUTUBE_VOS:
        summary |= seen_figures(summary, videos.values(), config)
    return summary | {"scored": True}


def has_truth(video: Video) -> bool:
    """Whether more is known than what a method is given."""
    given = set(video.first_frames.values()) or {0}
    return any(frame not in given for frame in video.annotated)


def seen_figures(summary: Mapping[str, Any], videos: Collection[Video], config: ConfigDict) -> dict[str, Any]:
    """YouTube-VOS's figures; None where there is no training set to say which categories are seen."""
    categories = {video.name: dict(video.categories) for video in videos}
    train = Path(config.evaluation.youtube_vos.root).expanduser() / "train" / "meta.json"
    if not train.is_file() or not all(categories.values()):
        return dict.fromkeys(YOUTUBE_VOS_MEASURES)
    return seen_and_unseen(summary, categories, seen_categories(train))


def score_masks(source: ClipSource, index: int, masks: Iterator[np.ndarray], protocol: Protocol) -> SequenceScore:
    """J and F of one video's masks, one per annotated frame."""
    video = source.video(index)
    annotations = (source.labels(index, number) for number in video.annotated)
    names = [video.frame_names[number] for number in video.annotated]
    first = {identity: video.annotated.index(frame) for identity, frame in video.first_frames.items()}
    try:
        return score_sequence(annotations, masks, names, protocol, first_frames=first)
    except InputError as error:
        raise InputError(f"{source.name}/{video.name}: {error}") from error


def read_masks(video: Video, folder: Path) -> Iterator[np.ndarray]:
    """The written masks of the annotated frames, in order."""
    for number in video.annotated:
        yield read_mask(folder / f"{video.frame_names[number]}.png")


def given_masks(source: ClipSource, index: int) -> Iterator[np.ndarray]:
    """The trivial baseline: the masks that are given, again and again."""
    video = source.video(index)
    labels = np.zeros_like(source.labels(index, video.annotated[0]))
    for number in video.annotated:
        new = [i for i, frame in video.first_frames.items() if frame == number]
        if new or number == video.annotated[0]:
            shown = source.labels(index, number)
            labels = np.where(np.isin(shown, new) if video.first_frames else shown > 0, shown, labels)
        yield labels


def brief(summary: Mapping[str, Any]) -> dict[str, float]:
    """J, F and J&F alone."""
    return {key: summary[key] for key in ("J", "F", "J&F")}


def draw_report(
    source: ClipSource, results: Mapping[str, Any], folder: Path, network: tuple[MUNet, Any, ConfigDict]
) -> Path:
    """The report of an evaluation, with what the network sees of motion; its page."""
    name = f"MUNet, step {results['step']}"
    scores = mean_scores(results.get("frames", []))
    paths = make_report(
        sequences_of_source(source, folder / MASKS, name, scores),
        {name: results},
        folder / REPORT,
        ReportOptions(),
        title=f"Evaluation on {source.name}",
        notes=(f"checkpoint: step {results['step']}", f"protocol {results['protocol']}"),
        maps=lambda before, frame: motion_maps(*network, before, frame),
    )
    return paths[0]


def tell(results: Mapping[str, Any], folder: Path, pictures: list[Path]) -> None:
    """Tell the user the scores and where everything is."""
    if results["scored"]:
        copy = results["first_mask_copy"]
        print(f"{'':24}{'J&F':>7}{'J':>7}{'F':>7}")
        print(f"{'MUNet, step ' + str(results['step']):24}{results['J&F']:7.3f}{results['J']:7.3f}{results['F']:7.3f}")
        print(f"{'first mask copied':24}{copy['J&F']:7.3f}{copy['J']:7.3f}{copy['F']:7.3f}")
    else:
        print("no score exists: the masks of this split are not public, only the first ones are here")
    figures = [results.get(key) for key in YOUTUBE_VOS_MEASURES]
    if all(figure is not None for figure in figures):
        print(", ".join(f"{key} {value:.3f}" for key, value in zip(YOUTUBE_VOS_MEASURES, figures, strict=True)))
    elif "G" in results:
        print("seen and unseen are not told apart: there is no train/meta.json beside the split")
    if "fps" in results:
        objects = f"{results['fps_objects']:.1f} objects"
        print(f"{results['fps']:.1f} frames per second (model alone, no compilation; {objects}) on {results['device']}")
    print(f"results:  {folder / RESULTS_FILE}")
    print(f"masks:    {folder / MASKS}")
    for picture in pictures:
        print(f"picture:  {picture}")
