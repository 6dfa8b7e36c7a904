"""What holds for every label map, of whatever size, ids and kind of file: the reader and the scorer, on drawn examples."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as PILImage

from munet_jax.data.doubts import find_doubts
from munet_jax.data.mask_colours import colour_codes
from munet_jax.data.masks import MAX_GREY_ID, davis_palette, read_mask, write_mask
from munet_jax.evaluation.metrics import boundary_accuracy, objects_in, region_similarity
from munet_jax.evaluation.protocols import PROTOCOLS
from munet_jax.evaluation.scoring import score_frame, score_sequence, summarise
from munet_jax.runtime.errors import InputError
from tests.examples import check, tried

INTEGERS = (np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64)


@st.composite
def label_maps(draw: Any, shape: tuple[int, int] | None = None, ids: tuple[int, ...] | None = None) -> np.ndarray:
    """uint8 [h, w] of 1 to 20 pixels a side with few ids, mostly in blocks as objects are."""
    height, width = shape or (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    values = ids or tuple(draw(st.lists(st.integers(0, 255), min_size=1, max_size=5)))
    labels = np.full((height, width), draw(st.sampled_from(values)), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        labels[top:bottom, left:right] = draw(st.sampled_from(values))
    return labels


def encoded(image: PILImage.Image, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG", **options)
    return content.getvalue()


@tried
def test_what_is_written_is_read(examples: int, tmp_path: Any) -> None:
    def holds(labels: np.ndarray, dtype: type) -> None:
        write_mask(tmp_path / "mask.png", labels.astype(dtype))
        found = read_mask(tmp_path / "mask.png")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(read_mask("x", content=(tmp_path / "mask.png").read_bytes()), labels)
        assert all(isinstance(doubt, str) for doubt in find_doubts(found))

    check(holds, examples, labels=label_maps(), dtype=st.sampled_from(INTEGERS))


@tried
def test_colours_of_the_palette_mean_their_ids(examples: int) -> None:
    def holds(labels: np.ndarray, opaque: bool) -> None:
        pixels = davis_palette()[labels]
        if opaque:
            pixels = np.dstack([pixels, np.full(labels.shape, 255, np.uint8)])
        np.testing.assert_array_equal(read_mask("x", content=encoded(PILImage.fromarray(pixels))), labels)

    check(holds, examples, labels=label_maps(), opaque=st.booleans())


@tried
def test_grey_values_are_ids_a_binary_mask_or_refused(examples: int) -> None:
    def holds(grey: np.ndarray, ids: bool) -> None:
        values = sorted(set(np.unique(grey).tolist()) - {0})
        shades = [value for value in values if MAX_GREY_ID < value < 255]
        try:
            found = read_mask("x", content=encoded(PILImage.fromarray(grey)), ids=ids)
        except InputError:
            assert shades
            assert ids or len(values) > 1
            return
        if not ids and len(values) == 1 and values[0] > MAX_GREY_ID:
            np.testing.assert_array_equal(found, grey > 0)
        else:
            assert not shades
            np.testing.assert_array_equal(found, grey)

    check(holds, examples, grey=label_maps(), ids=st.booleans())


@tried
def test_palettes_in_any_order_are_read_right_or_refused(examples: int) -> None:
    """An oracle: what the picture shows, in DAVIS's colours on black."""

    def holds(labels: np.ndarray, order: list[int]) -> None:
        index = np.array(order, np.uint8)[labels]
        colours = np.zeros((256, 3), np.uint8)
        colours[:] = 77
        colours[order] = davis_palette()[: len(order)]
        image = PILImage.fromarray(index)
        image.putpalette(colours.tobytes())
        moved = any(order[i] != i for i in np.unique(labels))
        try:
            found = read_mask("x", content=encoded(image))
        except InputError:
            assert moved
            return
        # Where background is missing, or is at index 0, the indices are what the author says.
        if not moved or (order[0] != 0 and (labels == 0).any() and len(np.unique(labels)) > 1):
            np.testing.assert_array_equal(found, labels)
        else:
            np.testing.assert_array_equal(found, index)

    check(holds, examples, labels=label_maps(ids=(0, 1, 2, 3)), order=st.permutations(range(6)))


