"""`munet segment`: which frame a mask is of, masks among frames, and the same names with other content."""

import json
import logging
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.cli import main
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.video_files import VideoFile, write_video
from munet_jax.inference.files import job
from munet_jax.inference.files.given_masks import frame_of, read_annotations
from munet_jax.inference.files.inputs import FrameFiles, open_input
from munet_jax.inference.files.job import segment_files
from munet_jax.inference.files.output_folder import Options
from munet_jax.runtime.atomic_files import exclusive
from munet_jax.runtime.errors import InputError, Stopped
from tests.data.videos import add_cover, remux, set_matrix, write_two_streams
from tests.inference.segmenting import Create, masks_of, segment

pytest.importorskip("av")


def named(*names: str) -> FrameFiles:
    return FrameFiles([Path(f"{name}.jpg") for name in names])


@pytest.mark.parametrize(
    ("names", "place", "index"),
    [
        (("00000", "00001", "00002"), "1", 1),  # name and number are one
        (("00001", "00002", "00003"), "00001", 0),
        (("00001", "00002", "00003"), "3", 2),  # there is no number 3
        (("00001", "00002", "00003"), "0", 0),
        (("1", "2", "3"), "1", 0),  # a whole name
        (("a", "b", "c"), "2", 2),
        (("shot 5", "shot 6"), "1", 1),
    ],
)
def test_a_number_that_means_one_frame(names: tuple[str, ...], place: str, index: int) -> None:
    assert frame_of(place, named(*names), "") == index


@pytest.mark.parametrize(
    ("names", "place", "ways"),
    [
        (
            ("00001", "00002", "00003"),
            "1",
            r"1 may be the frame 00001 \(by its name\) or 00002 \(by its number from 0\)",
        ),
        (("shot_01", "shot_02", "shot_03"), "2", r"shot_02 \(by its name\) or shot_03 \(by its number from 0\)"),
        (("a1", "b1"), "1", r"a1 \(by its name\) or b1 \(by its name\)"),
    ],
)
def test_a_number_that_may_mean_two_frames_is_refused(names: tuple[str, ...], place: str, ways: str) -> None:
    with pytest.raises(InputError, match=f"--mask text: .*{ways}; write the whole name"):
        frame_of(place, named(*names), "text")


