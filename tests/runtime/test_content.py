"""Files that are not what they are called, text with byte order marks, checksums, and what systems leave in folders."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import munet_jax
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.convert.pytorch_files import read_state_dict
from munet_jax.data.davis import video_names
from munet_jax.data.images import read_image
from munet_jax.data.masks import read_mask
from munet_jax.data.video_files import VideoFile
from munet_jax.data.youtube_vos import read_meta
from munet_jax.runtime import content
from munet_jax.runtime.clutter import is_clutter, is_in_clutter, list_files, list_folders
from munet_jax.runtime.content import checksum, impostor, read_json, read_text
from munet_jax.runtime.errors import InputError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46827520\n"
IMPOSTORS = {
    POINTER: "is a Git LFS pointer, not the file .*git lfs pull",
    b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>": "is a web page, not the file .*download it again",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "is a web page",
    b"": "is empty; copy or download it again",
    bytes(600): "begins with nothing but zeros",
}
READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("w.safetensors", munet_jax.load),
    ("w.safetensors", read_backbone),
    ("w.safetensors", read_state_dict),
    ("w.pth", read_state_dict),
    ("clip.mp4", VideoFile),
    ("00000.png", read_mask),
    ("00000.jpg", read_image),
    ("meta.json", read_meta),
]


@pytest.mark.parametrize(("name", "read"), READERS)
@pytest.mark.parametrize("found", IMPOSTORS)
def test_downloads_that_failed_are_named(tmp_path: Path, found: bytes, name: str, read: Callable[[Path], Any]) -> None:
    if name.endswith(".mp4"):
        pytest.importorskip("av")
    if name.endswith(".pth"):
        pytest.importorskip("torch")
    (tmp_path / name).write_bytes(found)
    with pytest.raises(InputError, match=f"{name}: .*{IMPOSTORS[found]}") as caught:
        read(tmp_path / name)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\x03\x04", b"{", b"\x00\x00\x00\x18ftyp", b"\x00"]
)
def test_true_files_are_no_impostors(head: bytes) -> None:
    assert impostor(head + bytes(range(1, 50))) is None


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_and_json_with_any_byte_order_mark(tmp_path: Path, coding: str) -> None:
    path = tmp_path / "x.json"
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(coding, b"")
    path.write_bytes(mark + json.dumps({"ü": 1}, ensure_ascii=False).encode(coding))
    assert read_json(path, "") == {"ü": 1}
    (tmp_path / "x.txt").write_bytes(mark + "bär\ndog\n".encode(coding))
    assert read_text(tmp_path / "x.txt") == "bär\ndog\n"
    assert video_names(tmp_path / "x.txt") == ["bär", "dog"]


@pytest.mark.parametrize("text", ["", "{", "nothing", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x.json: "):
        read_json(tmp_path / "x.json", "do that")
    with pytest.raises(InputError, match=r"none.json: there is no such file; do that"):
        read_json(tmp_path / "none.json", "do that")


def test_checksums_are_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"abc")
    assert checksum(one) == zlib.crc32(b"abc", zlib.crc32(b"3"))
    for length in (0, 10, 5000):
        one.write_bytes(bytes(length))
        other.write_bytes(bytes(length))
        assert checksum(one) == checksum(other)
        other.write_bytes(bytes(length + 1))
        assert checksum(one) != checksum(other)
    monkeypatch.setattr(content, "_BLOCK", 16)  # a large file, of which blocks are read
    content_of = bytearray(5000)
    one.write_bytes(content_of)
    for place in (0, 4999):
        content_of[place] = 1
        other.write_bytes(content_of)
        assert checksum(one) != checksum(other)
        content_of[place] = 0
    other.write_bytes(bytes(5000))
    assert checksum(one) == checksum(other)


CLUTTER = (
    "@eaDir",
    "__MACOSX",
    "$RECYCLE.BIN",
    ".ipynb_checkpoints",
    ".Trash-1000",
    "#recycle",
    "System Volume Information",
)
CLUTTER_FILES = ("Thumbs.db", "desktop.ini", ".DS_Store", "._00000.png", ".half.0123456789ab.png")


def test_what_systems_leave(tmp_path: Path) -> None:
    for name in (*CLUTTER, "a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "00000.png").touch()
    for name in CLUTTER_FILES:
        (tmp_path / "a" / name).touch()
    (tmp_path / "b/loop").symlink_to(tmp_path)
    assert sorted(list_folders(tmp_path)) == ["a", "b"]
    assert list_files(tmp_path) == [tmp_path / "a/00000.png", tmp_path / "b/c/00000.png"]
    assert all(map(is_clutter, (*CLUTTER, *CLUTTER_FILES, "THUMBS.DB")))
    assert not any(map(is_clutter, ("a", "00000.png", "@home", "eaDir", "recycle", "thumbs")))
    assert is_in_clutter(Path("a/__MACOSX/b/1.png"))
    assert not is_in_clutter(Path("a/b/1.png"))
