"""Traces of resizing, dithering and colour reduction in label maps, and that whole label maps have none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw

from munet_jax.data.doubts import find_doubts, summarise_doubts
from munet_jax.data.masks import davis_palette, read_mask
from tests.data.trees import label_map
from tests.shared_data import shared

Resampling = PILImage.Resampling


def drawn(size: tuple[int, int] = (96, 128), ids: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """Ellipses of ids, of which the later lie over the earlier."""
    image = PILImage.new("L", size[::-1])
    draw = ImageDraw.Draw(image)
    height, width = size
    for number, identity in enumerate(ids):
        left, top = (0.1 + 0.25 * number) * width, (0.15 + 0.1 * number) * height
        draw.ellipse((left, top, left + 0.35 * width, top + 0.6 * height), fill=identity)
    return np.asarray(image)


def resized(labels: np.ndarray, factor: float, method: Resampling) -> np.ndarray:
    size = (round(labels.shape[1] * factor), round(labels.shape[0] * factor))
    return np.asarray(PILImage.fromarray(labels).resize(size, method))


@pytest.mark.parametrize("method", [Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS])
@pytest.mark.parametrize("factor", [0.6, 1.5, 2, 3, 8])
@pytest.mark.parametrize("ids", [(1, 3), (1, 2, 3), (2, 5, 9)])
def test_interpolated_ids_are_told(ids: tuple[int, ...], factor: float, method: Resampling) -> None:
    found = find_doubts(resized(drawn(ids=ids), factor, method))
    rings = [line for line in found if "as a thin ring of" in line]
    assert len(rings) == 1
    pixels = re.search(r"ring of (\d+) pixels between", rings[0])
    assert pixels is not None
    assert int(pixels[1]) >= 16
    assert "nearest neighbour only" in rings[0]


@pytest.mark.parametrize("ids", [(1,), (1, 2), (1, 2, 3), (2, 5, 9), (254, 3, 7)])
@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_label_maps_that_were_scaled_well_are_in_no_doubt(ids: tuple[int, ...], factor: float) -> None:
    assert find_doubts(resized(drawn(ids=ids), factor, Resampling.NEAREST)) == []


def test_an_id_that_is_only_a_ring_and_one_that_is_also_an_object() -> None:
    alone = resized(drawn(ids=(2,)), 4, Resampling.BILINEAR)
    assert re.match(
        r"id 1 lies as a thin ring of \d+ pixels between background and 2, as a resize", find_doubts(alone)[0]
    )
    beside = alone.copy()
    beside[:40, :40] = 1
    assert find_doubts(beside)[0].startswith("id 1 lies as a thin ring")


def test_a_thin_object_over_another_is_in_no_doubt() -> None:
    """A rope before a person: thin, but with the same on both sides; and a bag at the border of one."""
    labels = drawn(ids=(1, 3)).copy()
    labels[50:52] = np.where(labels[50:52] > 0, 2, 0)
    assert find_doubts(labels) == []
    labels = drawn(ids=(3,)).copy()
    labels[20:30, 40:50] = 2
    assert find_doubts(labels) == []


def test_ignored_borders_are_in_no_doubt() -> None:
    """VOC draws 255 around every object."""
    labels = drawn(ids=(1, 2)).copy()
    grown = np.asarray(PILImage.fromarray(labels).resize((132, 100)).crop((2, 2, 130, 98)))
    labels[(labels == 0) & (grown > 0)] = 255
    assert find_doubts(labels) == []


def _soft() -> PILImage.Image:
    colours = PILImage.fromarray(davis_palette()[drawn((384, 512))])
    return colours.resize((128, 96), Resampling.BILINEAR)


def _davis(colours: int) -> PILImage.Image:
    palette = PILImage.new("P", (1, 1))
    palette.putpalette(davis_palette()[:colours].tobytes())
    return palette


def test_dithered_masks_are_told(tmp_path: Path) -> None:
    grey = PILImage.fromarray((drawn((384, 512)) > 0).astype(np.uint8) * 200).resize((128, 96), Resampling.BILINEAR)
    for name, image in (("bit", grey.convert("1")), ("palette", _soft().quantize(palette=_davis(24)))):
        image.save(tmp_path / f"{name}.png")
        found = find_doubts(read_mask(tmp_path / f"{name}.png"))
        assert any(
            re.match(r"\d+ single pixels have an id that no neighbour has, as dithering", line) for line in found
        )


def test_reduced_colours_are_told(tmp_path: Path) -> None:
    _soft().quantize(palette=_davis(24), dither=PILImage.Dither.NONE).save(tmp_path / "mask.png")
    found = find_doubts(read_mask(tmp_path / "mask.png"))
    assert any(
        re.match(r"\d+ of \d+ ids \([\d, ]+; \d+ pixels\) are nowhere 3 x 3 pixels large", line) for line in found
    )


def test_an_inverted_mask_is_told() -> None:
    labels = (drawn() == 0).astype(np.uint8)
    assert find_doubts(labels) == [
        "object 1 covers 100% of the picture's border, and background (0) 0%; if the two are exchanged, invert the mask"
    ]
    assert find_doubts(np.ones_like(labels)) == []  # a picture full of one object is one


def test_many_files_take_few_lines() -> None:
    found = [(f"{number}.png", ["strange"]) for number in range(5)]
    assert summarise_doubts(found, "label maps") == [
        "0.png: strange", "1.png: strange", "2.png: strange", "2 more label maps look like that (5 in all)",
    ]  # fmt: skip
    assert summarise_doubts(found[:2], "label maps") == ["0.png: strange", "1.png: strange"]
    assert summarise_doubts([], "label maps") == []


@pytest.mark.parametrize(
    "labels", [np.zeros((1, 1), np.uint8), np.ones((1, 40), np.uint8), label_map((1, 2, 3), (2, 30))]
)
def test_the_smallest_label_maps(labels: np.ndarray) -> None:
    assert find_doubts(labels) == []


@pytest.mark.parametrize(
    ("folder", "most"),
    [
        ("static/DAVIS2017_firstframes/Annotations", 0),
        ("static/VOC07_44/Annotations", 0),
        ("static/WeizmannHorse/Annotations", 0),
        ("ytvos_sample/valid/Annotations", 0),
        ("static/COCO128/Annotations", 3),
    ],
)
def test_real_label_maps_are_seldom_in_doubt(folder: str, most: int) -> None:
    masks = sorted(shared(folder).rglob("*.png"))[:60]
    assert sum(bool(find_doubts(read_mask(path))) for path in masks) <= most
