"""The command `munet`: preparing and checking data, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.cli import main
from munet_jax.data.masks import write_mask
from tests.data.test_static import make_coco, make_static
from tests.data.trees import coloured, label_map, make_davis, make_youtube_vos
from tests.shared_data import shared

ROOT = Path(__file__).parents[2]
TESTING = str(ROOT / "configs/testing.py")


def check_data(kind: str, root: Path, *more: str) -> int:
    options = [f"--config.data.kind={kind}", "--config.evaluation.kind=synthetic", f"--data-root={root}"]
    return main(["check-data", "--config", TESTING, *options, "--config.evaluation.synthetic.videos=1", *more])


def test_good_data_has_no_problems_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "davis")
    assert check_data("davis", root, "--sheet", str(tmp_path / "sheet.png"), "--config.data.still_share=0.5") == 0
    told = capsys.readouterr()
    assert "config.data, davis2017-train: 12 frames and 12 label maps looked at, 0 problems" in told.out
    assert "no problems" in told.out
    with PILImage.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height / 4
        assert len(sheet.convert("RGB").getcolors(1 << 24) or ()) > 100  # it shows something


def _cut(path: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: len(content) // 2])

    return damage


def _save(path: str, pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda root: PILImage.fromarray(pixels).save(root / path)


def _masks_alone(root: Path) -> None:
    for path in (root / "Annotations/480p/dog").glob("*"):
        path.unlink()


def _twice(root: Path) -> None:
    shutil.copy(root / "JPEGImages/480p/dog/00001.jpg", root / "JPEGImages/480p/dog/00001.png")


def _resize_all(root: Path) -> None:
    for kind in ("JPEGImages", "Annotations"):
        path = next((root / kind / "480p/dog").glob("00003.*"))
        PILImage.open(path).resize((32, 24), PILImage.Resampling.NEAREST).save(path)


DOG = "JPEGImages/480p/dog/"
DOG_MASKS = "Annotations/480p/dog/"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "frame cut off": (_cut(DOG + "00004.jpg"), r"dog/00004.jpg: cannot be read"),
    "frame empty": (lambda root: (root / DOG / "00004.jpg").write_bytes(b""), "dog/00004.jpg: not an image"),
    "frame is text": (lambda root: (root / DOG / "00004.jpg").write_text("hello"), "dog/00004.jpg: not an image"),
    "frame missing": (lambda root: [(root / folder).unlink() for folder in (DOG + "00003.jpg", DOG_MASKS + "00003.png")],
                      "dog: frame 4 follows frame 2: 1 frames are missing"),
    "all frames missing": (lambda root: shutil.rmtree(root / DOG), "480p/dog: listed, but there is no such folder"),
    "frame twice": (_twice, "dog: both 00001.jpg and 00001.png exist"),
    "16-bit frame": (lambda root: [(root / DOG / "00002.jpg").unlink(),
                                   _save(DOG + "00002.png", np.zeros((48, 64), np.uint16))(root)],
                     "dog/00002.png: has I;16 pixels"),
    "frame of another size": (_save(DOG + "00002.jpg", np.zeros((24, 32, 3), np.uint8)),
                              r"00002.png: the label map is 64 x 48, but its frame .*00002.jpg is 32 x 24"),
    "frame and mask of another size": (_resize_all, r"dog: frames of different sizes \(5 of 64 x 48, 1 of 32 x 24"),
    "mask cut off": (_cut(DOG_MASKS + "00004.png"), r"dog/00004.png: cannot be read"),
    "mask of another size": (lambda root: write_mask(root / DOG_MASKS / "00004.png", label_map(size=(24, 32))),
                             r"00004.png: the label map is 32 x 24"),
    "mask anti-aliased": (_save(DOG_MASKS + "00004.png", np.arange(48 * 64).reshape(48, 64).astype(np.uint8)),
                          "00004.png: 256 distinct grey values"),
    "mask in foreign colours": (_save(DOG_MASKS + "00004.png", np.full((48, 64, 3), 77, np.uint8)),
                                "00004.png: 1 distinct colours, 1 of them not in the DAVIS palette"),
    "16-bit mask": (_save(DOG_MASKS + "00004.png", np.zeros((48, 64), np.uint16)), "00004.png: has 16-bit"),
    "transparent mask": (_save(DOG_MASKS + "00004.png", np.zeros((48, 64, 4), np.uint8)), "00004.png: has transparent"),
    "first mask empty": (lambda root: write_mask(root / DOG_MASKS / "00000.png", np.zeros((48, 64), np.uint8)),
                         "dog/00000: the first label map shows no object"),
    "first mask missing": (lambda root: (root / DOG_MASKS / "00000.png").unlink(), "00000.png: the first frame has no"),
    "no masks": (_masks_alone, "dog: holds no label map"),
    "list missing": (lambda root: (root / "ImageSets/2017/train.txt").unlink(), "train.txt: there is no such list"),
    "list empty": (lambda root: (root / "ImageSets/2017/train.txt").write_text(""), "train.txt: lists no video"),
    "list leads outside": (lambda root: (root / "ImageSets/2017/train.txt").write_text("../../etc"),
                           "'../../etc' does not name a video folder"),
    "no resolution": (lambda root: (root / "JPEGImages/480p").rename(root / "JPEGImages/1080p"),
                      "480p: there is no such resolution; found: 1080p"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_trees_fail_with_the_right_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "davis")
    damage, message = DAMAGES[case]
    damage(root)
    assert check_data("davis", root) == 1
    problems = [line for line in capsys.readouterr().err.splitlines() if line.startswith("problem: ")]
    assert any(re.search(message, line) for line in problems), problems
    assert all("cat/" not in line for line in problems)  # what is whole is not blamed


def test_all_problems_are_listed_not_the_first_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "davis")
    _cut("JPEGImages/480p/cat/00002.jpg")(root)
    _cut(DOG_MASKS + "00004.png")(root)
    assert check_data("davis", root) == 1
    told = capsys.readouterr()
    assert "2 problems" in told.out
    assert "cat/00002.jpg" in told.err
    assert "dog/00004.png" in told.err


def test_other_kinds_of_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_youtube_vos(tmp_path / "yt")
    assert check_data("youtube_vos", tmp_path / "yt") == 0
    make_static(tmp_path / "static/ECSSD", "ecssd")
    make_coco(tmp_path / "static/COCO")
    sets = ["--config.data.static.sets.ecssd=ECSSD", "--config.data.static.sets.coco=COCO"]
    assert check_data("static", tmp_path / "static", *sets) == 0
    assert "ecssd: 3 frames and 3 label maps looked at" in capsys.readouterr().out
    _cut("ECSSD/images/0001.jpg")(tmp_path / "static")
    assert check_data("static", tmp_path / "static", *sets) == 1
    assert "problem: " + str(tmp_path / "static/ECSSD/images/0001.jpg") in capsys.readouterr().err


def test_configs_that_do_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", "--config", str(tmp_path / "nope.py")]) == 2
    assert main(["check-data", "--config", TESTING, "--config.data.knd=davis"]) == 2
    errors = capsys.readouterr().err
    assert "nope.py" in errors
    assert "knd" in errors
    assert "Traceback" not in errors
    with pytest.raises(SystemExit):
        main(["check-masks", str(tmp_path), "--config.x=1"])


def test_check_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "davis")
    masks, frames = root / "Annotations/480p", root / "JPEGImages/480p"
    assert main(["check-masks", str(masks)]) == 0
    assert main(["check-masks", str(masks), "--frames", str(frames)]) == 0
    assert "12 label maps and the sizes of 12 frames" in capsys.readouterr().out
    write_mask(masks / "dog/00003.png", label_map(size=(24, 32)))
    write_mask(masks / "dog/00009.png", label_map())
    write_mask(masks / "cat/00000.png", np.zeros((48, 64), np.uint8))
    (masks / "cat/00004.png").write_text("x")
    assert main(["check-masks", str(masks), "--frames", str(frames)]) == 1
    errors = capsys.readouterr().err
    for expected in (
        "dog/00003.png: the label map is 32 x 24, but its frame is 64 x 48 (width x height): it is 0.5 times as large",
        "dog: label maps of different sizes",
        "dog/00009.png: there is no frame of this name",
        "dog: frame 9 follows frame 5: 3 frames are missing",
        "cat/00000.png: the first label map shows no object",
        "cat/00004.png: not an image",
    ):
        assert expected in errors
    shutil.rmtree(masks / "dog")
    assert main(["check-masks", str(masks), "--frames", str(frames)]) == 1
    assert f"{masks / 'dog'}: there is no such folder, but there are frames of it" in capsys.readouterr().err
    assert main(["check-masks", str(tmp_path / "nowhere")]) == 2
    assert main(["check-masks", str(frames)]) == 2


def test_check_masks_of_still_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [(24, 32), (32, 24), (48, 64), (64, 48)]
    coco = ["000000000009", "000000000025", "000000000030", "000000000034", "000000000036", "000000000042"]
    sets = {"coco": coco, "words": ["bike", "boxing", "camel", "dog"], "horses": [f"horse{k:03}" for k in range(1, 9)]}
    for called, names in sets.items():
        for k, name in enumerate(names):
            write_mask(tmp_path / called / f"{name}.png", label_map(size=sizes[k % 4]))
    assert main(["check-masks", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "missing" not in err
    assert all(f"{tmp_path / called}: taken for masks of still images" in out for called in sets)
    write_mask(tmp_path / "coco/000000000034.png", np.zeros((24, 32), np.uint8))
    (tmp_path / "words/dog.png").write_text("x")
    assert main(["check-masks", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "coco/000000000034.png: shows no object" in errors
    assert "words/dog.png: not an image" in errors


def test_check_masks_of_videos_with_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every 5th frame, and one of them missing: still a video."""
    for number in (0, 5, 10, 20, 25):
        write_mask(tmp_path / f"cat/{number:05}.png", label_map())
    assert main(["check-masks", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "cat: frame 20 follows frame 10: 1 frames are missing" in err
    assert "still images" not in out


def test_training_data_alone_where_the_evaluation_has_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the documentation has it: a protocol's config, its own root, nothing else."""
    make_static(tmp_path / "ECSSD", "ecssd")
    sets = [f"--config.data.static.sets.{name}=" for name in ("msra10k", "voc2012_objects", "coco", "pascal_s")]
    command = ["check-data", "--config", str(ROOT / "configs/protocol3_static.py"), f"--data-root={tmp_path}", *sets]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "config.data, ecssd: 3 frames" in told
    assert "config.evaluation: not looked at; name its folder by --config.evaluation.davis.root=DIR" in told


def test_data_of_the_same_name_is_not_taken_for_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("train", "val"):
        make_davis(tmp_path / folder / "davis")
        for kind in ("JPEGImages", "Annotations"):
            (tmp_path / folder / "davis" / kind / "480p").rename(tmp_path / folder / kind)
            (tmp_path / folder / kind).rename(tmp_path / folder / "davis" / (kind + "_"))
            (tmp_path / folder / "davis" / kind).rmdir()
            (tmp_path / folder / "davis" / (kind + "_")).rename(tmp_path / folder / "davis" / kind)
    (tmp_path / "val/davis/JPEGImages/dog/00002.jpg").write_text("x")
    roots = [
        f"--config.data.folder.root={tmp_path}/train/davis",
        f"--config.evaluation.folder.root={tmp_path}/val/davis",
    ]
    kinds = ["--config.data.kind=folder", "--config.evaluation.kind=folder"]
    assert main(["check-data", "--config", TESTING, *kinds, *roots]) == 1
    assert "val/davis/JPEGImages/dog/00002.jpg: not an image" in capsys.readouterr().err


def test_what_check_data_is_told_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", "--config", TESTING, "DAVIS"]) == 2
    assert (
        "'DAVIS' is not expected here; give values as --NAME=VALUE, folders of data as --data-root=DIR"
        in capsys.readouterr().err
    )
    for sheet in (tmp_path / "nowhere/sheet.png", tmp_path / "sheet.jpg"):
        assert main(["check-data", "--config", TESTING, "--sheet", str(sheet)]) == 2
        assert f"--sheet {sheet}: give a .png in a folder that exists" in capsys.readouterr().err


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_davis(tmp_path / "davis")
    command = ["prepare", "munet_davis/2017", "--source", str(root), "--data-dir", str(tmp_path / "tfds")]
    assert main(command) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("prepared: "))
    assert json.loads((folder / "metadata.json").read_text())["videos"]["train"][0]["name"] == "cat"
    prepared = [f"--config.data.tfds.data_dir={tmp_path / 'tfds'}", "--config.data.tfds.dataset=munet_davis/2017"]
    assert check_data("tfds", tmp_path, *prepared) == 0
    assert "munet_davis/2017-train: 12 frames" in capsys.readouterr().out
    assert main(["prepare", "davis", *command[2:]]) == 2
    assert main(command) == 0
    assert f"left as it was: {folder} (delete it to prepare it again)" in capsys.readouterr().out


def test_a_frame_beyond_pillows_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_davis(tmp_path / "davis")
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", 48 * 64 // 3)
    assert check_data("davis", root) == 1
    assert "00000.jpg: cannot be read (Image size (3072 pixels) exceeds limit" in capsys.readouterr().err


def _contents(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_read_only_data_and_links(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "davis")
    (root / "JPEGImages/480p/dog").rename(tmp_path / "elsewhere")
    (root / "JPEGImages/480p/dog").symlink_to(tmp_path / "elsewhere")
    (root / "JPEGImages/480p/cat/00002.jpg").rename(root / "JPEGImages/480p/cat/00002.JPG")
    PILImage.fromarray(coloured(label_map(shift=3))).save(root / "JPEGImages/480p/cat/00003.png")
    (root / "JPEGImages/480p/cat/00003.jpg").unlink()
    before = _contents(root)
    assert check_data("davis", root) == 0
    assert _contents(root) == before  # nothing is written beside the data
    if os.geteuid() == 0:
        return  # who may write everywhere cannot be kept from it
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert check_data("davis", root) == 0
    finally:
        for path in root.rglob("*"):
            path.chmod(0o755)


@pytest.mark.parametrize(
    ("kind", "folder", "options"),
    [
        ("davis", "davis2017_multi", ["--config.data.davis.split=val"]),
        ("youtube_vos", "ytvos_sample", ["--config.data.youtube_vos.split=valid"]),
        ("static", "static", ["--config.data.static.sets.images=COCO128"]),
    ],
)
def test_real_data_passes(kind: str, folder: str, options: list[str]) -> None:
    assert check_data(kind, shared(folder), *options) == 0
