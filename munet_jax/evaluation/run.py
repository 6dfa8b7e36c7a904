"""Evaluates a trained network: segments a split, scores the masks, draws pictures, and packs a submission if asked to."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import munet_jax
from munet_jax.checkpoints.orbax_manager import NEWEST
from munet_jax.checkpoints.runs import trained_variables
from munet_jax.checkpoints.weight_file import find_weights, read_weights
from munet_jax.data.clips import ClipSource, Video
from munet_jax.data.masks import read_mask
from munet_jax.data.sources import create_source
from munet_jax.evaluation.given import GivenObjects, check_given
from munet_jax.evaluation.pictures import FOLDER as PICTURES
from munet_jax.evaluation.pictures import draw_pictures
from munet_jax.evaluation.protocols import YOUTUBE_VOS, Protocol, protocol_of
from munet_jax.evaluation.results_json import EVALUATION_FOLDER, RESULTS_FILE, write_results
from munet_jax.evaluation.scoring import (
    SEEN_MEASURES,
    SequenceScore,
    brief,
    frame_rows,
    score_sequence,
    seen_and_unseen,
    summarise,
)
from munet_jax.evaluation.split import DONE, MASKS, segment_split
from munet_jax.evaluation.submission import SUBMISSION_FILE, layout_of, write_submission
from munet_jax.evaluation.timing import speed
from munet_jax.evaluation.together import geometry_of
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import MUNet, create_model
from munet_jax.runtime.atomic_files import atomic_path, exclusive, writing_to
from munet_jax.runtime.attempts import attempt
from munet_jax.runtime.devices import matmul_precision
from munet_jax.runtime.errors import InputError

REPORT = "report"
MADE_WITH = ".made_with.json"
SCORING_THREADS = 4
DrawReport = Callable[[ClipSource, Mapping[str, Any], Path, tuple[MUNet, Any, ConfigDict]], Path]


def evaluate(
    config: ConfigDict,
    workdir: Path,
    *,
    step: int | str = NEWEST,
    weights: str = "",
    folder: str = EVALUATION_FOLDER,
    submission: bool = False,
    report: DrawReport | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Segments the split of `config.evaluation` with a trained model, and scores it.

    Writes to workdir/<folder>/: masks/<video>/<frame>.png, results.json, pictures of some videos, with `submission` also
    submission.zip, and with `report` also report/. What another checkpoint or config left there is removed. A split whose
    masks are not public has no scores; results.json then says so.

    Args:
      config: a config of configs/, the one that trained the model.
      workdir: a training run; with `weights` any folder.
      step: of the checkpoint, or 'newest' or 'best'.
      weights: a shipped name, such as 'lite', or a file of weights. It replaces the checkpoint, and its network `config.model`.
      folder: of the workdir, for the results.
      submission: whether to pack the masks as the benchmark's server takes them.
      report: draws figures and a page of all videos from source, results, folder and network, and gives the page's path.
      again: whether to segment videos again that an earlier call with an equal checkpoint and config finished.

    Returns:
      The content of results.json.

    Raises:
      InputError: no such data or checkpoint, a file of the data cannot be used, the data is of no benchmark that takes
        submissions, or another run is working in the folder.
    """
    source = create_source(config.evaluation)
    layout = layout_of(config.evaluation) if submission else None
    if weights:
        variables, trained, step = read_weights(find_weights(weights))
        config = with_model(config, trained)
    else:
        variables, step = trained_variables(config, workdir, step)
    target = workdir / folder
    with writing_to(target), exclusive(target):
        made_with = fingerprint(config, variables, source)
        clear(target, made_with, again)
        model, protocol, devices = create_model(config.model), protocol_of(config), jax.local_devices()
        network = (model, variables, config)
        timings = segment_split(
            source,
            lambda: VideoSegmenter(*network),
            target,
            made_with,
            devices,
            protocol,
            batch_videos=config.evaluation.batch_videos,
            geometry=lambda index: geometry_of(source, index, protocol, config.inference),
        )
        results: dict[str, Any] = speed(list(timings.values()), len(devices))
        results |= {
            "matmul_precision": matmul_precision(),
            "step": step,
            "weights": weights,
            "config": config.to_dict(),
            "protocol": protocol.name,
        }
        results |= score_split(source, config, target / MASKS)
        write_results(target / RESULTS_FILE, results)
        pictures = [
            path
            for index in range(min(config.evaluation.pictures, len(source)))
            for path in pictures_of(source, index, target, network)
        ]
        tell(results, target, pictures)
        if report is not None:
            print(f"report:   {report(source, results, target, network)}")
        if layout is not None:
            print(f"zip:      {write_submission(layout, target / MASKS, target / SUBMISSION_FILE)} (verified)")
    return results


def pictures_of(source: ClipSource, index: int, target: Path, network: tuple[MUNet, Any, ConfigDict]) -> list[Path]:
    """The pictures of a video; none where they cannot be drawn."""
    called = f"pictures of {source.name}/{source.video(index).name}"
    drawn = attempt(
        called, lambda: draw_pictures(source, index, target / MASKS, target, network), "masks and scores are whole"
    )
    return drawn or []


