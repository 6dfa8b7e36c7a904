"""Masks and maps over frames, pictures side by side, and their files."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from munet_jax.data.masks import davis_palette
from munet_jax.runtime.errors import InputError
from munet_jax.visualization.colours import flow_colours, heat_map
from munet_jax.visualization.motion_figures import colour_bar, motion_figure
from munet_jax.visualization.overlays import (
    blend,
    enlarge,
    grid,
    overlay_labels,
    save_gif,
    save_png,
    strip,
    strip_frames,
)

FRAME = np.full((40, 60, 3), (100, 150, 200), np.uint8)


def two_squares() -> np.ndarray:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20], labels[10:20, 20:30] = 1, 2
    return labels


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_overlay_colours():
    palette = davis_palette()
    assert palette[:3].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    picture = overlay_labels(FRAME, two_squares(), alpha=0.25)
    assert picture[0, 0].tolist() == picture[20, 15].tolist() == [100, 150, 200]
    assert picture[15, 15].tolist() == [107, 112, 150]
    assert picture[15, 25].tolist() == [75, 144, 150]
    # The outline, one pixel inside every object, also where two touch.
    for y, x, object_id in ((10, 15, 1), (19, 15, 1), (15, 10, 1), (15, 19, 1), (15, 20, 2), (15, 29, 2)):
        assert picture[y, x].tolist() == palette[object_id].tolist()
    plain = overlay_labels(FRAME, two_squares(), alpha=0.25, contour=False)
    assert (plain[10:20, 10:20] == (107, 112, 150)).all()
    assert (plain[10:20, 20:30] == (75, 144, 150)).all()
    assert (FRAME == (100, 150, 200)).all()


def test_outlines_are_wider_in_large_frames():
    labels = np.kron(two_squares(), np.ones((24, 24), np.uint8))
    picture = overlay_labels(np.zeros((*labels.shape, 3), np.uint8), labels, alpha=0.0)
    assert (picture[:, 360].any(-1)).sum() == 2 * 4


def test_blend():
    colours = np.zeros_like(FRAME)
    assert blend(FRAME, colours, 0).tolist() == FRAME.tolist()
    assert blend(FRAME, colours, 1).tolist() == colours.tolist()
    assert blend(FRAME, colours, 0.5)[0, 0].tolist() == [50, 75, 100]
    for alpha in (-0.1, 1.1):
        with pytest.raises(InputError, match="alpha"):
            blend(FRAME, colours, alpha)


def test_sizes_must_agree():
    with pytest.raises(InputError, match=r"frame is \[40, 60\] but its labels are \[60, 40\]"):
        overlay_labels(FRAME, np.zeros((60, 40), np.uint8))
    with pytest.raises(InputError, match=r"\[40, 60\] .* \[40, 59\]"):
        blend(FRAME, FRAME[:, 1:], 0.5)


def test_enlarge():
    values = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    assert enlarge(values, 4, 6).tolist() == np.kron(values, np.ones((2, 3))).tolist()
    smooth = enlarge(values, 32, 32, smooth=True)
    assert len(np.unique(smooth)) > 50
    assert smooth[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 1, 2, 3]
    assert (np.diff(smooth, axis=1) >= 0).all()


def test_strip_and_grid_keep_the_pictures():
    pictures = [noise(30, 50, 1), noise(20, 40, 2)]
    plain = np.array(strip(pictures))
    assert plain.shape == (30 + 12, 50 + 40 + 18, 3)
    assert plain[6:36, 6:56].tolist() == pictures[0].tolist()
    assert plain[6:26, 62:102].tolist() == pictures[1].tolist()
    captioned = np.array(strip(pictures, ["one", "two"]))
    band = captioned.shape[0] - plain.shape[0]
    assert captioned[band:].tolist() == plain.tolist()
    assert (captioned[6:band] < 128).any(-1).sum() > 20
    table = np.array(grid([pictures, [PIL.Image.fromarray(pictures[1])]], row_captions=["", "second"]))
    assert table[:36].tolist() == plain[:36].tolist()
    assert table[-26:-6, 6:46].tolist() == pictures[1].tolist()


def test_long_captions_are_broken():
    short = strip([noise(20, 90)], ["one"])
    long = strip([noise(20, 90)], ["a caption that does not fit on one line"])
    assert long.width == short.width
    assert long.height > short.height


def test_grid_errors():
    for rows in ([], [[]]):
        with pytest.raises(InputError, match="no pictures"):
            grid(rows)
    with pytest.raises(InputError, match="1 column captions for 2 columns"):
        strip([FRAME, FRAME], ["one"])
    with pytest.raises(InputError, match="2 row captions for 1 rows"):
        grid([[FRAME]], row_captions=["a", "b"])


def test_save_png(tmp_path):
    picture = noise(12, 20)
    for image in (picture, PIL.Image.fromarray(picture)):
        save_png(tmp_path / "a.png", image)
        with PIL.Image.open(tmp_path / "a.png") as found:
            assert np.array(found).tolist() == picture.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_save_gif(tmp_path):
    path = tmp_path / "a.gif"
    save_gif(path, (noise(12, 20, seed) for seed in range(5)), 8)
    with PIL.Image.open(path) as found:
        assert found.n_frames == 5
        assert found.size == (20, 12)
        assert found.info["duration"] in (120, 130)
        assert found.info["loop"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_save_gif_errors(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        save_gif(tmp_path / "a.gif", [], 8)
    with pytest.raises(InputError, match="frames_per_second"):
        save_gif(tmp_path / "a.gif", [FRAME], 0)

    def broken():
        yield FRAME
        raise InputError("frame 2 is damaged")

    with pytest.raises(InputError, match="damaged"):
        save_gif(tmp_path / "a.gif", broken(), 8)
    assert not list(tmp_path.iterdir())


def maps(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    uncertainty, attention = generator.random((2, rows, columns), np.float32)
    return uncertainty, generator.normal(0, 9, (rows, columns, 2)).astype(np.float32), attention


def test_the_frames_of_a_strip():
    assert strip_frames(101) == [0, 25, 50, 75, 100]
    assert strip_frames(2) == [0, 0, 0, 1, 1]
    assert strip_frames(1) == [0] * 5
    # What needs the frame before begins at the second frame.
    assert strip_frames(101, first=1) == [1, 25, 50, 75, 100]
    assert strip_frames(2, first=1) == [1] * 5
    assert strip_frames(1, first=1) == [0] * 5


def test_motion_figure_shows_the_maps_in_their_place():
    frame = noise(42, 60)
    uncertainty, displacement, attention = maps(3, 4)
    figure = motion_figure(
        frame, uncertainty, displacement, attention, size=60, uncertainty_range=(0, 1), max_length=20
    )
    pixels = np.array(figure)
    # Padded to 48 x 64: three rows and two columns of padding before the frame.
    flow = np.kron(flow_colours(displacement, 20), np.ones((16, 16, 1), np.uint8))[3:45, 2:62]
    heat = np.kron(heat_map(uncertainty, 0, 1), np.ones((16, 16, 1), np.uint8))[3:45, 2:62]
    top = next(y for y in range(len(pixels)) if pixels[y : y + 42, 6:66].tolist() == frame.tolist())
    panels = [pixels[top : top + 42, 6 + 66 * k : 66 + 66 * k] for k in range(4)]
    assert panels[2].tolist() == flow.tolist()
    assert panels[1].tolist() == blend(frame, heat, 0.65).tolist()


def test_motion_figure_options():
    plain = motion_figure(FRAME, *maps(3, 4), size=200)
    assert plain.width == 4 * 200 + 5 * 6
    labelled = motion_figure(FRAME, *maps(3, 4), size=200, labels=two_squares())
    assert np.array(plain).tolist() != np.array(labelled).tolist()
    # Legends need room: small frames are enlarged.
    assert motion_figure(FRAME, *maps(3, 4)).width == 4 * 320 + 5 * 6
    # Maps of another stride are stretched, constant and still ones drawn.
    motion_figure(
        FRAME, np.ones((10, 15), np.float32), np.zeros((10, 15, 2), np.float32), np.ones((10, 15), np.float32)
    )
    with pytest.raises(InputError, match="labels"):
        motion_figure(FRAME, *maps(3, 4), labels=two_squares().T)
    with pytest.raises(InputError, match="finite"):
        motion_figure(FRAME, np.full((3, 4), np.nan, np.float32), *maps(3, 4)[1:])


def test_colour_bar():
    bar = np.array(colour_bar(200, -1, 1, "cosine: low = unsure, high = sure match"))
    assert bar[0].tolist() == heat_map(np.linspace(-1, 1, 200)[None], -1, 1)[0].tolist()
    assert (bar[10:] < 128).any()
    with pytest.raises(InputError, match="low < high"):
        colour_bar(200, 1, 1, "")
