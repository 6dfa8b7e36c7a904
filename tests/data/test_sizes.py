"""A label map of another size than its frame: the likely cause is told, wherever it is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.cli import main
from munet_jax.data.folder import FolderSource
from munet_jax.data.masks import write_mask
from munet_jax.data.sizes import explain_size
from munet_jax.runtime.errors import InputError
from tests.data.trees import coloured, label_map

FRAME = (480, 854)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        ((854, 480), "width and height are exchanged, as by a quarter turn"),
        (
            (120, 214),
            "it is 0.251 times as large, so it was made of a thumbnail or a smaller version; take both from one",
        ),
        ((1080, 1920), "it is 2.25 times as large, so it was made of a larger version"),
        ((480, 864), "it looks padded, as networks and codecs do; cut off"),
        ((480, 856), "it looks padded"),
        ((427, 240), "it has the shape turned by a quarter, at another size"),
        ((480, 480), "it has another shape, so it is of another picture or of a cut-out"),
        ((100, 60), "it fits the cover"),
    ],
)
def test_causes(found: tuple[int, int], cause: str) -> None:
    text = explain_size(found, FRAME, {"the cover": (100, 60)})
    assert text.startswith(f"{found[1]} x {found[0]}, but its frame is 854 x 480 (width x height): {cause}")


def turned_photo(path: Path, labels: np.ndarray, orientation: int) -> None:
    """A photo that shows `labels` in colours as it lies in the file."""
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(coloured(labels)).save(path, exif=exif, quality=95)


def test_masks_of_turned_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mask of the picture as viewers show it fits; one of the pixels as they lie in the file is told what it is."""
    labels = label_map((1, 2))
    frames, masks = tmp_path / "JPEGImages/a", tmp_path / "Annotations/a"
    turned_photo(frames / "00000.jpg", labels, 6)
    write_mask(masks / "00000.png", np.rot90(labels, -1).copy())
    source = FolderSource(tmp_path)
    assert source.frame(0, 0).shape[:2] == source.labels(0, 0).shape == (64, 48)
    red = source.frame(0, 0)[source.labels(0, 0) == 1]
    assert (red[:, 0].astype(int) > red[:, 1].astype(int) + 100).mean() > 0.9  # object 1 lies under its mask
    assert main(["check-masks", str(tmp_path / "Annotations"), "--frames", str(tmp_path / "JPEGImages")]) == 0

    write_mask(masks / "00000.png", labels)
    expected = (
        r"64 x 48, but its frame .*is 48 x 64 .*: it fits the picture as it lies in its file.* EXIF orientation 6; turn"
    )
    with pytest.raises(InputError, match=expected):
        source.labels(0, 0)
    capsys.readouterr()
    assert main(["check-masks", str(tmp_path / "Annotations"), "--frames", str(tmp_path / "JPEGImages")]) == 1
    assert (
        "it fits the picture as it lies in its file, which viewers turn by its EXIF orientation 6"
        in capsys.readouterr().err
    )


def test_turned_photos_are_told_where_sizes_do_not_show_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        turned_photo(tmp_path / f"JPEGImages/a/{number}.jpg", label_map((1, 2)), 3 if number else 1)
        write_mask(tmp_path / f"Annotations/a/{number}.png", label_map((1, 2)))
    config = str(Path(__file__).parents[2] / "configs/testing.py")
    kind = [
        "--config.data.kind=folder",
        f"--config.data.folder.root={tmp_path}",
        "--config.evaluation.synthetic.videos=1",
    ]
    assert main(["check-data", "--config", config, *kind]) == 0
    told = capsys.readouterr()
    assert "/a/1, are turned or mirrored by an EXIF orientation" in told.err
    assert "warning: 2 of 3 frames, such as " in told.err
    assert "no problems, 1 warnings" in told.out
