"""Submissions: what is packed passes the verifier, and every way to pack it wrongly is refused with its reason."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from configs import common
from munet_jax.cli import main
from munet_jax.data.masks import write_mask
from munet_jax.evaluation.submission import Layout, layout_of, verify_submission, write_submission
from munet_jax.runtime.errors import InputError
from tests.data.trees import label_map, make_davis, make_youtube_vos
from tests.shared_data import shared

ROOT = Path(__file__).parents[2]


def layout(kind: str, root: Path, **fields: str) -> Layout:
    config = common.get_config().evaluation
    config.kind = kind
    config[kind].root = str(root)
    config[kind].update(fields)
    return layout_of(config)


def png(labels: np.ndarray) -> bytes:
    file = io.BytesIO()
    image = PILImage.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    image.save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def valid(tmp_path: Path) -> tuple[Path, Layout]:
    """A YouTube-VOS valid split (video `late` has object 1, and 2 from frame 10 on; `pair` has 1 and 3) and masks for it."""
    root = make_youtube_vos(tmp_path / "data", "valid")
    for video, given in (("late", (1, 2)), ("pair", (1, 3))):
        for number in range(0, 16, 5):
            seen = tuple(i for i in given if i != 2 or number >= 10)
            write_mask(tmp_path / "masks" / video / f"{number:05}.png", label_map(seen, shift=number // 5))
    return tmp_path / "masks", layout("youtube_vos", root, frames="all")


def test_youtube_vos_masks_are_packed_as_the_server_takes_them(valid: tuple[Path, Layout], tmp_path: Path) -> None:
    masks, where = valid
    write_mask(masks / "late" / "00003.png", label_map((1,)))  # a frame that is not submitted
    path = write_submission(where, masks, tmp_path / "out" / "submission.zip")
    with zipfile.ZipFile(path) as archive:
        names = [f"Annotations/{video}/{number:05}.png" for video in ("late", "pair") for number in range(0, 16, 5)]
        assert archive.namelist() == names
        assert archive.read(names[2]) == (masks / "late/00010.png").read_bytes()
    assert verify_submission(where, path) == []
    before = path.read_bytes()
    assert write_submission(where, masks, path).read_bytes() == before


def test_davis_masks_lie_at_the_top_and_every_frame_is_there(tmp_path: Path) -> None:
    root = make_davis(tmp_path / "data", split="test-dev", frames=3)
    for video in ("cat", "dog"):  # masks of the first frames alone are public
        for number in (1, 2):
            (root / f"Annotations/480p/{video}/{number:05}.png").unlink()
        for number in range(3):
            write_mask(tmp_path / f"masks/{video}/{number:05}.png", label_map((1, 2), shift=number))
    where = layout("davis", root, split="test-dev")
    path = write_submission(where, tmp_path / "masks", tmp_path / "submission.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{video}/{number:05}.png" for video in ("cat", "dog") for number in range(3)]
    assert verify_submission(where, path) == []


def test_the_real_sample(tmp_path: Path) -> None:
    root = shared("ytvos_sample")
    where = layout("youtube_vos", root)
    video = where.source.video(0)
    for number, name in enumerate(video.frame_names):
        write_mask(tmp_path / "masks" / video.name / f"{name}.png", where.source.labels(0, number))
    path = write_submission(where, tmp_path / "masks", tmp_path / "submission.zip")
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 15
    options = ["--config", str(ROOT / "configs/common.py"), "--config.evaluation.kind=youtube_vos"]
    options += [f"--config.evaluation.youtube_vos.root={root}"]
    assert main(["check-zip", str(path), *options]) == 0
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    assert main(["check-zip", str(path), *options]) == 1


Entries = dict[str, bytes]
FIRST = "Annotations/late/00000.png"


def _rename(old: str, new: str) -> Callable[[Entries], object]:
    return lambda entries: entries.update({new: entries.pop(old)})


def _image(mode: str, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    PILImage.fromarray(picture).convert(mode).save(file, format=form)
    return file.getvalue()


def _wide() -> bytes:
    file = io.BytesIO()
    PILImage.fromarray(np.ones((48, 64), np.uint16)).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.pop("Annotations/late/00005.png"), r"Annotations/late/00005.png: is missing"),
        (lambda e: [e.pop(n) for n in list(e) if "pair" in n], r"4 of 8 masks are missing in all"),
        (lambda e: e.update({"Annotations/late/00003.png": e[FIRST]}), r"late/00003.png: there is no such frame to submit"),
        (lambda e: e.update({"__MACOSX/Annotations/._late": b""}), r"__MACOSX/Annotations/._late: is no mask; leave out"),
        (lambda e: e.update({"Annotations/readme.txt": b""}), r"readme.txt: is no mask; masks are .png"),
        (_rename(FIRST, "late/00000.png"), r"^late/00000.png: lies in the wrong folder; Annotations/ must be at the top"),
        (_rename(FIRST, "mine/" + FIRST), r"mine/Annotations/late/00000.png: lies in the wrong folder"),
        (_rename(FIRST, "../late/00000.png"), r"\.\./late/00000.png: leaves the folder"),
        (_rename(FIRST, "/Annotations/late/00000.png"), r"leaves the folder"),
        (lambda e: e.update({FIRST: png(label_map((1,), (24, 64)))}), r"is 64 x 24, but the frame is 64 x 48"),
        (lambda e: e.update({FIRST: _image("RGB")}), r"00000.png: is PNG with mode RGB; save it as a palette PNG"),
        (lambda e: e.update({FIRST: _image("L", "JPEG")}), r"00000.png: is JPEG with mode L"),
        (lambda e: e.update({FIRST: _image("L")}), r"00000.png: \d+ distinct grey values"),
        (lambda e: e.update({FIRST: _wide()}), r"00000.png: is PNG with mode I;16"),
        (lambda e: e.update({FIRST: e[FIRST][:50]}), r"00000.png: .*(damaged|not an image)"),
        (lambda e: e.update({FIRST: png(label_map((1, 9)))}), r"00000.png: shows ids 9, but the objects up to this frame are 1"),
        (lambda e: e.update({FIRST: png(label_map((1, 2)))}), r"00000.png: shows ids 2, but the objects up to this frame are 1"),
        (lambda e: e.update({FIRST: png(label_map(()))}), r"00000.png: does not show object 1, whose mask is given"),
    ],
)  # fmt: skip
def test_wrong_zips_are_refused(
    valid: tuple[Path, Layout], change: Callable[[Entries], object], said: str, tmp_path: Path
) -> None:
    masks, where = valid
    with zipfile.ZipFile(write_submission(where, masks, tmp_path / "right.zip")) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    wrong = tmp_path / "wrong.zip"
    with zipfile.ZipFile(wrong, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    problems = verify_submission(where, wrong)
    assert any(re.search(said, problem) for problem in problems), problems


def test_zips_that_are_damaged_or_hold_a_mask_twice(valid: tuple[Path, Layout], tmp_path: Path) -> None:
    masks, where = valid
    right = write_submission(where, masks, tmp_path / "right.zip")
    content = bytearray(right.read_bytes())
    wrong = tmp_path / "wrong.zip"
    wrong.write_bytes(content[: len(content) // 2])
    assert re.search("wrong.zip: cannot be opened as a zip", verify_submission(where, wrong)[0])
    assert re.search("none.zip: cannot be opened", verify_submission(where, tmp_path / "none.zip")[0])
    content[content.index(b"IDAT") + 8] ^= 255  # inside the first mask
    wrong.write_bytes(content)
    assert re.search("late/00000.png: is damaged", verify_submission(where, wrong)[0])
    content = bytearray(right.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 9  # a way of packing that Python does not know
    wrong.write_bytes(content)
    assert re.search("late/00000.png: is damaged or packed by a method", verify_submission(where, wrong)[0])
    shutil.copy(right, wrong)
    with zipfile.ZipFile(wrong, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(FIRST, (masks / "late/00000.png").read_bytes())
    assert f"{FIRST}: is in it 2 times" in verify_submission(where, wrong)


def test_nothing_is_packed_that_would_be_refused(valid: tuple[Path, Layout], tmp_path: Path) -> None:
    masks, where = valid
    write_mask(masks / "pair/00005.png", label_map((1, 7)))
    with pytest.raises(InputError, match="pair/00005.png: shows ids 7.*no zip was written"):
        write_submission(where, masks, tmp_path / "submission.zip")
    (masks / "pair/00005.png").unlink()
    with pytest.raises(InputError, match="pair/00005.png: there is no such mask"):
        write_submission(where, masks, tmp_path / "submission.zip")
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".*"))


def test_only_benchmarks_take_submissions() -> None:
    config = common.get_config().evaluation
    config.kind = "synthetic"
    with pytest.raises(InputError, match="submissions are made for davis and youtube_vos"):
        layout_of(config)


def test_frames_are_those_that_meta_json_lists(valid: tuple[Path, Layout]) -> None:
    listed = json.loads((valid[0].parent / "data/valid/meta.json").read_text())["videos"]["late"]["objects"]["1"][
        "frames"
    ]
    assert list(valid[1].source.video(0).frame_names) == listed
