"""The label map reader and writer, frames, and files that appear whole."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageOps

from munet_jax.data.images import exif_orientation, image_size, list_images, natural_key, read_image
from munet_jax.data.masks import davis_palette, read_mask, write_mask
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError
from tests.data.trees import label_map
from tests.shared_data import shared

LABELS = label_map((1, 2, 3), (40, 60))


def _save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    PILImage.fromarray(pixels).save(path, **options)
    return path


def _save_palette(path: Path, labels: np.ndarray, palette: np.ndarray) -> Path:
    image = PILImage.fromarray(labels)
    image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path)
    return path


def test_palette_is_the_voc_colour_map() -> None:
    palette = davis_palette()
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 7: (128, 128, 128),
                8: (64, 0, 0), 20: (0, 64, 128), 255: (224, 224, 192)}  # fmt: skip
    for index, colour in expected.items():
        assert tuple(palette[index]) == colour
    assert len(np.unique(palette, axis=0)) == 256
    palette[0] = 9  # a copy: the next caller gets the true one
    assert davis_palette()[0].sum() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_round_trip_keeps_all_256_ids_and_the_palette(tmp_path: Path, dtype: type) -> None:
    labels = np.arange(256, dtype=dtype).reshape(8, 32)
    path = tmp_path / "new/folder/00000.png"
    write_mask(path, labels)
    assert read_mask(path).dtype == np.uint8
    np.testing.assert_array_equal(read_mask(path), labels)
    with PILImage.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette() == davis_palette().ravel().tolist()
    assert [file.name for file in path.parent.iterdir()] == ["00000.png"]


def test_indices_are_kept_whatever_the_palette_shows(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = 255
    for name, palette in [("grey", np.repeat(np.arange(256)[:, None], 3, 1)), ("black", np.zeros((256, 3)))]:
        np.testing.assert_array_equal(read_mask(_save_palette(tmp_path / f"{name}.png", labels, palette)), labels)


def test_short_palette_and_transparent_index(tmp_path: Path) -> None:
    image = PILImage.fromarray(LABELS)
    image.putpalette(davis_palette()[:4].tobytes())
    image.save(tmp_path / "small.png", bits=2, transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "small.png"), LABELS)


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ([0, 255], [0, 1]),
        ([0, 128], [0, 1]),
        ([255, 255], [1, 1]),
        ([0, 1], [0, 1]),
        ([0, 0], [0, 0]),
        ([0, 2], [0, 2]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 2, 255], [0, 1, 2, 255]),
        ([2, 5], [2, 5]),
    ],
)
def test_grey_values(tmp_path: Path, stored: list[int], meant: list[int]) -> None:
    pixels = np.repeat(np.array([stored], np.uint8), 5, axis=0)
    expected = np.repeat(np.array([meant], np.uint8), 5, axis=0)
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "grey.png", pixels)), expected)
    grey_alpha = np.stack([pixels, np.full_like(pixels, 255)], axis=-1)
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "la.png", grey_alpha)), expected)


def test_one_bit_and_black_and_white(tmp_path: Path) -> None:
    one = LABELS > 0
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "bit.png", one)), one)
    white = np.where(one[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=-1)
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "rgb.png", white)), one)


@pytest.mark.parametrize("bits", [2, 4])
def test_small_grey_pngs_hold_ids_not_shades(tmp_path: Path, bits: int) -> None:
    """Pillow cannot write such files, so one is put together by hand."""
    values = np.array([[0, 1, 2, 3] * 2], np.uint8)
    weights = 1 << np.arange(8 // bits)[::-1] * bits
    packed = (values.reshape(-1, 8 // bits) * weights).sum(axis=1).astype(np.uint8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + packed.tobytes())) + chunk(b"IEND", b"")
    (tmp_path / "small.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    np.testing.assert_array_equal(read_mask(tmp_path / "small.png"), values)


def test_exact_colours_become_ids(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = davis_palette()[labels]
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "rgb.png", pixels)), labels)
    opaque = np.concatenate([pixels, np.full((16, 16, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "rgba.png", opaque)), labels)


def _smooth() -> np.ndarray:
    return np.asarray(PILImage.fromarray((LABELS > 0).astype(np.uint8) * 255).resize((97, 61), 2))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (_smooth(), r"\d+ distinct grey values.*anti-aliased.*palette PNG.*nearest neighbour"),
        (np.array([[0, 38, 75]], np.uint8), "3 distinct grey values, among them 38, 75"),
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "64 distinct grey values"),
        (np.array([[[0, 0, 0], [129, 0, 0]]], np.uint8), r"2 distinct colours, 1 of them not.*\(129, 0, 0\)"),
        (np.array([[[128, 0, 0, 255], [0, 0, 0, 0]]], np.uint8), "transparent"),
        (np.array([[[0, 255], [1, 0]]], np.uint8), "transparent"),
        (np.array([[0, 1, 300]], np.uint16), "16-bit"),
    ],
)
def test_what_would_be_guessed_is_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    path = _save(tmp_path / "bad.png", pixels)
    with pytest.raises(InputError, match=message) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_jpeg_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="compressed"):
        read_mask(_save(tmp_path / "grey.jpg", (LABELS > 1).astype(np.uint8) * 255, quality=60))
    with pytest.raises(InputError, match="compressed"):
        read_mask(_save(tmp_path / "colour.jpg", davis_palette()[LABELS]))
    PILImage.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    with pytest.raises(InputError, match="CMYK"):
        read_mask(tmp_path / "print.jpg")


def test_number_of_objects(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = 255
    path = _save_palette(tmp_path / "three.png", labels, davis_palette())
    np.testing.assert_array_equal(read_mask(path, objects=3), labels)
    with pytest.raises(InputError, match="has ids 3, but at most 2 objects"):
        read_mask(path, objects=2)
    only_two = np.array([[0, 2]], np.uint8)
    np.testing.assert_array_equal(read_mask(_save(tmp_path / "two.png", only_two), objects=1), [[0, 1]])


@pytest.mark.parametrize("reader", [read_mask, read_image, image_size])
def test_files_that_cannot_be_opened(tmp_path: Path, reader) -> None:  # noqa: ANN001
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in [("none.png", "no such file"), ("text.png", "not an image"), ("empty.png", "not an image"),
                          ("folder.png", "cannot be read")]:  # fmt: skip
        with pytest.raises(InputError, match=message) as caught:
            reader(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_truncated_files(tmp_path: Path, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (64, 64), dtype=np.uint8)
    for pixels, reader in [(noise, read_mask), (davis_palette()[noise], read_image)]:
        path = _save(tmp_path / f"cut.{suffix}", pixels)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(InputError, match="cut off|not an image"):
            reader(path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 2, 1), np.uint8), r"\[2, 2, 1\]"),
        (np.zeros((0, 2), np.uint8), r"\[0, 2\]"),
        (np.zeros((2, 2), np.float32), "float32"),
        (np.zeros((2, 2), bool), "bool"),
        (np.full((2, 2), 256), "256"),
        (np.full((2, 2), -1), "-1"),
    ],
)
def test_labels_that_cannot_be_written(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_mask(tmp_path / "bad.png", labels)
    assert not list(tmp_path.iterdir())


def test_masks_are_png(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png"):
        write_mask(tmp_path / "bad.jpg", LABELS)


def test_atomic_path(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            assert temporary.suffix == ".txt"
            assert temporary.parent == tmp_path
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert target.read_text() == "old"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert target.read_text() == "new"


def test_frames_of_all_kinds_are_rgb(tmp_path: Path) -> None:
    rgb = davis_palette()[LABELS]
    rgba = np.concatenate([rgb, np.zeros_like(rgb[..., :1])], axis=-1)
    grey = LABELS * np.uint8(60)
    palette = PILImage.fromarray(LABELS)
    palette.putpalette(davis_palette().tobytes())
    palette.save(tmp_path / "p.png", transparency=bytes(range(256)))
    for path, expected in [
        (_save(tmp_path / "rgb.png", rgb), rgb),
        (_save(tmp_path / "rgba.png", rgba), rgb),
        (_save(tmp_path / "grey.png", grey), np.repeat(grey[..., None], 3, axis=-1)),
        (tmp_path / "p.png", rgb),
    ]:
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == LABELS.shape
    with pytest.raises(InputError, match="8 bits"):
        read_image(_save(tmp_path / "wide.png", LABELS.astype(np.uint16)))


@pytest.mark.parametrize("orientation", range(10))
def test_frames_are_turned_as_viewers_show_them(tmp_path: Path, orientation: int) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    path = _save(tmp_path / "turned.png", pixels, exif=exif)
    with PILImage.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(path, upright=False), pixels)
    assert image_size(path) == expected.shape[:2]
    assert image_size(path, upright=False) == (6, 9)
    assert exif_orientation(path) == (orientation if 1 <= orientation <= 8 else 1)


def test_listing(tmp_path: Path) -> None:
    for name in ["frame10.jpg", "frame2.JPG", "frame1.png", "._frame1.jpg", "notes.txt"]:
        (tmp_path / name).touch()
    assert list(list_images(tmp_path)) == ["frame1", "frame2", "frame10"]
    assert list(list_images(tmp_path, (".png",))) == ["frame1"]
    assert list_images(tmp_path / "missing") == {}
    assert sorted(["10", "9", "a", "9b"], key=natural_key) == ["9", "9b", "10", "a"]
    (tmp_path / "frame1.jpeg").touch()
    with pytest.raises(InputError, match="frame1.jpeg and frame1.png"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("davis2016/Annotations/480p/bear/00077.png", [0, 1]),
        ("static/WeizmannHorse/Annotations/horse001.png", [0, 1]),
        ("static/ECSSD/Annotations/0001.png", [0, 1]),
        ("static/COCO128/Annotations/000000000009.png", list(range(9))),
        ("static/DAVIS2017_firstframes/Annotations/boxing.png", [0, 1, 2, 3]),
        ("davis2017_multi/Annotations/480p/schoolgirls/00000.png", list(range(8))),
        ("ytvos_sample/valid/Annotations/003234408d/00000.png", list(range(6))),
    ],
)
def test_real_masks(path: str, ids: list[int]) -> None:
    labels = read_mask(shared(path))
    assert np.unique(labels).tolist() == ids


@pytest.mark.slow
def test_every_real_mask_can_be_read() -> None:
    crowded = {"BSDS500", "Cityscapes8"}  # up to 91 regions of one image
    for folder in ["davis2016", "davis2017_multi", "static", "ytvos_sample"]:
        for path in sorted(shared(folder).rglob("*.png")):
            read_mask(path, objects=91 if crowded & set(path.parts) else 20)
