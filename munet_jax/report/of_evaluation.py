"""The report of a finished evaluation, with what the network sees of motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.data.clips import ClipSource
from munet_jax.evaluation.run import REPORT, DrawReport
from munet_jax.evaluation.split import MASKS
from munet_jax.inference.maps import motion_maps
from munet_jax.models import MUNet
from munet_jax.report.make import ReportOptions, make_report, require_libraries
from munet_jax.report.sequences import mean_scores, sequences_of_source


def report_drawer() -> DrawReport:
    """What `evaluate` takes as `report`.

    Raises:
      InputError: the extra 'report' is not installed; told before the evaluation begins.
    """
    require_libraries()
    return draw_report


def draw_report(
    source: ClipSource, results: Mapping[str, Any], folder: Path, network: tuple[MUNet, Any, ConfigDict]
) -> Path:
    """Draw the report of masks and scores in `folder` and return its page."""
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