@tried
def test_images_of_every_kind_are_label_maps_or_refused(examples: int) -> None:
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "F", "CMYK")

    def holds(pixels: np.ndarray, mode: str, suffix: str, colours: dict[int, int] | None) -> None:
        image = PILImage.fromarray(pixels)
        image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
        content = io.BytesIO()
        try:
            image.save(content, format=suffix)
        except (OSError, ValueError):
            return  # there are no such files
        try:
            found = read_mask("x", content=content.getvalue(), colours=colours)
        except InputError:
            return
        assert found.dtype == np.uint8
        assert found.shape == pixels.shape[:2]

    check(
        holds,
        examples,
        pixels=arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)), fill=st.just(0)),
        mode=st.sampled_from(modes),
        suffix=st.sampled_from(["PNG", "BMP", "GIF", "TIFF", "JPEG", "WEBP", "PPM"]),
        colours=st.none() | st.dictionaries(st.integers(0, 2**24 - 1), st.integers(0, 255), max_size=3),
    )


@st.composite
def pairs(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps of one size."""
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    ids = tuple(draw(st.lists(st.sampled_from([0, 0, 1, 2, 3, 254, 255]), min_size=1, max_size=4)))
    return draw(label_maps(shape, ids)), draw(label_maps(shape, ids))


@tried
def test_scores_of_a_frame(examples: int) -> None:
    def holds(pair: tuple[np.ndarray, np.ndarray]) -> None:
        truth, found = pair
        scores = score_frame(truth, found)
        assert scores.annotated == objects_in(truth)
        for identity, (j, f) in scores.values.items():
            assert 0 <= j <= 1
            assert 0 <= f <= 1
            one, other = truth == identity, found == identity
            union = (one | other).sum()
            assert j == pytest.approx((one & other).sum() / union if union else 1)
            assert j == pytest.approx(region_similarity(other, one))
            assert f == pytest.approx(boundary_accuracy(other, one))
            # Turning both pictures does not change how well the regions agree.
            assert j == pytest.approx(region_similarity(np.rot90(one), np.rot90(other)))
        same = score_frame(truth, truth)
        assert all(value == (1.0, 1.0) for value in same.values.values())

    check(holds, examples, pair=pairs())


@tried
def test_scores_of_a_sequence(examples: int) -> None:
    def holds(frames: list[tuple[np.ndarray, np.ndarray]], protocol: str) -> None:
        size = frames[0][0].shape
        truth = [np.resize(one, size) for one, _ in frames]
        found = [np.resize(other, size) for _, other in frames]
        names = [str(number) for number in range(len(frames))]
        rules = PROTOCOLS[protocol]
        try:
            score = score_sequence(truth, found, names, rules)
            summary = summarise({"video": score})
        except InputError:
            giving = truth[:1] if rules.ends_alone else truth
            assert not rules.scored_frames(len(frames)) or not any(map(objects_in, giving))
            return
        assert len(score.frame_names) == len(rules.scored_frames(len(frames)))
        for values in (*score.region.values(), *score.boundary.values()):
            assert values.shape == (len(score.frame_names),)
            scored = values[~np.isnan(values)]
            assert ((scored >= 0) & (scored <= 1)).all()
        assert np.isnan(summary["J"]) or 0 <= summary["J"] <= 1
        assert all(0 <= row["J"] <= 1 and 0 <= row["F"] <= 1 for row in score.rows())

    check(
        holds, examples, frames=st.lists(pairs(), min_size=1, max_size=5), protocol=st.sampled_from(sorted(PROTOCOLS))
    )


@tried
def test_sizes_that_differ_are_refused(examples: int) -> None:
    def holds(one: np.ndarray, other: np.ndarray) -> None:
        if one.shape == other.shape:
            score_frame(one, other)
        else:
            with pytest.raises(InputError, match=f"{other.shape[1]} x {other.shape[0]}"):
                score_frame(one, other)

    check(holds, examples, one=label_maps(), other=label_maps())


def test_no_two_colours_of_the_palette_have_one_code() -> None:
    assert len(set(colour_codes(davis_palette()).tolist())) == 256
