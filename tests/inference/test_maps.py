"""Maps between two frames: those of the segmenter, and the cost volume's window at a place."""

from collections.abc import Callable

import numpy as np
import pytest

from munet_jax.inference.maps import motion_maps
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.runtime.errors import InputError

OUTPUTS = ("labels", "uncertainty", "displacement", "attention")


@pytest.mark.parametrize("max_size", [0, 40])
def test_the_maps_are_those_of_the_segmenter(
    segmenter: Callable[..., VideoSegmenter], video: tuple[list[np.ndarray], list[np.ndarray]], max_size: int
) -> None:
    frames, labels = video
    made = segmenter(max_size=max_size)
    made.step(frames[0], labels[0])
    shown = made.step(frames[1], outputs=OUTPUTS)
    maps = motion_maps(made.model, made.variables, made.config, frames[0], frames[1])
    for name in OUTPUTS[1:]:
        np.testing.assert_allclose(getattr(maps, name), getattr(shown, name), atol=1e-4, err_msg=name)
    # Without padding and scaling, the best of a cell's window is its uncertainty.
    window = maps.window(30, 20)
    row, column = (int((at + offset) // 16) for at, offset in zip((20, 30), maps.geometry.offset, strict=True))
    if not max_size:
        assert np.nanmax(window.cosines) == pytest.approx(maps.cost[row, column].max(), abs=1e-6)
        assert window.step == (16, 16)
        assert window.centre == (column * 16 + 8 - maps.geometry.offset[1], row * 16 + 8 - maps.geometry.offset[0])
    else:
        assert window.step == pytest.approx((16 * 72 / 51, 16 * 56 / 40))


def test_the_window_leaves_out_what_is_outside_the_frame(
    segmenter: Callable[..., VideoSegmenter], video: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    made, (frames, _) = segmenter(), video
    maps = motion_maps(made.model, made.variables, made.config, frames[0], frames[1])
    rows, columns, _ = maps.cost.shape
    cosines = maps.window(0, 0).cosines  # the upper left cell: a quarter of its window is inside
    radius = cosines.shape[0] // 2
    inside = ~np.isnan(cosines)
    assert inside[radius:, radius:][:rows, :columns].all()
    assert inside.sum() == min(rows, radius + 1) * min(columns, radius + 1)
    with pytest.raises(InputError, match="pixel 72,0 is not in the frame, which is 72 x 56"):
        maps.window(72, 0)
    with pytest.raises(InputError, match="the frame before is"):
        motion_maps(made.model, made.variables, made.config, frames[0][:40], frames[1])
