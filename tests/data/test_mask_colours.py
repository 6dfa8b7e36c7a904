"""Masks whose colours mean other things than their indices, and colour maps of the user's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.cli import main
from munet_jax.data.mask_colours import read_colour_map
from munet_jax.data.masks import davis_palette, read_mask, write_mask
from munet_jax.runtime.errors import InputError
from tests.data.trees import label_map

LABELS = label_map((1, 2), (24, 40))
BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (10, 20, 250)
DARK_RED, DARK_GREEN = (128, 0, 0), (0, 128, 0)  # DAVIS's 1 and 2


def save_palette(path: Path, labels: np.ndarray, colours: list[tuple[int, int, int]], **options: object) -> Path:
    image = PILImage.fromarray(labels)
    image.putpalette(np.array(colours, np.uint8).tobytes())
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def reordered(order: tuple[int, ...]) -> np.ndarray:
    """The label map with other indices: `order[id]` in place of each id."""
    return np.array(order, np.uint8)[LABELS]


def test_a_palette_in_another_order_is_read_by_davis_colours(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "mask.png", reordered((2, 1, 0)), [DARK_GREEN, DARK_RED, BLACK])
    np.testing.assert_array_equal(read_mask(path), LABELS)


@pytest.mark.parametrize(
    ("order", "colours", "shown"),
    [
        (
            (2, 1, 0),
            [GREEN, RED, BLACK],
            r"index 2 black like a background \(\d+ pixels\), but background is index 0 \(#00ff00",
        ),
        ((1, 2, 3), [RED, BLACK, RED, GREEN], r"index 1 black .*index 0 \(0 pixels\)"),
        ((5, 1, 2), [BLACK, RED, GREEN, BLUE, BLUE, BLACK], "index 5 black"),  # index 0 is black, and nowhere
        ((1, 0, 2), [RED, WHITE, GREEN], "index 1 white, all around the picture"),
        ((1, 0, 0), [WHITE, BLACK], "index 1 black"),
    ],
)
def test_a_palette_that_shows_another_background_is_refused(
    tmp_path: Path, order: tuple[int, ...], colours: list[tuple[int, int, int]], shown: str
) -> None:
    path = save_palette(tmp_path / "mask.png", reordered(order), colours)
    with pytest.raises(InputError, match=f"mask.png: its palette shows {shown}") as caught:
        read_mask(path)
    suggested = json.loads(re.search(r"such as (\{.*?\})", str(caught.value))[1])  # type: ignore[index]
    assert suggested["#{:02x}{:02x}{:02x}".format(*colours[order[0]])] == 0
    (tmp_path / "map.json").write_text(json.dumps(suggested))
    read = read_mask(path, colours=read_colour_map(tmp_path / "map.json"))
    np.testing.assert_array_equal(read > 0, LABELS > 0)


def test_a_transparent_index_other_than_0_is_refused(tmp_path: Path) -> None:
    colours = [RED, BLUE, GREEN]
    for transparency in (1, bytes([255, 0, 255])):
        path = save_palette(tmp_path / "mask.png", reordered((1, 0, 2)), colours, transparency=transparency)
        with pytest.raises(InputError, match="shows index 1 transparent like a background"):
            read_mask(path)
    path = save_palette(tmp_path / "mask.png", LABELS, colours, transparency=0)
    np.testing.assert_array_equal(read_mask(path), LABELS)


@pytest.mark.parametrize(
    "colours",
    [
        [BLACK, BLACK, BLACK],  # says nothing
        [BLACK, WHITE, WHITE],
        [WHITE, RED, GREEN],  # a white background
        [BLUE, RED, GREEN],  # any background
        [BLACK, RED, BLACK],  # truncated: what the palette does not have is black
        [BLUE, WHITE, GREEN],  # a white object, not around the picture
    ],
)
def test_palettes_that_leave_no_doubt(tmp_path: Path, colours: list[tuple[int, int, int]]) -> None:
    np.testing.assert_array_equal(read_mask(save_palette(tmp_path / "mask.png", LABELS, colours)), LABELS)


def test_indices_of_quantized_colours(tmp_path: Path) -> None:
    """Pillow and drawing programs put the colours in an order of their own."""
    image = PILImage.fromarray(davis_palette()[LABELS]).quantize(8)
    assert np.asarray(image)[0, 0] != 0
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), LABELS)


def coloured(colours: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array(colours, np.uint8)[LABELS]


def test_flat_colours_are_answered_with_a_colour_map(tmp_path: Path) -> None:
    """As CVAT, labelme and Roboflow export classes."""
    pixels = coloured([BLACK, (250, 50, 83), (61, 245, 61)])
    PILImage.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="3 distinct colours, 2 of them not in the DAVIS palette") as caught:
        read_mask(tmp_path / "mask.png")
    text = str(caught.value)
    assert '{"#000000": 0, "#fa3253": 1, "#3df53d": 2}' in text or '{"#000000": 0, "#3df53d": 1, "#fa3253": 2}' in text
    counts = [int((i == LABELS).sum()) for i in range(3)]
    assert f"({counts[0]}, {counts[1]}, {counts[2]} pixels)" in text
    assert "--colours to munet segment or check-masks" in text
    (tmp_path / "map.json").write_text('{"#FA3253": 1, "61, 245, 61": 2}')
    labels = read_mask(tmp_path / "mask.png", colours=read_colour_map(tmp_path / "map.json"))
    np.testing.assert_array_equal(labels, LABELS)


def test_shades_are_not_answered_with_a_colour_map(tmp_path: Path) -> None:
    soft = PILImage.fromarray(coloured([BLACK, RED, GREEN])).resize((90, 50), PILImage.Resampling.BILINEAR)
    soft.save(tmp_path / "soft.png")
    with pytest.raises(InputError, match="anti-aliased or compressed") as caught:
        read_mask(tmp_path / "soft.png")
    assert "--colours" not in str(caught.value)


def test_colours_that_a_map_does_not_name(tmp_path: Path) -> None:
    PILImage.fromarray(coloured([BLACK, RED, GREEN])).save(tmp_path / "mask.png")
    with pytest.raises(
        InputError, match=r"has colours that the colour map does not name: #00ff00 \(\d+ pixels\); add them"
    ):
        read_mask(tmp_path / "mask.png", colours={0: 0, 0xFF0000: 1})


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_a_colour_map_reads_images_of_every_kind(tmp_path: Path, mode: str) -> None:
    pixels = coloured([BLACK, WHITE, WHITE]) if mode in ("L", "1") else coloured([BLACK, RED, GREEN])
    PILImage.fromarray(pixels).convert(mode, **({"palette": PILImage.Palette.ADAPTIVE} if mode == "P" else {})).save(
        tmp_path / "mask.png"
    )
    labels = read_mask(tmp_path / "mask.png", colours={0: 0, 0xFFFFFF: 7, 0xFF0000: 1, 0x00FF00: 2})
    np.testing.assert_array_equal(labels, np.where(LABELS > 0, 7, 0) if mode in ("L", "1") else LABELS)


def test_a_colour_map_does_not_guess_about_transparency(tmp_path: Path) -> None:
    pixels = np.dstack([coloured([BLACK, RED, GREEN]), np.where(LABELS > 0, 255, 0)]).astype(np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="transparent pixels"):
        read_mask(tmp_path / "mask.png", colours={0: 0, 0xFF0000: 1, 0x00FF00: 2})


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"red": 1}',
        '{"#ff00": 1}',
        '{"256,0,0": 1}',
        '{"#ff0000": 256}',
        '{"#ff0000": "1"}',
        '{"#ff0000": true}',
        "x",
    ],
)
def test_colour_maps_of_another_form(tmp_path: Path, content: str) -> None:
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(InputError, match=r"map.json: .*#ff0000.*: 1, .*from colours to ids"):
        read_colour_map(tmp_path / "map.json")


def test_masks_are_converted_once_for_everything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = coloured([BLACK, (250, 50, 83), (61, 245, 61)])
    for name in ("a/00000.png", "a/00001.bmp", "@eaDir/00000.png", "b/x.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(pixels).save(tmp_path / "in" / name)
    (tmp_path / "map.json").write_text('{"#fa3253": 1, "#3df53d": 2}')
    command = ["convert-masks", str(tmp_path / "in"), str(tmp_path / "out"), "--colours", str(tmp_path / "map.json")]
    assert main(command) == 0
    assert f"written:  {tmp_path / 'out'} (3 label maps)" in capsys.readouterr().out
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["a/00000.png", "a/00001.png", "b/x.png"]
    for name in found:
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / name), LABELS)
    assert main(["check-masks", str(tmp_path / "out")]) == 0
    assert main(command) == 2
    assert "00000.png: exists already" in capsys.readouterr().err
    single = [str(tmp_path / "in/b/x.png"), str(tmp_path / "x.png")]
    assert main(["convert-masks", *single, "--colours", str(tmp_path / "map.json")]) == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "x.png"), LABELS)


def test_nothing_is_converted_where_one_mask_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "map.json").write_text('{"#ff0000": 1}')
    convert = ["convert-masks", str(tmp_path / "in"), str(tmp_path / "out"), "--colours", str(tmp_path / "map.json")]
    assert main(convert) == 2
    assert "in: holds no images" in capsys.readouterr().err
    PILImage.fromarray(coloured([BLACK, RED, RED])).save(tmp_path / "in/1.png")
    PILImage.fromarray(coloured([BLACK, RED, GREEN])).save(tmp_path / "in/2.png")
    assert main(convert) == 2
    assert "2.png: has colours that the colour map does not name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    PILImage.fromarray(coloured([BLACK, RED, RED])).save(tmp_path / "in/1.bmp")
    (tmp_path / "in/2.png").unlink()
    assert main(convert) == 2
    assert "differs only in its suffix" in capsys.readouterr().err


def test_checks_read_by_colours_and_tell_of_doubts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    PILImage.fromarray(coloured([BLACK, RED, GREEN])).save(tmp_path / "a/00000.png")
    (tmp_path / "map.json").write_text('{"#ff0000": 1, "#00ff00": 2}')
    assert main(["check-masks", str(tmp_path)]) == 1
    assert "--colours" in capsys.readouterr().err
    assert main(["check-masks", str(tmp_path), "--colours", str(tmp_path / "map.json")]) == 0
    write_mask(tmp_path / "a/00001.png", (LABELS == 0).astype(np.uint8))
    assert (
        main(["check-masks", str(tmp_path), "--colours", str(tmp_path / "map.json")]) == 1
    )  # a DAVIS red is not named
    (tmp_path / "a/00000.png").unlink()
    capsys.readouterr()
    assert main(["check-masks", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "warning: " + str(tmp_path / "a/00001.png") + ": object 1 covers 100% of the picture's border" in told.err
    assert "no problems, 1 warnings" in told.out