@pytest.mark.parametrize("place", ["3", "x", "-1", "²", "1.5", "9" * 30])
def test_frames_that_are_not_there(place: str) -> None:
    with pytest.raises(InputError, match=f"there is no frame '{place}'; frames are called a to c"):
        frame_of(place, named("a", "b", "c"), "text")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_mask_beyond_the_end_is_told_before_the_first_frame(
    segmenter: Create, tree: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tree / "clip.mp4"
    if suffix == ".mkv":
        source = remux(source, tmp_path / "clip.mkv")
    monkeypatch.setattr(job, "Job", None)  # nothing is segmented
    given = [str(tree / "double.png"), f"500={tree / 'double.png'}"]
    with pytest.raises(InputError, match="there is no frame 500; the video has 8 frames, 00000 to 00007"):
        segment(segmenter, tree, tmp_path / "out", *given, source=str(source))
    with pytest.raises(InputError, match="there is no frame 'last'; frames are called 00000, 00001, ... by number"):
        segment(segmenter, tree, tmp_path / "out", f"last={tree / 'double.png'}", source=str(source))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def frames(tmp_path: Path, video: Any) -> Path:
    """Three frames, 00000.jpg to 00002.jpg, in a folder of their own."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        PILImage.fromarray(video[0][number]).save(folder / f"{number:05d}.jpg", quality=95)
    return folder


@pytest.mark.parametrize("mask", ["mask.png", "00000.png", "sub/../mask.png"])
@pytest.mark.parametrize("pattern", ["", "/*"])
def test_a_mask_among_the_frames_is_none_of_them(
    segmenter: Create, tree: Path, frames: Path, mask: str, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    (frames / "sub").mkdir()
    shutil.copy(tree / "first.png", frames / Path(mask).name)
    out = frames.parent / "out"
    with caplog.at_level(logging.WARNING, "munet_jax"):
        segment(segmenter, tree, out, str(frames / mask), source=f"{frames}{pattern}", overlays=())
    assert list(masks_of(out)) == ["00000", "00001", "00002"]
    assert f"{Path(mask).name}, given as mask, lies among the frames and is left out of them" in caplog.text


def test_what_does_not_count_on_is_told(frames: Path, caplog: pytest.LogCaptureFixture) -> None:
    PILImage.new("RGB", (72, 56)).save(frames / "preview.jpg")
    with caplog.at_level(logging.WARNING, "munet_jax"):
        assert len(open_input(str(frames))) == 4  # type: ignore[arg-type]
    assert (
        "1 of 4 frames do not count on as the others do (preview); take them away if they are no frames" in caplog.text
    )


def test_system_folders_are_no_frames(frames: Path) -> None:
    for name in ("@eaDir", ".thumbs", "__MACOSX"):
        (frames / name).mkdir()
        shutil.copy(frames / "00000.jpg", frames / name / "9.jpg")
    found = open_input(f"{frames}/**/*.jpg")
    assert [found.name(index) for index in range(3)] == ["00000", "00001", "00002"]
    assert len(found) == 3  # type: ignore[arg-type]


def test_photos_turned_by_exif_are_segmented_upright(
    segmenter: Create, tree: Path, tmp_path: Path, video: Any, caplog: pytest.LogCaptureFixture
) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 3
    for folder, turned in (("stored", True), ("plain", False)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            picture = np.rot90(video[0][number], 2) if turned else video[0][number]
            PILImage.fromarray(picture).save(tmp_path / folder / f"{number}.png", **({"exif": exif} if turned else {}))
    with caplog.at_level(logging.WARNING, "munet_jax"):
        segment(segmenter, tree, tmp_path / "a", source=str(tmp_path / "stored"), overlays=())
    assert "frames are turned or mirrored by their EXIF orientation (3)" in caplog.text
    segment(segmenter, tree, tmp_path / "b", source=str(tmp_path / "plain"), overlays=())
    for name, mask in masks_of(tmp_path / "b").items():
        np.testing.assert_array_equal(masks_of(tmp_path / "a")[name], mask)


def test_a_mask_of_another_picture_of_the_file_is_named(tree: Path, tmp_path: Path, video: Any) -> None:
    small = [np.ascontiguousarray(frame[:56:2, :72:2]) for frame in video[0]]
    two = write_two_streams(tmp_path / "two.mp4", video[0][:4], small[:4])
    taken = next(iter(VideoFile(two))).shape
    other = (28, 36) if taken[0] == 56 else (56, 72)
    write_mask(tmp_path / "mask.png", np.ones(other, np.uint8))
    with pytest.raises(
        InputError, match=r"the mask is .*: it fits the file's other video, stream 1: ffmpeg .*-map 0:v:1"
    ):
        read_annotations([str(tmp_path / "mask.png")], open_input(str(two)), 0)
    cover = add_cover(tmp_path / "cover.mp4", np.zeros((60, 60, 3), np.uint8), song=False)
    write_mask(tmp_path / "mask.png", np.ones((60, 60), np.uint8))
    with pytest.raises(InputError, match="it fits the file's other cover picture"):
        read_annotations([str(tmp_path / "mask.png")], open_input(str(cover)), 0)


def test_a_mask_of_the_frames_before_they_were_turned(tmp_path: Path, video: Any) -> None:
    write_video(tmp_path / "clip.mp4", video[0][:2], 10)
    turned = open_input(str(set_matrix(tmp_path / "clip.mp4", 0, 1, -1, 0)))
    write_mask(tmp_path / "mask.png", np.ones((56, 72), np.uint8))
    with pytest.raises(InputError, match="72 x 56, but its frame is 56 x 72 .*are exchanged, as by a quarter turn"):
        read_annotations([str(tmp_path / "mask.png")], turned, 0)


def test_masks_in_doubt_are_told(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mask(tmp_path / "mask.png", (read_mask(tree / "first.png") == 0).astype(np.uint8))
    with caplog.at_level(logging.WARNING, "munet_jax"):
        read_annotations([str(tmp_path / "mask.png")], open_input(str(tree / "frames")), 0)
    assert "mask.png: object 1 covers" in caplog.text


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM after the second frame that is done, once; the thread that writes may be behind."""
    noted, calls = job.Seen.add, [0]

    def add(self: Any, index: int) -> None:
        noted(self, index)
        calls[0] += 1
        if calls[0] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job.Seen, "add", add)


def begin(create: Create, source: Path, mask: Path, out: Path) -> None:
    with pytest.raises(Stopped):
        segment_files(create(), str(source), [str(mask)], out, Options(overlays=()))


def go_on(create: Create, source: Path, mask: Path, out: Path) -> Any:
    return segment_files(create(), str(source), [str(mask)], out, Options(overlays=(), existing="continue"))


@pytest.mark.usefixtures("stopping")
def test_another_video_under_the_same_name_is_not_continued(
    segmenter: Create, tree: Path, tmp_path: Path, video: Any
) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out"
    write_video(clip, video[0], 10)
    begin(segmenter, clip, tree / "first.png", out)
    original = clip.read_bytes()
    write_video(clip, video[0][::-1], 10)
    with pytest.raises(InputError, match="was begun with another video; give the same, or begin anew with --overwrite"):
        go_on(segmenter, clip, tree / "first.png", out)
    clip.write_bytes(original)
    assert go_on(segmenter, clip, tree / "first.png", out)["frames"] == 8
    assert go_on(segmenter, clip, tree / "first.png", out) is None
    write_video(clip, video[0][::-1], 10)
    with pytest.raises(InputError, match="was begun with another video"):
        go_on(segmenter, clip, tree / "first.png", out)


