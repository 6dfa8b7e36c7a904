"""Where objects should be, and who gets a pixel that several claim."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models import tracks as tracks_
from munet_jax.models.padding import STRIDE
from munet_jax.models.tracks import Tracks, expected_places, followed, look_alikes, no_tracks, told_apart

SIZE = (64, 96)


def square(y: int, x: int, side: int = 24) -> np.ndarray:
    """A mask of `SIZE` [h, w] with a square, whose upper left pixel is named."""
    mask = np.zeros(SIZE, np.float32)
    mask[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 1.0
    return mask


def displacement(masks: np.ndarray, velocities: np.ndarray, camera: np.ndarray) -> jax.Array:
    """What the MU-Layer would say, [1, h', w', 2]: of each cell the motion of what fills most of it; (x, y) pixels a frame."""
    cells = masks.reshape(len(masks), SIZE[0] // STRIDE, STRIDE, SIZE[1] // STRIDE, STRIDE).mean(axis=(2, 4))
    field = np.broadcast_to(camera, (*cells.shape[1:], 2)).copy()
    for cell, velocity in zip(cells, velocities, strict=True):
        field[cell > 0.5] = velocity
    return jnp.asarray(-field / STRIDE, jnp.float32)[None]


LOOKS = jnp.zeros((1, SIZE[0] // STRIDE, SIZE[1] // STRIDE, 3))  # F_s where it does not matter


def spread(places: np.ndarray) -> np.ndarray:
    """Over two places to each side, along both axes; nothing comes from outside."""
    for axis in (-2, -1):
        places = np.apply_along_axis(lambda x: np.convolve(x, tracks_.SPREAD)[2:-2], axis, places)
    return places


def test_a_shift_by_whole_places_moves_and_one_by_half_a_place_mixes() -> None:
    places = np.random.default_rng(0).random((1, 2, 6, 7)).astype(np.float32)
    found = tracks_.moved(jnp.asarray(places), jnp.asarray([[[4.0, -8.0], [2.0, 0.0]]]))
    wide = np.pad(places[0], ((0, 0), (4, 4), (4, 4)))  # what has left the frame is spread over it still
    whole = np.roll(wide[0], (-2, 1), axis=(0, 1))
    half = (wide[1] + np.roll(wide[1], 1, axis=1)) / 2
    np.testing.assert_allclose(found[0], spread(np.stack([whole, half]))[:, 4:-4, 4:-4], atol=1e-6)


def test_an_object_is_expected_where_its_velocity_and_the_cameras_bring_it() -> None:
    """It moves by (16, 0) over a background that moves by (0, -8); then the camera stops."""
    tracks, own, camera = no_tracks(1, 1, 3), np.array([16.0, 0.0]), np.array([0.0, -8.0])
    for frame in range(4):
        mask = square(16, 16 * frame, 32)[None]
        field = displacement(mask, own[None], camera)
        tracks = followed(tracks, field, LOOKS, jnp.asarray(mask)[None], given=frame == 0)
    np.testing.assert_allclose(tracks.velocity[0, 0], own - camera, atol=1e-4)
    assert float(tracks.frames[0, 0]) == 3
    for motion in (camera, np.zeros(2)):
        found = expected_places(tracks, displacement(mask, own[None], motion), jnp.asarray(mask)[None])
        x, y = (own - camera + motion).astype(int)
        expected = square(16 + y, 48 + x, 32).reshape(SIZE[0] // 4, 4, SIZE[1] // 4, 4).mean(axis=(1, 3))
        np.testing.assert_allclose(found[0, 0], spread(expected), atol=1e-5)


def test_the_first_frame_and_given_ones_say_nothing_of_a_velocity() -> None:
    mask = square(8, 16)[None]
    field = displacement(mask, np.array([[8.0, 0.0]]), np.zeros(2))
    tracks = followed(no_tracks(1, 1, 3), field, LOOKS, jnp.asarray(mask)[None], given=False)
    assert (float(tracks.frames[0, 0]), float(tracks.areas[0, 0])) == (0, 24 * 24)
    np.testing.assert_array_equal(tracks.velocity, 0.0)
    small = jnp.asarray(square(8, 16, 8))[None, None]
    given = followed(tracks, field, LOOKS, small, given=True)
    assert (float(given.frames[0, 0]), float(given.areas[0, 0])) == (0, 64)
    nowhere = followed(tracks, field, LOOKS, jnp.zeros_like(small), given=True)
    assert float(nowhere.areas[0, 0]) == pytest.approx(24 * 24 * tracks_.FORGET)


def test_a_hidden_object_keeps_its_velocity_and_may_come_back_anywhere() -> None:
    mask = square(8, 16)[None]
    tracks = Tracks(
        jnp.full((1, 2), 24.0 * 24.0), jnp.full((1, 2, 2), 8.0), jnp.full((1, 2), 5.0), jnp.zeros((1, 2, 3))
    )
    masks = jnp.asarray(np.stack([mask[0], square(40, 48, 8)]))[None]
    still = displacement(mask, np.zeros((1, 2)), np.zeros(2))
    places = expected_places(tracks, still, masks)
    assert 0 < float(places[0, 0].mean()) < 0.2
    np.testing.assert_array_equal(places[0, 1], 1.0)
    after = followed(tracks, still, LOOKS, masks, given=False)
    np.testing.assert_array_equal(after.velocity[0, 1], 8.0)
    assert float(after.areas[0, 1]) == pytest.approx(24 * 24 * tracks_.FORGET)
    assert float(after.velocity[0, 0, 0]) == pytest.approx(8.0 * (1 - tracks_.NEWEST), abs=1e-5)
    # One that was never seen is not hidden.
    np.testing.assert_array_equal(expected_places(no_tracks(1, 2, 3), still, jnp.zeros_like(masks)), 0.0)


def test_objects_look_alike_as_they_did_where_their_masks_were_given() -> None:
    masks = np.stack([square(0, 0, 16), square(0, 16, 16), square(0, 32, 16)])
    semantic = LOOKS.at[0, 0, 0].set(jnp.array([1.0, 0.1, 0.0])).at[0, 0, 1].set(jnp.array([1.0, 0.0, 0.1]))
    semantic = semantic.at[0, 0, 2].set(jnp.array([0.0, 1.0, 0.0]))
    still, shown = displacement(masks, np.zeros((3, 2)), np.zeros(2)), jnp.asarray(masks)[None]
    tracks = followed(no_tracks(1, 3, 3), still, semantic, shown, given=True)
    np.testing.assert_allclose(tracks.looks, semantic[:, 0, :3], atol=1e-6)
    later = followed(tracks, still, jnp.ones_like(semantic), shown, given=False)
    assert np.asarray(look_alikes(later)).tolist() == [[[True, True, False], [True, True, False], [False, False, True]]]
    forgotten = tracks_.forget_tracks(tracks, jnp.array([False, True, False]))
    np.testing.assert_array_equal(look_alikes(forgotten)[0], np.eye(3))
    assert (float(forgotten.areas[0, 0]), float(forgotten.areas[0, 1])) == (16 * 16, 0)


@pytest.mark.parametrize("size", [SIZE, (60, 90)], ids=["whole cells", "padded"])
def test_pixels_go_to_the_look_alike_that_is_expected(size: tuple[int, int]) -> None:
    """The first two objects look alike, the third does not, and the fourth slot is empty."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(0.3 * rng.standard_normal((1, *size, 5)), jnp.float32).at[..., 4].set(-1e4)
    places = jnp.zeros((1, 4, 16, 24)).at[:, 0, :, :12].set(1.0).at[:, 1, :, 12:].set(1.0)
    twins = jnp.eye(4, dtype=jnp.bool_)[None].at[0, 0, 1].set(True).at[0, 1, 0].set(True)
    before, after = (np.asarray(jax.nn.softmax(x, axis=-1)[0]) for x in (logits, told_apart(logits, places, twins)))
    np.testing.assert_allclose(after[..., [0, 3]], before[..., [0, 3]], atol=1e-5)
    np.testing.assert_array_equal(after[..., 4], 0.0)
    middle = (96 - size[1]) // 2  # of what is padded, half lies on the left
    shares = after[..., 1] / (after[..., 1] + after[..., 2])
    assert shares[:, : 44 - middle].min() > 0.9
    assert shares[:, 52 - middle :].max() < 0.1
    nobody = jnp.eye(4, dtype=jnp.bool_)[None]
    for same in (told_apart(logits, jnp.full_like(places, 0.3), twins), told_apart(logits, places, nobody)):
        np.testing.assert_allclose(jax.nn.softmax(same, axis=-1)[0], before, atol=1e-5)
