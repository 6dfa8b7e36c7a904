"""Figures for papers: what is drawn, in which colours, and what the files are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb

from munet_jax.runtime.errors import InputError
from munet_jax.visualization import plots

FRAME = np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)


def luminance(colour: str) -> float:
    return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))


def test_curves_have_a_line_per_method_that_differs_in_more_than_colour() -> None:
    series = {f"method {k}": [0.9 - 0.1 * k, math.nan, 0.5] for k in range(4)}
    figure = plots.curves(series, [1, 2, 5], title="cat")
    (axes,) = figure.axes
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == list(series)
    assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4
    assert len({line.get_marker() for line in lines}) == 4
    np.testing.assert_array_equal(lines[2].get_xdata(), [1, 2, 5])
    np.testing.assert_allclose(lines[2].get_ydata(), [0.7, math.nan, 0.5])
    assert axes.get_title() == "cat"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(series)


def test_growth_draws_a_program_alike_in_all_panels() -> None:
    panels = {"objects": {"a": [(1, 0.2), (3, 0.5)]}, "frames": {"b": [(1, 1.0), (20, 2.0)], "a": [(5, 0.3)]}}
    first, second = plots.growth(panels, label="seconds").axes
    (a,), (b, again) = first.get_lines(), second.get_lines()
    np.testing.assert_allclose(a.get_ydata(), [0.2, 0.5])
    np.testing.assert_allclose(b.get_xdata(), [1, 20])
    assert (a.get_color(), a.get_marker()) == (again.get_color(), again.get_marker())
    assert a.get_color() != b.get_color()
    assert (first.get_xlabel(), first.get_ylabel(), second.get_xlabel()) == ("objects", "seconds", "frames")
    assert [text.get_text() for text in first.figure.legends[0].get_texts()] == ["a", "b"]


def test_the_first_two_colours_survive_a_grey_printer() -> None:
    assert abs(luminance(plots.COLOURS[0]) - luminance(plots.COLOURS[1])) > 0.05
    assert len(set(plots.COLOURS)) == len(plots.COLOURS)


def test_bars_stand_where_their_group_is() -> None:
    groups = {"cat": {"a": 0.5, "b": 0.7}, "dog": {"b": 0.2}}
    (axes,) = plots.bars(groups, title="t").axes
    heights = [[bar.get_height() for bar in container] for container in axes.containers]
    np.testing.assert_allclose(heights, [[0.5, math.nan], [0.7, 0.2]])
    left, right = axes.containers
    assert left[0].get_x() + left[0].get_width() == pytest.approx(right[0].get_x())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]
    with pytest.raises(InputError, match="no bars"):
        plots.bars({}, title="t")


def test_strips_show_every_picture_in_its_place() -> None:
    pictures = [np.full_like(FRAME, 40 * k) for k in range(6)]
    figure = plots.strips({"a": pictures[:3], "b": pictures[3:]}, ["0%", "50%", "100%"])
    shown = [int(axes.get_images()[0].get_array().max()) for axes in figure.axes]
    assert shown == [0, 40, 80, 120, 160, 200]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["0%", "50%", "100%"]
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["a", "b"]
    for rows, columns in (({}, []), ({"a": pictures[:2]}, ["0%"])):
        with pytest.raises(InputError, match="strip"):
            plots.strips(rows, columns)


def test_matching_marks_the_place_and_the_best_match() -> None:
    cosines = np.full((5, 5), 0.2, np.float32)
    cosines[1, 4] = 0.9
    cosines[:, 0] = math.nan
    figure = plots.matching(FRAME, FRAME, cosines, (24.0, 20.0), (16.0, 16.0), title="cat")
    left, before, window, _ = figure.axes[:4]
    assert left.get_title() == "cat"
    np.testing.assert_array_equal(left.get_lines()[0].get_data(), [[24.0], [20.0]])
    assert tuple(before.get_images()[1].get_extent()) == (24 - 40, 24 + 40, 20 + 40, 20 - 40)
    np.testing.assert_array_equal(window.get_lines()[0].get_data(), [[4], [1]])
    assert window.get_title() == "best: (+32, -16) pixels"
    pixels = window.get_images()[0].get_array()
    assert (pixels[:, 0] == 255).all()  # outside the frame
    assert pixels[1, 4].sum() > pixels[2, 2].sum()


def test_motion_has_all_maps_with_their_legends() -> None:
    uncertainty = np.linspace(0, 1, 48 * 80, dtype=np.float32).reshape(48, 80)
    moved = np.zeros((48, 80, 2), np.float32)
    moved[..., 0] = 4
    figure = plots.motion(
        [FRAME] * 2,
        [uncertainty] * 2,
        [moved] * 2,
        [uncertainty] * 2,
        ["25%", "75%"],
        uncertainty_range=(0.0, 1.0),
        max_length=4.0,
    )
    texts = {axes.get_ylabel() for axes in figure.axes} | {axes.get_title() for axes in figure.axes}
    assert {"frame", "displacement", "uncertainty", "attention", "25%", "75%", "rim: 4.0 pixels"} <= texts
    # The flow's own picture: full colour to the right.
    assert (figure.axes[3].get_images()[0].get_array() == (226, 58, 58)).all()


def test_names_are_text(tmp_path: Path) -> None:
    figure = plots.curves({"_ours": [0.1], "us$5_$6": [0.2]}, [0], title="a$b_$c")
    assert len(figure.axes[0].get_legend().get_texts()) == 2
    for drawn in (
        figure,
        plots.bars({"x$1_$2": {"_a": 0.1}}, title="$_"),
        plots.strips({"$_": [FRAME]}, ["0%"], title="$_"),
    ):
        plots.save_figure(drawn, tmp_path / "a", ("png",))


def test_files_are_png_and_pdf_with_text_as_text(tmp_path: Path) -> None:
    figure = plots.curves({"a": [0.1, 0.2]}, [0, 1], title="cat")
    paths = plots.save_figure(figure, tmp_path / "new" / "cat.v1")
    assert [path.name for path in paths] == ["cat.v1.png", "cat.v1.pdf"]
    with PILImage.open(paths[0]) as image:
        assert min(image.size) > 200
    content = paths[1].read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/TrueType" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert plots.save_figure(figure, tmp_path / "new" / "cat.v1", ("pdf",))[0].read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["cat.v1.pdf", "cat.v1.png"]


def test_attention_is_grey() -> None:
    picture = plots.attention_picture(np.array([[0.0, 0.5, 1.0, 2.0]], np.float32))
    np.testing.assert_array_equal(picture[0, :, 0], [0, 128, 255, 255])
    assert (picture == picture[..., :1]).all()
