"""A report of one method or several: figures for papers, and a page to look through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munet_jax.data.clips import ClipSource
from munet_jax.evaluation.scoring import frame_means
from munet_jax.report.figures import MapReader, draw_bars, draw_motion, draw_sequence, fit_motion
from munet_jax.report.page import require_jinja2, write_page
from munet_jax.report.sequences import ReportSequence, report_sequences
from munet_jax.runtime.progress import Progress
from munet_jax.visualization import plots

PAGE = "index.html"


def make_report(
    sequences: Sequence[ReportSequence],
    methods: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    maps: MapReader | None = None,
    formats: Sequence[str] = ("png", "pdf"),
    attributes: Mapping[str, Sequence[str]] = {},
    pixel: tuple[int, int] | None = None,
    **page: Any,
) -> list[Path]:
    """Draws everything there is to draw; `require_libraries` first.

    Args:
      sequences: what is shown.
      methods: the content of results.json by method.
      folder: gets iou/, strips/, bars/, with `maps` also motion/ and matching/, and index.html.
      maps: what the network sees between two frames; None leaves those figures out.
      formats: of the figures.
      attributes: by sequence, what its video is like, for bars per attribute.
      pixel: (x, y) of the place whose matching is drawn; None takes the middle of the largest object.
      page: title, notes and most_frames, as `write_page` takes them.

    Returns:
      The files, the page first.

    Raises:
      InputError: something cannot be read or drawn.
    """

    def save(figure: plots.Figure, stem: str) -> list[Path]:
        return plots.save_figure(figure, folder / stem, formats)

    paths = draw_bars(methods, attributes, save)
    motion = None if maps is None else fit_motion(sequences, maps)
    for sequence in Progress(sequences, desc="figures", unit="sequence"):
        paths += draw_sequence(sequence, save)
        if motion is not None and len(sequence.frame_names) > 1:
            paths += draw_motion(sequence, motion, pixel, save)
    if motion is not None:
        page |= {"maps": motion.pictures, "legends": motion.legends()}
    write_page(folder / PAGE, methods=methods, sequences=sequences, **page)
    return [folder / PAGE, *paths]


def require_libraries() -> None:
    """Raises InputError where matplotlib or Jinja2 is not installed; ask before long work."""
    plots.require_matplotlib()
    require_jinja2()


def draw_evaluation(
    source: ClipSource, results: Mapping[str, Any], folder: Path, network: tuple[Any, Any, Any]
) -> Path:
    """What `evaluate` takes as `report`: draws masks, scores and the network's view of motion; gives the page."""
    from munet_jax.evaluation.run import REPORT  # these load JAX, which other reports do without
    from munet_jax.evaluation.split import MASKS
    from munet_jax.inference.maps import motion_maps

    name = f"MUNet, step {results['step']}"
    page, *_ = make_report(
        report_sequences(source, {name: folder / MASKS}, {name: frame_means(results.get("frames", []))}),
        {name: results},
        folder / REPORT,
        title=f"Evaluation on {source.name}",
        notes=(f"checkpoint: step {results['step']}", f"protocol {results['protocol']}"),
        maps=lambda before, frame: motion_maps(*network, before, frame),
    )
    return page
