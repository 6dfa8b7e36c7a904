"""`munet segment` on files: every kind of input and output, going on after a kill, and bad input."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image
import pytest
from PIL import Image as PILImage

from munet_jax.cli import main
from munet_jax.data.masks import read_mask, write_mask
from munet_jax.data.video_files import VideoFile, write_video
from munet_jax.errors import InputError, Stopped
from munet_jax.inference import VideoSegmenter, files, propagate
from munet_jax.inference.files import segment_files
from munet_jax.inference.inputs import open_input, read_annotations
from munet_jax.inference.outputs import run_lengths
from munet_jax.inference.results_folder import Options
from munet_jax.weights import write_weights
from tests.inference.conftest import settings

Create = Callable[..., VideoSegmenter]
ROOT = Path(__file__).parents[2]
av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, video: Any, variables: Any) -> Path:
    """frames/shot 1.png to shot 12.png (natural order differs from that of text), masks, weights.safetensors."""
    root = tmp_path_factory.mktemp("tree")
    frames, labels = video
    (root / "frames").mkdir()
    for number in range(12):
        PILImage.fromarray(frames[number % 8]).save(root / "frames" / f"shot {number + 1}.png")
    write_mask(root / "first.png", labels[0])
    write_mask(root / "later.png", labels[5])
    write_weights(root / "weights.safetensors", {"params": variables["params"], "batch_stats": {}}, settings(), 3)
    write_video(root / "clip.mp4", [np.repeat(np.repeat(f, 2, 0), 2, 1) for f in frames], 10)
    PILImage.fromarray(np.kron(labels[0], np.ones((2, 2), np.uint8))).save(root / "double.png")
    return root


def masks_of(out: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in sorted((out / "masks").iterdir())}


def segment(create: Create, tree: Path, out: Path, *masks: str, source: str = "frames", **options: Any) -> Any:
    given = [str(tree / mask) if "=" not in mask else mask for mask in masks or ("first.png",)]
    return segment_files(create(), str(tree / source), given, out, Options(**options))


def test_a_folder_of_frames_gives_masks_overlays_and_objects(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    result = segment(segmenter, tree, tmp_path / "out", probabilities=True)
    out = tmp_path / "out"
    assert result["frames"] == 12
    assert {path.name for path in out.iterdir()} == {
        ".run.json", "masks", "probabilities", "objects.json", "overlay.mp4", "overlay.gif",
    }  # fmt: skip
    frames = open_input(str(tree / "frames"))
    expected = propagate(
        segmenter(), frames, {0: read_mask(tree / "first.png")}, direction="forward", outputs=("probabilities",)
    )
    described = json.loads((out / "objects.json").read_text())
    masks = masks_of(out)
    for number, prediction in enumerate(expected):
        name = f"shot {number + 1}"
        np.testing.assert_array_equal(masks[name], prediction.labels)
        row = described["frames"][number]
        assert (row["name"], row["index"]) == (name, number)
        for channel, told in enumerate(row["objects"], start=1):
            mask = prediction.labels == told["id"]
            assert told["area"] == mask.sum()
            grey = np.asarray(PIL.Image.open(out / "probabilities" / str(told["id"]) / f"{name}.png"))
            np.testing.assert_allclose(grey / 255, prediction.probabilities[..., channel], atol=0.003)
            if told["area"]:
                x, y, width, height = told["bbox"]
                assert mask[y : y + height, x : x + width].sum() == mask.sum()
                assert mask[y].any()
                assert mask[:, x + width - 1].any()
                assert told["confidence"] == pytest.approx(
                    prediction.probabilities[..., channel][mask].mean(), abs=1e-3
                )
            else:
                assert told["bbox"] is None
    with PIL.Image.open(out / "overlay.gif") as gif:
        assert gif.size == (72, 56)
    assert len(list(VideoFile(out / "overlay.mp4"))) == 12


def test_run_lengths_are_cocos() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for mask in (rng.random((9, 7)) < 0.4, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        rle = run_lengths(mask)
        np.testing.assert_array_equal(coco.decode(coco.frPyObjects(rle, *rle["size"])), mask)


def test_a_video_file_gives_the_masks_of_its_frames(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    segment(segmenter, tree, tmp_path / "out", "double.png", source="clip.mp4", overlays=())
    decoded = list(VideoFile(tree / "clip.mp4"))
    expected = propagate(segmenter(), decoded, {0: read_mask(tree / "double.png")}, direction="forward")
    masks = masks_of(tmp_path / "out")
    assert list(masks) == [f"{number:05d}" for number in range(8)]
    for prediction, mask in zip(expected, masks.values(), strict=True):
        np.testing.assert_array_equal(mask, prediction.labels)


@pytest.mark.parametrize("direction", ["backward", "both"])
@pytest.mark.parametrize("source", ["frames", "clip.mp4"])
def test_other_directions(segmenter: Create, tree: Path, tmp_path: Path, direction: str, source: str) -> None:
    mask = tree / ("double.png" if source == "clip.mp4" else "first.png")
    given = ["=".join(["5", str(mask)])] if direction == "both" else [str(mask)]
    segment(segmenter, tree, tmp_path / "out", *given, source=source, direction=direction, overlays=("gif",))
    opened = open_input(str(tree / source))
    frames = [opened[index] for index in range(12)] if source == "frames" else list(opened)
    annotated = 5 if direction == "both" else len(frames) - 1
    expected = propagate(segmenter(), frames, {annotated: read_mask(mask)}, direction=direction)
    masks = masks_of(tmp_path / "out")
    assert len(masks) == len(frames)
    for prediction in expected:
        np.testing.assert_array_equal(masks[opened.name(prediction.frame_index)], prediction.labels)
    assert not list((tmp_path / "out").glob(".unpacked"))


def test_masks_are_given_by_number_or_name(tree: Path) -> None:
    frames = open_input(str(tree / "frames"))
    later = str(tree / "later.png")
    assert list(read_annotations([str(tree / "first.png"), f"3={later}", f"shot 12={later}"], frames, 0)) == [0, 3, 11]
    for text, reason in (
        (f"12={later}", "no frame '12'; frames are called shot 1 to"),
        (f"0={later}", "has a mask already"),
    ):
        with pytest.raises(InputError, match=reason):
            read_annotations([str(tree / "first.png"), text], frames, 0)


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_run_that_is_stopped_goes_on_and_gives_the_same_files(
    segmenter: Create, tree: Path, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = (str(tree / "first.png"), f"7={tree / 'later.png'}")
    segment(segmenter, tree, tmp_path / "whole", *masks, direction=direction, overlays=("gif",))
    written = files.Job._write
    stops = iter([3, 9, 14])
    stop_at, calls = [next(stops)], [0]

    def write(self: Any, prediction: Any, *, spilling: bool) -> None:
        written(self, prediction, spilling=spilling)
        calls[0] += 1
        if calls[0] == stop_at[0]:
            stop_at[0] = next(stops, -1)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(files.Job, "_write", write)
    stopped = 0
    while True:
        try:
            existing = "continue" if stopped else "refuse"
            segment(
                segmenter, tree, tmp_path / "parts", *masks, direction=direction, overlays=("gif",), existing=existing
            )
            break
        except Stopped as told:
            assert "--continue" in str(told)  # noqa: PT017
            stopped += 1
    assert stopped == (3 if direction == "both" else 2)
    assert equal_folders(tmp_path / "whole", tmp_path / "parts")
    assert segment(segmenter, tree, tmp_path / "parts", *masks, direction=direction, existing="continue") is None


def equal_folders(one: Path, other: Path) -> bool:
    names = [sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def test_a_run_that_is_killed_goes_on_and_gives_the_same_files(tree: Path, tmp_path: Path) -> None:
    """The command itself, with kill -9."""

    def command(out: str, *more: str) -> list[str]:
        program = [
            sys.executable,
            "-m",
            "munet_jax.cli",
            "segment",
            str(tree / "frames"),
            "--mask",
            str(tree / "first.png"),
        ]
        options = ["--weights", str(tree / "weights.safetensors"), "--out", str(tmp_path / out), "--save-every", "0"]
        return [*program, *options, "--overlay", "gif", *more]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = subprocess.run(command("whole"), env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert whole.returncode == 0, whole.stderr
    assert f"written:  {tmp_path / 'whole' / 'objects.json'}" in whole.stdout
    assert "compiled" in whole.stderr
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "killed" / "masks").glob("shot*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    left = list((tmp_path / "killed" / "masks").glob("shot*.png"))
    assert 2 <= len(left) < 12
    for path in left:
        read_mask(path)  # whole
    again = subprocess.run(command("killed"), env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 2
    assert "has results already (masks); --continue" in again.stderr
    more = subprocess.run(
        command("killed", "--continue"), env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert more.returncode == 0, more.stderr
    assert equal_folders(tmp_path / "whole", tmp_path / "killed")


def test_a_video_of_another_run_is_not_continued(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    segment(segmenter, tree, tmp_path / "out", overlays=())
    with pytest.raises(InputError, match="was begun with another masks; give the same"):
        segment(segmenter, tree, tmp_path / "out", "later.png", existing="continue")
    other = segmenter()
    other.variables = jax.tree.map(lambda x: x + 1, other.variables)
    with pytest.raises(InputError, match="was begun with another weights"):
        segment(lambda: other, tree, tmp_path / "out", existing="continue")
    (tmp_path / "out" / "mine.txt").write_text("stays")
    segment(segmenter, tree, tmp_path / "out", "later.png", existing="overwrite", overlays=())
    assert (tmp_path / "out" / "mine.txt").exists()


def test_what_a_killed_writer_left_is_removed(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment(segmenter, tree, out, overlays=())
    for name in (".frames/.shot 1.0123456789ab.json", "masks/.shot 2.0123456789ab.png", "..state.0123456789ab.npz"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("half")
    assert segment(segmenter, tree, out, overlays=(), existing="continue") is None
    assert {path.name for path in out.iterdir()} == {".run.json", "masks", "objects.json"}
    assert not list((out / "masks").glob(".*"))


def test_overwriting_removes_nothing_before_everything_else_is_right(
    segmenter: Create, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment(segmenter, tree, out, overlays=())
    corrected = out / "masks" / "shot 4.png"
    with pytest.raises(InputError, match="is one of the results that --overwrite would remove; copy it"):
        segment(segmenter, tree, out, "first.png", f"3={corrected}", existing="overwrite")
    with pytest.raises(InputError, match="no such file"):
        segment(segmenter, tree, out, "nothing.png", existing="overwrite")
    assert len(masks_of(out)) == 12
    dataset = tmp_path / "dataset"
    write_mask(dataset / "masks" / "0.png", read_mask(tree / "first.png"))
    for existing in ("refuse", "overwrite", "continue"):
        with pytest.raises(InputError, match="has masks, which is not of munet segment; name another folder"):
            segment(segmenter, tree, dataset, existing=existing)
    assert (dataset / "masks" / "0.png").exists()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="cannot be written to .*--out"):
        segment(segmenter, tree, file / "out")


def test_a_mask_that_was_repainted_is_another_run(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    write_mask(mask, read_mask(tree / "first.png"))
    segment(segmenter, tree, tmp_path / "out", str(mask), overlays=())
    write_mask(mask, read_mask(tree / "later.png"))
    with pytest.raises(InputError, match="begun with another masks"):
        segment(segmenter, tree, tmp_path / "out", str(mask), existing="continue")


def test_a_full_disk_leaves_what_was_written(
    segmenter: Create, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from munet_jax.inference import outputs

    count = [0]

    def write(path: Path, labels: np.ndarray) -> None:
        count[0] += 1
        if count[0] == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_mask(path, labels)

    monkeypatch.setattr(outputs, "write_mask", write)
    with pytest.raises(InputError, match="no space left; what was written stays readable.*--continue"):
        segment(segmenter, tree, tmp_path / "out", overlays=(), save_every=0)
    assert len(masks_of(tmp_path / "out")) == 4
    monkeypatch.undo()
    segment(segmenter, tree, tmp_path / "out", overlays=(), existing="continue")
    segment(segmenter, tree, tmp_path / "whole", overlays=())
    for name, mask in masks_of(tmp_path / "whole").items():
        np.testing.assert_array_equal(masks_of(tmp_path / "out")[name], mask)


def test_a_damaged_video_keeps_what_came_before(segmenter: Create, tree: Path, tmp_path: Path) -> None:
    content = (tree / "clip.mp4").read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[: len(content) // 3])
    with pytest.raises(InputError, match=r"broken.mp4: cannot be opened as a video .*index may be missing.*ffmpeg"):
        VideoFile(broken)
    # An index at the start of the file, and data that ends too early.
    whole = tmp_path / "whole.mp4"
    with (
        av.open(str(tree / "clip.mp4")) as source,
        av.open(str(whole), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * 0.8)])
    with pytest.raises(InputError, match=r"whole.mp4: breaks after \d frames"):
        segment(segmenter, tree, tmp_path / "out", "double.png", source=str(whole), overlays=())
    assert 1 <= len(masks_of(tmp_path / "out")) < 8
    assert (tmp_path / "out" / ".state.npz").exists()


def test_a_trimmed_video_shows_fewer_frames_than_its_index_has(tree: Path, tmp_path: Path) -> None:
    """As phones trim: an edit list hides the first frames."""
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(tree / "clip.mp4")) as source, av.open(str(trimmed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts -= 3 * 1024  # shown before time 0, so that the muxer writes an edit list
                packet.dts -= 3 * 1024
                target.mux(packet)
    video = VideoFile(trimmed)
    assert 0 < len(list(video)) < video.expected == 8


def test_a_codec_that_nobody_here_knows_is_named(tree: Path, tmp_path: Path) -> None:
    content = (tree / "clip.mp4").read_bytes()
    place = content.rindex(b"avc1")
    (tmp_path / "odd.mp4").write_bytes(content[:place] + b"zzzz" + content[place + 4 :])
    with pytest.raises(InputError, match=r"no decoder for its codec here \(zzzz\); convert it with: ffmpeg"):
        VideoFile(tmp_path / "odd.mp4")


def test_a_turned_phone_video_is_upright(tree: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(tree / "clip.mp4")) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    plain, upright = next(iter(VideoFile(tree / "clip.mp4"))), next(iter(VideoFile(turned)))
    assert upright.shape == (144, 112, 3)
    np.testing.assert_array_equal(upright, np.rot90(plain))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nothing", "no such video, folder or pattern"),
        ("*.jpg", "matches no frames"),
        ("first.png", "is a single image"),
        ("empty", "holds no frames"),
        ("weights.safetensors", "cannot be opened as a video"),
    ],
)
def test_inputs_that_are_refused(tree: Path, source: str, reason: str) -> None:
    (tree / "empty").mkdir(exist_ok=True)
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
        (tree / "double.png", "double.png: is 144 x 112 but the frames are 72 x 56"),
    ):
        with pytest.raises(InputError, match=reason):
            segment(segmenter, tree, tmp_path / "out", str(mask))
    segment(segmenter, tree, tmp_path / "out", overlays=())  # what ended before its first mask is in nobody's way


def test_the_command_passes_its_options_on(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", str(tree / "weights.safetensors")]
    common = ["segment", str(tree / "frames"), "--mask", str(tree / "first.png"), *weights, "--overlay"]
    options = [
        "--max-size",
        "48",
        "--memory-policy",
        "adaptive",
        "--flip",
        "--scales",
        "1",
        "0.75",
        "--object-chunk",
        "1",
    ]
    assert main([*common, "--out", str(tmp_path / "out"), *options]) == 0
    run = json.loads((tmp_path / "out" / ".run.json").read_text())["inference"]
    assert (run["max_size"], run["memory_policy"], run["flip"], run["scales"]) == (48, "adaptive", True, [1.0, 0.75])
    out = capsys.readouterr()
    assert "12 frames, " in out.out
    assert "worked on at 62 x 48 with 2 object slots need about" in out.err
    assert main([*common, "--out", str(tmp_path / "out")]) == 2
    assert "has results already" in capsys.readouterr().err
    assert main([*common, "--out", str(tmp_path / "out"), *options, "--continue"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*common, "--out", str(tmp_path / "out2"), "--memory-capacity", "1"]) == 2
    assert "capacity" in capsys.readouterr().err


def test_a_missing_extra_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"extra 'video': pip install 'munet_jax\[video\]'"):
        VideoFile(tree / "clip.mp4")
    with pytest.raises(InputError, match="extra 'video'"):
        files.check_overlays(("video",))
