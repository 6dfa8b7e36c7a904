"""Files that are cut off, or whose bytes are changed: every reader gives what is right, or says in one line what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image as PILImage
from safetensors.numpy import save_file

import munet_jax
from configs import testing
from munet_jax.checkpoints.runs import config_of_run
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.convert.pytorch_files import read_state_dict
from munet_jax.convert.tensor_files import write_safetensors
from munet_jax.data.coco import CocoSource
from munet_jax.data.davis import video_names
from munet_jax.data.images import image_size, read_image
from munet_jax.data.mask_colours import read_colour_map
from munet_jax.data.masks import davis_palette, read_mask, write_mask
from munet_jax.data.video_files import VideoFile
from munet_jax.data.youtube_vos import read_meta
from munet_jax.evaluation.results_json import read_results
from munet_jax.runtime.errors import InputError
from tests.data.trees import coloured, label_map
from tests.examples import check, tried

LABELS = label_map((1, 2, 3), (24, 40))
FRAME = coloured(LABELS)


class Kind(NamedTuple):
    """A kind of file: how one is made, how it is read, and whether damage that is read is seen."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    exact: bool = False


def _image(pixels: np.ndarray, **options: Any) -> Callable[[Path], None]:
    return lambda path: PILImage.fromarray(pixels).save(path, **options)


def _exif_photo(path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    PILImage.fromarray(FRAME).save(path, exif=exif)


def _text(content: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(content if isinstance(content, str) else json.dumps(content))


def _video(path: Path) -> None:
    pytest.importorskip("av")
    from tests.data.videos import write_plain

    write_plain(path, [FRAME] * 4)


def _coco(path: Path) -> None:
    (path.parent / "annotations").mkdir(exist_ok=True)
    (path.parent / "train2017").mkdir(exist_ok=True)
    PILImage.fromarray(FRAME).save(path.parent / "train2017/1.jpg")
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "area": 9.0,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
        "iscrowd": 0,
    }
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 24, "width": 40}],
        "annotations": [annotation],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path.write_text(json.dumps(content))


def _read_coco(path: Path) -> list[Any]:
    path.rename(path.parent / "annotations/instances_train2017.json")
    source = CocoSource(path.parent)
    return [source.labels(index, 0) for index in range(len(source))]


def _weights(path: Path) -> None:
    config = testing.get_config()
    write_weights(path, {"params": {"a": {"kernel": np.arange(6, dtype=np.float32)}}, "batch_stats": {}}, config, 3)


def _load(path: Path) -> Any:
    from munet_jax.checkpoints.weight_file import read_weights

    variables, config, step = read_weights(path)
    return variables["params"]["a"]["kernel"].tolist(), config.to_json_best_effort(), step


def _pth(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": torch.arange(6.0)}, path)


META = {"videos": {"v": {"objects": {"1": {"category": "cat", "frames": ["00000", "00005"]}}}}}
SCORES = {"J": 0.5, "F": 0.5, "J&F": 0.5}
RESULTS = SCORES | {"sequences": {"v": SCORES | {"objects": {"1": SCORES}}}}

KINDS = [
    Kind("palette.png", lambda path: write_mask(path, LABELS), read_mask, exact=True),
    Kind("grey.png", _image(LABELS), read_mask, exact=True),
    Kind("colours.png", _image(davis_palette()[LABELS]), read_mask, exact=True),
    Kind("bits.png", _image(LABELS > 0), read_mask, exact=True),
    Kind("mask.gif", _image(LABELS), read_mask),
    Kind("mask.bmp", _image(LABELS), read_mask),
    Kind("frame.png", _image(FRAME), read_image, exact=True),
    Kind("frame.jpg", _exif_photo, read_image),
    Kind("size.jpg", _exif_photo, image_size),
    Kind("clip.mp4", _video, lambda path: [frame.shape for frame in VideoFile(path)]),
    Kind("clip.mkv", _video, lambda path: (VideoFile(path).most_frames(), [frame.shape for frame in VideoFile(path)])),
    Kind("meta.json", _text(META), read_meta),
    Kind("results.json", _text(RESULTS), read_results),
    Kind("coco.json", _coco, _read_coco),
    Kind("colours.json", _text({"#ff0000": 1, "0,255,0": 2}), read_colour_map),
    Kind("config.json", _text(testing.get_config().to_json_best_effort()), lambda path: config_of_run(path.parent)),
    Kind("list.txt", _text("cat\ndog\n"), video_names),
    Kind("weights.safetensors", _weights, _load, exact=True),
    Kind(
        "backbone.safetensors",
        lambda path: write_safetensors(path, {"format": "munet_jax resnet", "depth": "18"}, {"a/b": np.arange(4.0)}),
        lambda path: (read_backbone(path)[0]["a"]["b"].tolist(), read_backbone(path)[1]),
        exact=True,
    ),
    Kind("state.safetensors", lambda path: save_file({"conv1.weight": np.arange(6.0)}, path), read_state_dict),
    Kind("state.pth", _pth, read_state_dict),
]


@st.composite
def damages(draw: Any, length: int) -> list[tuple[str, int, int]]:
    """One to three of: cut off, a bit flipped, a byte replaced, a part taken away, a part doubled."""
    place = st.integers(0, max(0, length - 1))
    kinds = st.sampled_from(["cut", "flip", "flip", "byte", "remove", "double"])
    return [(draw(kinds), draw(place), draw(st.integers(0, 255))) for _ in range(draw(st.integers(1, 3)))]


def damaged(content: bytes, found: list[tuple[str, int, int]]) -> bytes:
    """The content after the damages."""
    changed = bytearray(content)
    for kind, place, value in found:
        if kind == "cut":
            del changed[place:]
        elif place < len(changed) and kind == "flip":
            changed[place] ^= 1 << value % 8
        elif place < len(changed) and kind == "byte":
            changed[place] = value
        elif kind == "remove":
            del changed[place : place + value]
        elif kind == "double":
            changed[place:place] = changed[place : place + value]
    return bytes(changed)


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@tried
def test_damaged_files_are_read_right_or_refused(kind: Kind, examples: int, tmp_path: Path) -> None:
    path = tmp_path / kind.name
    kind.write(path)
    content = path.read_bytes()
    whole = kind.read(path)

    def holds(found: list[tuple[str, int, int]]) -> None:
        path.write_bytes(damaged(content, found))
        try:
            read = kind.read(path)
        except InputError as error:
            told = str(error)
        else:
            told = ""
            assert not kind.exact or _same(read, whole)
        assert "\n" not in told
        assert len(told) < 900

    check(holds, examples, found=damages(len(content)))


def test_an_undamaged_file_of_weights_is_a_network(tmp_path: Path, variables: Any) -> None:
    write_weights(
        tmp_path / "w.safetensors", {"params": variables["params"], "batch_stats": {}}, testing.get_config(), 3
    )
    model, found, config = munet_jax.load(tmp_path / "w.safetensors")
    assert config.model.key_dim == testing.get_config().model.key_dim
    assert found["params"].keys() == variables["params"].keys()
    content = bytearray((tmp_path / "w.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="w.safetensors: is damaged: it does not hold what was written"):
        munet_jax.load(tmp_path / "w.safetensors")
