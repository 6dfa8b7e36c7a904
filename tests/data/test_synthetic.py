"""Synthetic videos: the same bytes from the same seed, exact labels, exact motion, and as hard as they claim to be."""

from __future__ import annotations

import concurrent.futures
import pickle

import numpy as np
import pytest

from munet_jax.data.clips import ClipSource
from munet_jax.data.synthetic.videos import SyntheticConfig, SyntheticSource, draw_scene
from munet_jax.runtime.errors import InputError

DEFAULT = SyntheticConfig()


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return SyntheticSource(DEFAULT)


def everything(source: SyntheticSource, index: int, frame: int) -> tuple[bytes, ...]:
    motion = source.motion(index, frame) if frame else ()
    return tuple(a.tobytes() for a in (source.frame(index, frame), source.labels(index, frame), *motion))


def sample_before(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Bilinear look-up of `image` [h, w, 3] at every pixel plus its displacement [h, w, 2], edges held."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    x = np.clip(x + displacement[..., 0], 0, width - 1)
    y = np.clip(y + displacement[..., 1], 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    right, down = (x - left)[..., None], (y - top)[..., None]
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def test_is_a_clip_source(source: SyntheticSource) -> None:
    assert isinstance(source, ClipSource)
    assert len(source) == DEFAULT.videos
    video = source.video(3)
    assert video.name == "synthetic_0_0003"
    assert video.frame_names[:2] == ("00000", "00001")
    assert video.annotated == tuple(range(DEFAULT.frames))
    image, labels = source.frame(3, 5), source.labels(3, 5)
    assert image.shape == (128, 128, 3)
    assert labels.shape == (128, 128)
    assert image.dtype == labels.dtype == np.uint8


def test_frames_need_not_be_square() -> None:
    source = SyntheticSource(SyntheticConfig(height=48, width=80, frames=4))
    displacement, visible = source.motion(0, 1)
    assert source.frame(0, 1).shape == (48, 80, 3)
    assert displacement.shape == (48, 80, 2)
    assert displacement.dtype == np.float32
    assert visible.shape == (48, 80)


def test_same_seed_same_bytes_in_any_order() -> None:
    times = [(index, frame) for index in range(2) for frame in (0, 7, 3)]
    first, second = SyntheticSource(DEFAULT), SyntheticSource(DEFAULT)
    forward = {time: everything(first, *time) for time in times}
    backward = {time: everything(second, *time) for time in reversed(times)}
    assert forward == backward
    assert len(set(forward.values())) == len(times)


def test_other_seed_other_bytes(source: SyntheticSource) -> None:
    other = SyntheticSource(SyntheticConfig(seed=1))
    assert everything(source, 0, 0) != everything(other, 0, 0)


def test_a_video_does_not_depend_on_how_many_there_are(source: SyntheticSource) -> None:
    many = SyntheticSource(SyntheticConfig(videos=10_000))
    assert everything(source, 1, 2) == everything(many, 1, 2)
    assert many.frame(9_999, 0).any()


def test_a_pickle_holds_the_config_only(source: SyntheticSource) -> None:
    expected = everything(source, 0, 4)
    stored = pickle.dumps(source)
    assert len(stored) < 2_000
    assert everything(pickle.loads(stored), 0, 4) == expected


def test_a_caller_may_write_into_what_it_gets(source: SyntheticSource) -> None:
    expected = everything(source, 0, 1)
    source.frame(0, 1)[:] = 0
    source.labels(0, 1)[:] = 9
    assert everything(source, 0, 1) == expected


def test_threads_may_share_a_source(source: SyntheticSource) -> None:
    shared = SyntheticSource(DEFAULT)
    times = [(index, frame) for frame in range(4) for index in range(3)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda time: everything(shared, *time), times))
    assert found == [everything(source, *time) for time in times]


def test_frame_0_shows_every_object_well(source: SyntheticSource) -> None:
    numbers = set()
    for index in range(len(source)):
        labels = source.labels(index, 0)
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        assert ids.tolist() == list(range(1, len(ids) + 1))
        assert areas.min() >= 0.01 * labels.size
        numbers.add(len(ids))
        later = np.unique(np.stack([source.labels(index, frame) for frame in range(0, DEFAULT.frames, 4)]))
        assert set(later) <= {0, *ids}
    assert numbers == {2, 3}


def test_labels_agree_with_the_layers_of_the_scene(source: SyntheticSource) -> None:
    """An object's own outline, evaluated point by point, holds its labels, and what it lacks is hidden."""
    stage = draw_scene(DEFAULT, 2).stage
    labels = source.labels(2, 6)
    y, x = np.mgrid[:128, :128].astype(np.float32) + np.float32(0.5)
    expected = np.zeros((128, 128), np.uint8)
    for body, place in zip(stage.bodies, stage.placement(6)[1:], strict=True):
        own_x, own_y = place.inverse().apply(x, y)
        expected[body.shape(own_x / np.float32(body.radius), own_y / np.float32(body.radius)) <= 0] = body.label
    assert (labels != expected).mean() < 1e-3


def test_enough_frames_have_an_occlusion(source: SyntheticSource) -> None:
    for index in range(len(source)):
        occluded = [max(source.hidden(index, frame)) > 0.05 for frame in range(DEFAULT.frames)]
        assert np.mean(occluded) >= DEFAULT.min_occlusion


def test_distractors_look_like_objects_but_are_background() -> None:
    for index in range(4):
        scene = draw_scene(DEFAULT, index)
        labelled = {body.texture for body in scene.stage.bodies if body.label}
        distractors = [body for body in scene.stage.bodies if not body.label]
        assert len(distractors) == DEFAULT.distractors
        assert all(body.texture in labelled for body in distractors)


def test_the_mask_of_frame_0_is_no_answer_for_later_frames(source: SyntheticSource) -> None:
    overlaps = []
    for index in range(len(source)):
        first = source.labels(index, 0)
        for frame in range(1, DEFAULT.frames):
            now = source.labels(index, frame)
            for label in range(1, int(first.max()) + 1):
                union = np.count_nonzero((first == label) | (now == label))
                overlaps.append(np.count_nonzero((first == label) & (now == label)) / union)
    assert np.mean(overlaps) < 0.4


def test_neighbouring_frames_are_near(source: SyntheticSource) -> None:
    """Objects move 2 to 6 % of the short side on average, and never out of the matching window's reach."""
    lengths = []
    for index in range(len(source)):
        for frame in range(1, DEFAULT.frames, 3):
            displacement, _ = source.motion(index, frame)
            lengths.append(np.linalg.norm(displacement[source.labels(index, frame) > 0], axis=-1))
    length = np.concatenate(lengths) / min(DEFAULT.height, DEFAULT.width)
    assert 0.02 < length.mean() < 0.06
    assert length.max() < 0.2


def test_motion_carries_labels(source: SyntheticSource) -> None:
    wrong = visible_pixels = 0
    for index in range(len(source)):
        for frame in (1, 9, 17):
            displacement, visible = source.motion(index, frame)
            rows, columns = np.nonzero(visible)
            old_x = np.floor(columns + 0.5 + displacement[visible][:, 0]).astype(int)
            old_y = np.floor(rows + 0.5 + displacement[visible][:, 1]).astype(int)
            before, now = source.labels(index, frame - 1), source.labels(index, frame)
            differs = before[np.clip(old_y, 0, 127), np.clip(old_x, 0, 127)] != now[visible]
            wrong += np.count_nonzero(differs)
            visible_pixels += len(rows)
    assert wrong < 0.01 * visible_pixels  # outlines only, where the nearest pixel is another one's


def test_motion_carries_colours() -> None:
    source = SyntheticSource(SyntheticConfig(flat=0.0))
    for index in range(len(source)):
        displacement, visible = source.motion(index, 5)
        assert 0.7 < visible.mean() < 1
        before, now = source.frame(index, 4).astype(float), source.frame(index, 5).astype(float)
        along = np.abs(sample_before(before, displacement) - now)
        still = np.abs(before - now)
        assert along[visible].mean() < 0.25 * still[visible].mean()
        on_object = visible & (source.labels(index, 5) > 0)
        assert along[on_object].mean() < 0.35 * still[on_object].mean()
        # What was hidden or outside before looks like something else at the place it came from.
        assert along[~visible].mean() > 2 * along[visible].mean()


def test_nothing_moves_at_zero_speed() -> None:
    source = SyntheticSource(SyntheticConfig(speed=0.0, camera=0.0, spin=0.0, stretch=0.0))
    for index in range(3):
        displacement, visible = source.motion(index, 11)
        assert np.abs(displacement).max() < 1e-3
        assert visible.mean() > 0.995  # an outline through a pixel's centre may round either way
        assert (source.frame(index, 11) == source.frame(index, 10)).all()


def test_an_object_leaves_and_comes_back(source: SyntheticSource) -> None:
    returns = 0
    for index in range(len(source)):
        hidden = np.array([source.hidden(index, frame) for frame in range(DEFAULT.frames)])
        for label in range(1, hidden.shape[1] + 1):
            seen = np.array([(source.labels(index, frame) == label).any() for frame in range(DEFAULT.frames)])
            gone = ~seen & (hidden[:, label - 1] == 0)  # outside the frame, not behind something
            returns += bool(gone.any() and seen[np.argmax(gone) :].any())
    assert returns >= 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("videos", {"videos": 0}),
        ("frames", {"frames": 0}),
        ("height", {"height": 8}),
        ("width", {"width": 31}),
        ("seed", {"seed": -1}),
        ("min_objects", {"min_objects": 0}),
        ("min_objects", {"min_objects": 3, "max_objects": 2}),
        ("max_objects", {"max_objects": 255}),
        ("distractors", {"distractors": -1}),
        ("distractors", {"distractors": 254}),
        ("min_size", {"min_size": 0.5, "max_size": 0.4}),
        ("max_size", {"max_size": 1.5}),
        ("speed", {"speed": -0.1}),
        ("stretch", {"stretch": 0.6}),
        ("flat", {"flat": 1.5}),
        ("min_occlusion", {"min_occlusion": -0.1}),
        ("min_occlusion", {"min_objects": 1, "distractors": 0}),
    ],
)
def test_a_bad_config_is_named(field: str, values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"SyntheticConfig\.{field} is .*: "):
        SyntheticConfig(**values)  # type: ignore[arg-type]


def test_an_unreachable_occlusion_is_an_error_not_a_hang() -> None:
    # Objects this small cannot fill one percent of frame 0.
    source = SyntheticSource(SyntheticConfig(min_size=0.01, max_size=0.02))
    with pytest.raises(InputError, match=r"min_occlusion is 0\.2.*video 0 .*max_size"):
        source.frame(0, 0)


def test_asking_for_what_is_not_there(source: SyntheticSource) -> None:
    with pytest.raises(InputError, match="frame 0 .* no motion"):
        source.motion(0, 0)
    with pytest.raises(InputError, match="video 8 does not exist"):
        source.frame(8, 0)
    with pytest.raises(InputError, match="video -1 does not exist"):
        source.video(-1)
    with pytest.raises(InputError, match="frame 24 .* does not exist"):
        source.labels(0, 24)
