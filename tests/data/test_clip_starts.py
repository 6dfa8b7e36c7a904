"""Where training clips start: the clips of an epoch, and what moves them from one epoch to the next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from munet_jax.data.clips import ClipOptions
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Batch, Part, count_clips, make_loader
from munet_jax.data.sampling import ClipIndex
from munet_jax.data.stills import FramesAsStills
from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.errors import InputError
from tests.data.trees import MemorySource, label_map, memory_source
from tests.shared_data import shared

# Frames of the 24 training videos in the shared DAVIS-2016.
DAVIS_LENGTHS = (82, 75, 71, 80, 80, 25, 80, 80, 60, 80, 70, 70, 80, 60, 43, 70, 90, 35, 75, 48, 91, 55, 60, 70)
LENGTH = 6  # of clips, and the stride between them, in the protocols


def videos_of(*lengths: int) -> MemorySource:
    frame = label_map(size=(8, 16))
    return MemorySource([[frame] * length for length in lengths])


def epoch_of(index: ClipIndex, epoch: int) -> list[tuple[int, int]]:
    return [index.place(clip, epoch) for clip in range(len(index))]


def test_index_lists_every_clip_once() -> None:
    source = videos_of(5, 2, 3, 0, 7)
    index = ClipIndex(source, 3)
    expected = [(0, 0), (0, 1), (0, 2), (2, 0), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4)]
    assert epoch_of(index, 0) == epoch_of(index, 7) == expected
    assert epoch_of(ClipIndex(source, 3, stride=3), 5) == [(0, 0), (2, 0), (4, 0), (4, 3)]
    with pytest.raises(InputError, match="memory: no video has 8 annotated frames.*has 7"):
        ClipIndex(source, 8)
    with pytest.raises(InputError, match="it has no videos"):
        ClipIndex(MemorySource([]), 1)
    with pytest.raises(InputError, match="at least 1"):
        ClipIndex(source, 0)
    with pytest.raises(InputError, match="config.data.clip_phase is 'moving'; choose one of random, fixed"):
        ClipIndex(source, 3, phase="moving")


def test_the_lengths_are_those_of_davis() -> None:
    source = DavisSource(shared("davis2016"), "train", "2016")
    assert tuple(len(source.video(video).annotated) for video in range(len(source))) == DAVIS_LENGTHS


def test_a_hundred_epochs_show_every_clip_of_davis() -> None:
    source = videos_of(*DAVIS_LENGTHS)
    index = ClipIndex(source, LENGTH, LENGTH, phase="random", seed=0)
    possible = {(video, start) for video, frames in enumerate(DAVIS_LENGTHS) for start in range(frames - LENGTH + 1)}
    assert (len(index), len(possible)) == (263, 1510)
    seen = {place for epoch in range(100) for place in epoch_of(index, epoch)}
    assert seen == possible
    fixed = ClipIndex(source, LENGTH, LENGTH)
    assert len({place for epoch in range(100) for place in epoch_of(fixed, epoch)}) == len(fixed) == len(index)


def test_starts_are_equally_likely() -> None:
    index = ClipIndex(videos_of(16), LENGTH, LENGTH, phase="random", seed=1)
    starts = [start for epoch in range(3000) for _, start in epoch_of(index, epoch)]
    counts = np.bincount(starts, minlength=11)
    assert len(counts) == 11
    # 6000 draws over 11 starts: 545 each, with a standard deviation of 22.
    assert abs(counts - 545).max() < 5 * 22


@pytest.mark.parametrize("frames", [6, 7, 11, 12, 13, 18, 40])
def test_clips_of_an_epoch_keep_their_distance_but_for_one_pair(frames: int) -> None:
    index = ClipIndex(videos_of(frames), LENGTH, LENGTH, phase="random", seed=2)
    for epoch in range(60):
        starts = sorted(start for _, start in epoch_of(index, epoch))
        assert 0 <= starts[0] <= starts[-1] <= frames - LENGTH
        gaps = np.diff(starts)
        assert (gaps > 0).all()
        assert (gaps < LENGTH).sum() <= 1


def test_phases_follow_from_seed_epoch_and_video() -> None:
    source = videos_of(40, 40)

    def phases(seed: int) -> np.ndarray:
        index = ClipIndex(source, LENGTH, LENGTH, phase="random", seed=seed)
        first = {video: clip for clip, (video, _) in reversed(list(enumerate(epoch_of(index, 0))))}
        return np.array([[index.place(first[video], epoch)[1] for video in range(2)] for epoch in range(20)])

    np.testing.assert_array_equal(phases(3), phases(3))
    assert (phases(3) != phases(4)).any()
    assert (phases(3)[:, 0] != phases(3)[:, 1]).any()


def test_stills_and_clips_at_every_frame_have_no_phase() -> None:
    stills = FramesAsStills(memory_source(videos=2, frames=3))
    moved = ClipIndex(stills, LENGTH, LENGTH, phase="random", seed=5)
    assert epoch_of(moved, 9) == [(image, 0) for image in range(6)]
    every = ClipIndex(videos_of(9), 3, 1, phase="random", seed=5)
    assert epoch_of(every, 9) == epoch_of(ClipIndex(videos_of(9), 3, 1), 0)


def test_clips_drawn_in_place_of_others_start_anywhere_too() -> None:
    source = videos_of(13, 20)
    rng = np.random.default_rng(0)
    assert set(ClipIndex(source, 6, 6).draw(rng, 300)) == {(0, 0), (0, 6), (1, 0), (1, 6), (1, 12)}
    anywhere = set(ClipIndex(source, 6, 6, phase="random").draw(rng, 1000))
    assert anywhere == {(0, start) for start in range(8)} | {(1, start) for start in range(15)}


def batches_of(*parts: Part, **options: int) -> Iterator[Batch]:
    clips = ClipOptions(3, (8, 16), 2, AugmentationConfig.none(), min_pixels=1)
    return make_loader(parts, clips, **({"batch_size": 6, "seed": 3, "stride": 3, "threads": 0} | options))


def places_of(batches: Iterator[Batch], count: int) -> list[tuple[int, int, int]]:
    taken = list(itertools.islice(batches, count))
    return [
        (int(part), int(video), int(start))
        for batch in taken
        for part, video, start in zip(batch["part"], batch["video"], batch["start"], strict=True)
    ]


def test_an_epoch_of_the_loader_is_an_epoch_of_the_index() -> None:
    source = videos_of(9, 13, 4)
    index = ClipIndex(source, 3, 3, phase="random", seed=3)
    clips = len(index)
    assert clips == count_clips([Part(source)], ClipOptions(3, (8, 16), 2), stride=3) == 3 + 4 + 1
    places = [place[1:] for place in places_of(batches_of(Part(source), batch_size=4), 5 * clips // 4)]
    for epoch in range(5):
        assert sorted(places[epoch * clips : (epoch + 1) * clips]) == sorted(epoch_of(index, epoch))
    fixed = places_of(batches_of(Part(source, phase="fixed"), batch_size=4), 5 * clips // 4)
    assert {place[1:] for place in fixed} == set(epoch_of(ClipIndex(source, 3, 3), 0))


def test_every_part_of_a_mix_has_its_own_epochs() -> None:
    long, short = videos_of(20), videos_of(7)
    places = places_of(batches_of(Part(long, 0.5), Part(short, 0.5)), 40)
    for number, (source, starts) in enumerate(((long, 18), (short, 5))):
        index = ClipIndex(source, 3, 3, phase="random", seed=3)
        own = [place[1:] for place in places if place[0] == number]
        assert {start for _, start in own} == set(range(starts))
        assert sorted(own[: len(index)]) == sorted(epoch_of(index, 0))
        assert sorted(own[len(index) : 2 * len(index)]) == sorted(epoch_of(index, 1))


def test_a_run_resumed_at_any_step_sees_the_same_clips() -> None:
    part = Part(videos_of(9, 13, 4))
    alone = list(itertools.islice(batches_of(part), 12))
    for step in range(12):
        resumed = next(batches_of(part, start_step=step))
        for name, array in alone[step].items():
            np.testing.assert_array_equal(resumed[name], array)
    ahead = places_of(batches_of(part, threads=2, start_step=5), 7)
    assert ahead == places_of(iter(alone[5:]), 7)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_processes_sees_the_same_sequence(count: int) -> None:
    part = Part(videos_of(9, 13, 4))
    together = places_of(batches_of(part), 8)
    shares = [places_of(batches_of(part, process_index=index, process_count=count), 8) for index in range(count)]
    assert [place for places in zip(*shares, strict=True) for place in places] == together
