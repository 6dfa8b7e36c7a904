"""`munet segment` and videos or masks that are damaged, turned, unknown or wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.data.masks import write_mask
from munet_jax.data.video_files import VideoFile
from munet_jax.inference.files.inputs import open_input
from munet_jax.runtime.errors import InputError
from tests.data.videos import remux
from tests.inference.segmenting import Create, masks_of, segment

pytest.importorskip("av")


def test_a_damaged_video_keeps_what_came_before(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    content = (tree / "clip.mp4").read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[: len(content) // 3])
    with pytest.raises(InputError, match=r"broken.mp4: cannot be opened as a video .*index may be missing.*ffmpeg"):
        VideoFile(broken)
    # An index at the start of the file, and data that ends too early.
    whole = remux(tree / "clip.mp4", tmp_path / "whole.mp4", movflags="faststart")
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * 0.8)])
    with pytest.raises(InputError, match=r"whole.mp4: breaks after \d frames"):
        segment(segmenter, tree, tmp_path / "out", "double.png", source=str(whole), overlays=())
    assert 1 <= len(masks_of(tmp_path / "out")) < 8
    assert (tmp_path / "out" / ".state.npz").exists()


def test_a_trimmed_video_shows_fewer_frames_than_its_index_has(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    """As phones trim: an edit list hides the first frames."""
    # What is shown before time 0 makes the muxer write an edit list.
    video = VideoFile(remux(tree / "clip.mp4", tmp_path / "trimmed.mp4", shift=3 * 1024))
    shown = len(list(video))
    assert 0 < shown < video.expected == 8
    masks = [str(tree / "double.png"), f"{shown}={tree / 'double.png'}"]
    for direction in ("both", "backward"):
        with pytest.raises(InputError, match=f"a mask is given for frame {shown}, but the video has {shown} frames"):
            segment(
                segmenter, tree, tmp_path / direction, *masks, source=str(video.path), direction=direction, overlays=()
            )


def test_a_codec_that_nobody_here_knows_is_named(tree: Path, tmp_path: Path) -> None:
    content = (tree / "clip.mp4").read_bytes()
    place = content.rindex(b"avc1")
    (tmp_path / "odd.mp4").write_bytes(content[:place] + b"zzzz" + content[place + 4 :])
    with pytest.raises(InputError, match=r"no decoder for its codec here \(zzzz\); convert it with: ffmpeg"):
        VideoFile(tmp_path / "odd.mp4")


def test_a_turned_phone_video_is_upright(tree: Path, tmp_path: Path) -> None:
    turned = remux(tree / "clip.mp4", tmp_path / "turned.mp4", turn=90)
    plain, upright = next(iter(VideoFile(tree / "clip.mp4"))), next(iter(VideoFile(turned)))
    assert upright.shape == (144, 112, 3)
    np.testing.assert_array_equal(upright, np.rot90(plain))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nothing", "no such video, folder or pattern"),
        ("*.jpg", "matches no frames"),
        ("first.png", "is a single image"),
        ("empty", r"holds no frames \(.jpg, .jpeg, .png\); name"),
        ("photos", r"holds no frames \(.jpg, .jpeg, .png\), but 2 .tif files; convert them to .png; name"),
        ("weights.safetensors", "cannot be opened as a video"),
    ],
)
def test_inputs_that_are_refused(tree: Path, source: str, reason: str) -> None:
    for folder in ("empty", "photos"):
        (tree / folder).mkdir(exist_ok=True)
    for name in ("1.tif", "2.TIF", "._3.tif", "notes.txt"):
        (tree / "photos" / name).touch()
    with pytest.raises(InputError, match=reason):
        open_input(str(tree / source))


def test_patterns(tree: Path, tmp_path: Path) -> None:
    frames = open_input(str(tree / "frames" / "shot ?.png"))
    assert [frames.name(index) for index in range(len(frames))] == [f"shot {number}" for number in range(1, 10)]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        PILImage.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    with pytest.raises(InputError, match="would be called 1; keep one"):
        open_input(str(tmp_path / "*" / "*.png"))


def test_frames_and_masks_that_are_refused(segmenter: Create, tree: Path, tmp_path: Path, video: Any) -> None:
    frames, _ = video
    for name, image, reason in (
        ("sizes", PILImage.new("RGB", (70, 56)), "frame called 1: frame 1 is 70 x 56 but the video began with 72 x 56"),
        ("wide", PILImage.fromarray(np.zeros((56, 72), np.uint16)), "more than 8 bits"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        PILImage.fromarray(frames[0]).save(folder / "0.png")
        image.save(folder / "1.png")
        with pytest.raises(InputError, match=reason):
            segment(segmenter, tree, tmp_path / f"{name}_out", source=str(folder), overlays=())
        assert len(masks_of(tmp_path / f"{name}_out")) == 1
    grey = tmp_path / "grey"
    grey.mkdir()
    for number, mode in enumerate(("L", "RGBA", "RGB")):
        PILImage.fromarray(frames[0]).convert(mode).save(grey / f"{number}.png")
    segment(segmenter, tree, tmp_path / "grey_out", source=str(grey), overlays=())
    assert len(masks_of(tmp_path / "grey_out")) == 3
    write_mask(tmp_path / "none.png", np.zeros((56, 72), np.uint8))
    for mask, reason in (
        (tmp_path / "none.png", "none.png: shows no object"),
        (
            tree / "double.png",
            r"double.png: the mask is 144 x 112, but its frame is 72 x 56 .*: it is 2 times as large",
        ),
    ):
        with pytest.raises(InputError, match=reason):
            segment(segmenter, tree, tmp_path / "out", str(mask))
    segment(segmenter, tree, tmp_path / "out", overlays=())  # what ended before its first mask is in nobody's way