@pytest.mark.usefixtures("stopping")
def test_other_frames_under_the_same_names_are_not_continued(
    segmenter: Create, tree: Path, frames: Path, tmp_path: Path, video: Any
) -> None:
    out, mask = tmp_path / "out", tree / "first.png"
    begin(segmenter, frames, mask, out)
    before = {path: path.read_bytes() for path in frames.iterdir()}

    def refused(reason: str) -> None:
        with pytest.raises(InputError, match=f"{reason}.*give the same frames, or begin anew with --overwrite"):
            go_on(segmenter, frames, mask, out)
        for path in frames.iterdir():
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)

    PILImage.fromarray(video[0][5]).save(frames / "00001.jpg")
    refused("frame 00001 is not the one that this run was begun with")
    (frames / "00000.jpg").unlink()
    refused("frame 00000 is not the one")
    (frames / "00001.jpg").rename(frames / "00001b.jpg")
    refused("frame 00001 is not the one")
    PILImage.fromarray(video[0][2]).save(frames / "00002.jpg", quality=60)  # of one that is to come: it was mended
    assert go_on(segmenter, frames, mask, out)["frames"] == 3
    assert go_on(segmenter, frames, mask, out) is None
    PILImage.fromarray(video[0][5]).save(frames / "00002.jpg")
    with pytest.raises(InputError, match="was finished with other frames than these; begin anew with --overwrite"):
        go_on(segmenter, frames, mask, out)


def test_a_run_that_was_killed_before_its_state_was_saved_leaves_nothing_of_itself(
    segmenter: Create, tree: Path, frames: Path, tmp_path: Path
) -> None:
    out, mask = tmp_path / "out", tree / "first.png"
    segment(segmenter, tree, out, source=str(frames), overlays=())
    for name in ("objects.json", "masks/00001.png"):
        (out / name).unlink()
    write_mask(out / "masks" / "00009.png", read_mask(mask))
    (out / ".frames").mkdir()
    (out / ".frames" / "9.json").write_text("{}")
    assert go_on(segmenter, frames, mask, out)["frames"] == 3
    assert list(masks_of(out)) == ["00000", "00001", "00002"]
    assert [row["name"] for row in json.loads((out / "objects.json").read_text())["frames"]] == list(masks_of(out))


@pytest.mark.usefixtures("stopping")
@pytest.mark.parametrize(
    ("name", "reason"), [(".state.npz", "the state of the run is damaged"), (".run.json", "as JSON")]
)
def test_a_run_whose_state_is_damaged_begins_anew(
    segmenter: Create, tree: Path, frames: Path, tmp_path: Path, name: str, reason: str
) -> None:
    out, mask = tmp_path / "out", tree / "first.png"
    begin(segmenter, frames, mask, out)
    content = (out / name).read_bytes()
    for damaged in (content[:-50], b"x" * 100, content[:100] + bytes(50) + content[150:]):
        (out / name).write_bytes(damaged)
        with pytest.raises(InputError, match=f"{name}: .*{reason}.*; begin anew with --overwrite"):
            go_on(segmenter, frames, mask, out)
    result = segment_files(segmenter(), str(frames), [str(mask)], out, Options(overlays=(), existing="overwrite"))
    assert result is not None


def test_too_many_objects_in_a_later_mask_are_told_before_the_first_frame(
    segmenter: Create, tree: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mask(tmp_path / "later.png", np.full((56, 72), 7, np.uint8))
    monkeypatch.setattr(job, "Job", None)
    given = [str(tree / "first.png"), f"00002={tmp_path / 'later.png'}"]
    with pytest.raises(
        InputError, match="the masks show 3 objects, and config.inference.max_objects is 2; raise it to 3"
    ):
        segment(lambda: segmenter(max_objects=2), tree, tmp_path / "out", *given, source=str(frames))
    weights = ["--weights", str(tree / "weights.safetensors"), "--out", str(tmp_path / "out"), "--max-objects", "2"]
    masks = [word for mask in given for word in ("--mask", mask)]
    assert main(["segment", str(frames), *masks, *weights]) == 2


def test_options_are_those_of_the_command(
    tree: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(tmp_path / "many.png", (np.arange(56 * 72) % 20).reshape(56, 72).astype(np.uint8))
    given = [str(frames), "--mask", str(tmp_path / "many.png"), "--weights", str(tree / "weights.safetensors")]
    for command, spelled in (
        ("segment", "and --max-objects is 16"),
        ("demo", "max_objects (munet segment --max-objects) is 16"),
    ):
        assert main([command, *given, "--out", str(tmp_path / command)]) == 2
        assert spelled in capsys.readouterr().err


def test_two_runs_in_one_folder(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with exclusive(tmp_path / "out"), pytest.raises(InputError, match="another run is working here"):
        segment(segmenter, tree, tmp_path / "out")
    assert segment(segmenter, tree, tmp_path / "out", overlays=())["frames"] == 12


def test_links_that_lead_in_a_circle_are_no_frames(segmenter: Create, tree: Path, frames: Path, tmp_path: Path) -> None:
    (frames / "loop").symlink_to(frames / "loop")
    (frames / "up").symlink_to(frames)
    assert segment(segmenter, tree, tmp_path / "out", source=str(frames), overlays=())["frames"] == 3
