"""The displacement wheel and the heat map."""

from __future__ import annotations

import numpy as np
import pytest

from munet_jax.runtime.errors import InputError
from munet_jax.visualization.colours import flow_colours, flow_wheel, heat_map


def ring(directions: int = 72) -> np.ndarray:
    angles = np.arange(directions) * 2 * np.pi / directions
    return np.stack([np.cos(angles), np.sin(angles)], -1)[None]


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB, as the contrast rules of the web define it."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_opposite_directions_look_different():
    colours = flow_colours(ring()).astype(float)[0]
    distance = np.linalg.norm(colours - np.roll(colours, len(colours) // 2, 0), axis=-1)
    assert distance.min() > 120
    # Also to eyes that lack the red or the green receptor: what is left of red and green is roughly their mean.
    reduced = np.stack([colours[:, :2].mean(-1), colours[:, 2]], -1)
    assert np.linalg.norm(reduced - np.roll(reduced, len(reduced) // 2, 0), axis=-1).min() > 40


def test_directions_change_smoothly():
    colours = flow_colours(ring(720)).astype(float)[0]
    assert np.abs(colours - np.roll(colours, 1, 0)).max() < 4


def test_right_down_left_up():
    right, down, left, up = flow_colours(np.array([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]]))[0].astype(int)
    assert right[0] > 2 * max(right[1:])
    assert min(down[:2]) > 2 * down[2]
    assert min(left[1:]) > 2 * left[0]
    assert up[2] > 1.5 * max(up[:2])


def test_length_is_saturation():
    field = np.zeros((1, 5, 2), np.float32)
    field[0, :, 0] = [0, 1, 2, 4, 8]
    colours = flow_colours(field, 4)[0].astype(int)
    assert colours[0].tolist() == [255, 255, 255]
    assert (np.diff(colours[:4, 1]) < 0).all()
    assert colours[3].tolist() == colours[4].tolist()
    # Without a length given, the longest of the picture has full colour.
    assert flow_colours(field)[0, 4].tolist() == colours[3].tolist()


def test_still_and_broken_displacements():
    assert (flow_colours(np.zeros((3, 4, 2), np.float32)) == 255).all()
    field = np.zeros((1, 3, 2), np.float32)
    field[0, 0, 1], field[0, 1, 0] = np.nan, np.inf
    assert flow_colours(field)[0].tolist() == [[128] * 3, [128] * 3, [255] * 3]
    for length in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match="max_length"):
            flow_colours(field, length)


def test_the_wheel_shows_what_flow_colours_does():
    wheel = flow_wheel(101)
    assert wheel.shape == (101, 101, 3)
    assert wheel[50, 50].tolist() == [255, 255, 255]
    assert wheel[0, 0].tolist() == wheel[100, 0].tolist() == [255, 255, 255]
    right, down = flow_colours(np.array([[[1.0, 0], [0, 1]]]), 1)[0].astype(int)
    assert np.abs(wheel[50, 100] - right).max() <= 3
    assert np.abs(wheel[100, 50] - down).max() <= 3


def test_heat_map_is_ordered_by_luminance():
    colours = heat_map(np.linspace(0, 1, 256)[None], 0, 1)[0]
    bright = luminance(colours)
    assert (np.diff(bright) > 0).all()
    assert bright[0] < 0.02
    assert bright[-1] > 0.85


def test_heat_map_range():
    low, high = heat_map(np.array([[0.0, 1.0]]), 0, 1)[0].tolist()
    found = heat_map(np.array([[-9.0, -1.0, 3.0, 99.0, np.nan, np.inf, -np.inf]], np.float32), -1, 3)[0].tolist()
    assert found == [low, low, high, high, low, high, low]
    for ends in ((1, 1), (2, 1), (0, float("nan"))):
        with pytest.raises(InputError, match="low < high"):
            heat_map(np.zeros((2, 2)), *ends)
