"""The shipped network: what it does with a fixed clip, and the command that shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import munet_jax
from munet_jax.checkpoints.weight_file import SHIPPED, find_weights
from munet_jax.cli import main
from munet_jax.commands.demonstration import CLIP, clip_scores
from munet_jax.data.masks import read_mask
from munet_jax.data.synthetic.videos import SyntheticSource

pytestmark = pytest.mark.xdist_group("demo")  # one run of the demo for all
EXPECTED_J = 0.971  # of the file that is in the package; a change of more than 0.005 is a change of the network


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(out)]) == 0
    return out


def test_the_shipped_network_does_what_it_did(shown: Path) -> None:
    found, copied = clip_scores(SyntheticSource(CLIP), shown / "results/masks")
    assert found["J"] == pytest.approx(EXPECTED_J, abs=0.005)
    assert found["J"] > copied["J"] + 0.1


def test_the_demo_leaves_pictures_and_masks(shown: Path) -> None:
    for name in ("masks.png", "motion.png", "results/overlay.gif"):
        with PILImage.open(shown / name) as picture:
            assert picture.width > 400
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100  # it shows something
    masks = sorted((shown / "results/masks").iterdir())
    assert len(masks) == CLIP.frames
    assert set(np.unique(read_mask(masks[-1]))) == {0, 1, 2}


def test_a_video_of_ones_own(shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(3):
        shutil.copy(shown / f"frames/{number:05d}.png", tmp_path / "mine")
    given = ["demo", str(tmp_path / "mine"), "--mask", str(shown / "first_mask.png"), "--out", str(tmp_path / "out")]
    assert main(given) == 0
    told = capsys.readouterr().out
    assert "J&F" not in told  # nobody knows the truth
    assert str(tmp_path / "out/masks.png") in told
    assert not (tmp_path / "out/frames").exists()
    mine, clips = (read_mask(folder / "results/masks/00002.png") for folder in (tmp_path / "out", shown))
    np.testing.assert_array_equal(mine, clips)
    assert main(given) == 2
    assert "is not empty; name another folder by --out, or give --overwrite" in capsys.readouterr().err
    assert main([*given, "--overwrite"]) == 0


@pytest.mark.parametrize("given", [["video"], ["--mask", "mask.png"]])
def test_a_video_without_a_mask_or_the_other_way(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *given]) == 2
    assert "is missing; without both it shows a clip of its own" in capsys.readouterr().err


def test_shipped_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lite", "lite-1"):
        assert find_weights(name) == SHIPPED / f"{name}.safetensors"
    monkeypatch.chdir(tmp_path)
    for path in ("./lite", "runs/lite", str(tmp_path / "lite"), "none", ""):
        assert find_weights(path) == Path(path)


def test_the_shipped_file_is_small_and_loads_as_a_network() -> None:
    assert find_weights("lite").stat().st_size < 12e6
    _, variables, config = munet_jax.load("lite")
    assert config.model.query_encoder.kind == "efficientnet_lite0"
    assert set(variables) == {"params", "batch_stats"}
    assert config.model.reference_encoder.others
    assert not munet_jax.load("lite-1")[2].model.reference_encoder.get("others", False)