def with_model(config: ConfigDict, trained: ConfigDict) -> ConfigDict:
    """A copy of `config` with the network of `trained`."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        del config["model"]
        config.model = trained.model
    return config


def fingerprint(config: ConfigDict, variables: Any, source: ClipSource) -> str:
    """What masks depend on, as text: parameters, network, inference, frames and the masks that are given, this package's
    version.

    Raises:
      InputError: a mask that cannot be read, or more objects in a video than `config.inference.max_objects`.
    """
    checksum = check_given(source, protocol_of(config), config.inference.max_objects)
    for leaf in jax.tree.leaves(variables):
        checksum = zlib.crc32(np.asarray(leaf).tobytes(), checksum)
    sections = {name: config[name].to_dict() for name in ("model", "inference", "evaluation")}
    for name in ("pictures", "after_training"):
        del sections["evaluation"][name]
    return json.dumps([munet_jax.__version__, checksum, sections], sort_keys=True)


def clear(folder: Path, made_with: str, again: bool) -> None:
    """Removes what a call with another fingerprint left, so that nothing old stands beside something new."""
    record = folder / MADE_WITH
    if again or not record.is_file() or record.read_text(encoding="utf-8") != made_with:
        for name in (MASKS, DONE, PICTURES, REPORT):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (RESULTS_FILE, SUBMISSION_FILE):
            (folder / name).unlink(missing_ok=True)
        with atomic_path(record) as temporary:
            temporary.write_text(made_with, encoding="utf-8")


def score_split(source: ClipSource, config: ConfigDict, masks: Path) -> dict[str, Any]:
    """Scores of written masks and of the first mask copied to all frames.

    A video is not scored if only those masks are known that a method is given. If that is so of all videos, "scored" is False
    and the numbers are None.

    Returns:
      {"scored", "J", "F", "J&F", ..., "sequences", "first_mask_copy", "frames", "not_scored": {video: why}}, and on
      YouTube-VOS what `seen_and_unseen` gives.

    Raises:
      InputError: none of the videos can be scored.
    """
    protocol = protocol_of(config)
    videos = {index: source.video(index) for index in range(len(source)) if has_truth(source.video(index))}
    if not videos:
        return {"scored": False, "J": None, "F": None, "J&F": None, "sequences": {}}

    def score(index: int) -> tuple[SequenceScore, SequenceScore] | InputError:
        try:
            written = score_masks(source, index, read_masks(videos[index], masks / videos[index].name), protocol)
            return written, score_masks(source, index, given_masks(source, index, protocol), protocol)
        except InputError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(min(SCORING_THREADS, os.cpu_count() or 1)) as pool:
        found = dict(zip((video.name for video in videos.values()), pool.map(score, videos), strict=True))
    wrong = {name: pair for name, pair in found.items() if isinstance(pair, InputError)}
    if len(wrong) == len(found):
        raise next(iter(wrong.values()))
    scores, copied = ({n: pair[k] for n, pair in found.items() if not isinstance(pair, InputError)} for k in (0, 1))
    summary = summarise(scores) | {"first_mask_copy": brief(summarise(copied)), "frames": frame_rows(scores)}
    if protocol == YOUTUBE_VOS:
        train = Path(config.evaluation.youtube_vos.root).expanduser() / "train" / "meta.json"
        summary |= seen_and_unseen(summary, {video.name: video.categories for video in videos.values()}, train)[0]
    return summary | {"scored": True, "not_scored": {name: str(error) for name, error in wrong.items()}}


def has_truth(video: Video) -> bool:
    """Whether more masks of a video are known than those that a method is given."""
    given = set(video.first_frames.values()) or {video.annotated[0]}
    return any(frame not in given for frame in video.annotated)


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


def given_masks(source: ClipSource, index: int, protocol: Protocol) -> Iterator[np.ndarray]:
    """The trivial baseline: the latest given mask of each object, copied to every annotated frame."""
    video = source.video(index)
    given, annotated = GivenObjects(source, index, protocol), set(video.annotated)
    labels: np.ndarray | None = None
    for number in range(len(video.frame_names)):
        mask, new = given.at(number)
        if mask is not None:
            before = np.zeros_like(mask) if labels is None else labels
            labels = np.where(mask > 0 if new is None else np.isin(mask, new), mask, before)
        if number in annotated:
            yield np.zeros_like(source.labels(index, number)) if labels is None else labels


def tell(results: Mapping[str, Any], folder: Path, pictures: list[Path]) -> None:
    """Prints the scores and where everything lies."""
    if results["scored"]:
        copy = results["first_mask_copy"]
        print(f"{'':24}{'J&F':>7}{'J':>7}{'F':>7}")
        print(f"{'MUNet, step ' + str(results['step']):24}{results['J&F']:7.3f}{results['J']:7.3f}{results['F']:7.3f}")
        print(f"{'first mask copied':24}{copy['J&F']:7.3f}{copy['J']:7.3f}{copy['F']:7.3f}")
    else:
        print("no score exists: the masks of this split are not public, only the first ones are here")
    figures = [results.get(key) for key in SEEN_MEASURES]
    if all(figure is not None for figure in figures):
        print(", ".join(f"{key} {value:.3f}" for key, value in zip(SEEN_MEASURES, figures, strict=True)))
    elif "G" in results:
        print("seen and unseen are not told apart: there is no train/meta.json beside the split")
    for name, reason in results.get("not_scored", {}).items():
        print(f"not scored: {reason if name in reason else f'{name}: {reason}'}")
    if "fps" in results:
        objects = f"{results['fps_objects']:.1f} objects"
        print(f"{results['fps']:.1f} frames per second (model alone, no compilation; {objects}) on {results['device']}")
    print(f"results:  {folder / RESULTS_FILE}")
    print(f"masks:    {folder / MASKS}")
    for picture in pictures:
        print(f"picture:  {picture}")
