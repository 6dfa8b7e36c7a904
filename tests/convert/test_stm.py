"""STM's weights, converted: the same masks as STM's in PyTorch over whole videos, and nothing lost on the way back."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import load_file, save_file

import munet_jax
from configs import common
from munet_jax.checkpoints.weight_file import read_origin
from munet_jax.cli import main
from munet_jax.convert.pytorch_files import read_state_dict
from munet_jax.convert.stm import stm_entries
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.models.create import variable_shapes
from munet_jax.models.initialisation import pytorch_initialised
from munet_jax.runtime.nested import flatten

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.stm_files import config_of, converted, moving_video, save, small_stm, state_of  # noqa: E402
from tests.convert.torch_stm import TorchSTM, random_stm  # noqa: E402

NETWORKS = ("stm", "munet")
VIDEOS = [((96, 160), 1), ((96, 160), 3), ((100, 154), 2)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def network() -> TorchSTM:
    return small_stm()


@pytest.fixture(scope="module")
def full() -> TorchSTM:
    return random_stm()


@pytest.fixture(scope="module")
def published(full: TorchSTM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published size."""
    return save(state_of(full), tmp_path_factory.mktemp("published") / "STM_weights.pth")


def segment(weights: Path, frames: list[np.ndarray], first: np.ndarray, **changes: Any) -> list[np.ndarray]:
    """Probabilities of the frames after the first, and the attention of the last one."""
    model, variables, config = munet_jax.load(weights)
    config.update_from_flattened_dict(changes)
    stream = VideoSegmenter(create_model(config.model) if changes else model, variables, config)
    stream.step(frames[0], first)
    return [stream.step(frame, outputs=("probabilities",)).probabilities for frame in frames[1:]]


def assert_same_masks(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True), start=1):
        assert theirs.std(axis=(0, 1)).min() > 0.02  # a picture of each object, not one value
        error = float(np.abs(ours - theirs).max())
        print(f"frame {number}: {error:.1e}")
        assert error <= 1e-4


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("size", "objects"), VIDEOS)
def test_masks_of_whole_videos_equal_stms(
    network: TorchSTM, tmp_path: Path, kind: str, size: tuple[int, int], objects: int
) -> None:
    frames, first = moving_video(size, objects)
    assert_same_masks(segment(converted(network, tmp_path, kind), frames, first), network.video(frames, first))


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("size", "objects"), VIDEOS)
def test_masks_of_whole_videos_equal_those_of_the_published_size(
    full: TorchSTM, published: Path, tmp_path: Path, kind: str, size: tuple[int, int], objects: int
) -> None:
    weights = tmp_path / "weights.safetensors"
    assert main(["convert", str(published), str(weights), "--network", kind]) == 0
    frames, first = moving_video(size, objects)
    assert_same_masks(segment(weights, frames, first), full.video(frames, first))


@pytest.mark.parametrize(
    ("changes", "frame"),
    [
        ({"model.padding": "mean"}, 1),
        ({"inference.memory_interval": 3}, 5),  # the fourth frame stays, and is read from the sixth on
        ({"inference.memory_interval": 100}, 7),
    ],
)
def test_the_video_tells_stms_ways_from_others(
    network: TorchSTM, tmp_path: Path, changes: dict[str, Any], frame: int
) -> None:
    frames, first = moving_video((100, 154), 2)
    found = segment(converted(network, tmp_path, "stm"), frames, first, **changes)
    errors = [np.abs(x - y).max() for x, y in zip(found, network.video(frames, first), strict=True)]
    assert max([0, *errors[: frame - 1]]) < 1e-4
    assert errors[frame - 1] > 1e-3


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_file_has_the_network_that_its_config_describes(published: Path, tmp_path: Path, kind: str) -> None:
    weights = tmp_path / "weights.safetensors"
    assert main(["convert", str(published), str(weights), "--network", kind]) == 0
    model, variables, config = munet_jax.load(weights)
    ours, shapes = (
        {path: (x.shape, x.dtype) for path, x in flatten_dict(tree).items()}
        for tree in (variables, variable_shapes(model))
    )
    assert ours == shapes
    expected = common.get_config()
    expected.model.update(fusion="none" if kind == "stm" else "msam", padding="black")
    expected.model.reference_encoder.others = True
    assert config.to_dict() == expected.to_dict()  # the paper's sizes, memory of every 5th frame and the previous one
    from_file = {"/".join(path) for path, _ in stm_entries_of(expected)}
    parameters = {"/".join(path) for path in flatten_dict(variables)}
    origin = read_origin(weights)
    assert {f"params/{name}" for name in origin["drawn"]} == {x for x in parameters if x.startswith("params/mu_layer/")}
    others = {"params/fusion/attention/bias", "params/fusion/attention/kernel"} if kind == "munet" else set()
    assert parameters - from_file == {f"params/{name}" for name in origin["drawn"]} | others


def stm_entries_of(config: ConfigDict) -> list[Any]:
    from munet_jax.convert.stm import STM

    return list(stm_entries(STM, config.model).values())


def test_what_stm_lacks_is_drawn_from_a_seed_and_msam_does_nothing(network: TorchSTM, tmp_path: Path) -> None:
    path = converted(network, tmp_path, "munet")
    one, two = load_file(path), load_file(converted(network, tmp_path, "munet"))
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)
    whole = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variable_shapes(munet_jax.load(path)[0])["params"])
    drawn = flatten(pytorch_initialised(whole, 0))  # as a run with the same seed would draw it
    for name in read_origin(path)["drawn"]:
        np.testing.assert_array_equal(one[f"params/{name}"], drawn[name])
        assert one[f"params/{name}"].any()
    assert not one["params/fusion/attention/kernel"].any()
    model, variables, config = munet_jax.load(tmp_path / "munet.safetensors")
    frames, first = moving_video((96, 160), 1, 2)
    stream = VideoSegmenter(model, variables, config)
    stream.step(frames[0], first)
    np.testing.assert_array_equal(stream.step(frames[1], outputs=("attention",)).attention, 0.5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("form", ["published", "plain"])
def test_the_way_back_is_exact(network: TorchSTM, tmp_path: Path, suffix: str, form: str) -> None:
    state = state_of(network)
    if form == "plain":  # of a program without DataParallel, and of a PyTorch that counted no batches
        state = {name.removeprefix("module."): x for name, x in state.items() if "num_batches" not in name}
    source, weights, back = tmp_path / f"stm{suffix}", tmp_path / "stm.safetensors", tmp_path / f"back{suffix}"
    if suffix == ".pth":  # also as PyTorch wrote files before 2020, as the published one is
        save(state, source, _use_new_zipfile_serialization=form == "plain")
    else:
        source = tmp_path / "source.safetensors"
        save_file(state, source)
    from munet_jax.checkpoints.from_pytorch import convert

    convert(source, weights, config_of(network))
    assert main(["convert", "--to-pytorch", str(weights), str(back)]) == 0
    found = read_state_dict(back)
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    if form == "published" and suffix == ".pth":
        torch.nn.DataParallel(network).load_state_dict(torch.load(back, weights_only=True), strict=True)


def test_half_precision_becomes_f32(network: TorchSTM, tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_torch

    from munet_jax.checkpoints.from_pytorch import convert

    state = {name: torch.from_numpy(array) for name, array in state_of(network).items()}
    for kind in (torch.float16, torch.bfloat16):
        half = {name: x.to(kind) if x.is_floating_point() else x for name, x in state.items()}
        torch.save(half, tmp_path / "half.pth")
        save_torch(half, tmp_path / "half.safetensors")
        for source in ("half.pth", "half.safetensors"):
            convert(tmp_path / source, tmp_path / "stm.safetensors", config_of(network))
            found = load_file(tmp_path / "stm.safetensors")
            assert {x.dtype for x in found.values()} == {np.dtype(np.float32)}
            bias = half["module.Decoder.pred2.bias"].float().numpy()
            np.testing.assert_array_equal(found["params/decoder/prediction/bias"], bias)


MEASURE = """
import sys
from munet_jax.cli import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print("jax" in sys.modules, code, 1024 * int(peak))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from Linux' /proc")
def test_the_converter_keeps_at_most_three_times_the_file_in_memory(published: Path, tmp_path: Path) -> None:
    """Python, numpy and PyTorch included."""
    weights = tmp_path / "stm.safetensors"
    plain = tmp_path / "plain.safetensors"
    save_file(read_state_dict(published), plain)
    for source, target, *options in (
        (published, weights),
        (published, weights, "--network", "munet"),
        (plain, weights),
        (weights, tmp_path / "back.pth", "--to-pytorch"),
    ):
        arguments = [sys.executable, "-c", MEASURE, "convert", str(source), str(target), *options]
        result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, env=environment())
        jax_loaded, code, peak = result.stdout.splitlines()[-1].split()
        times = int(peak) / source.stat().st_size
        print(f"{source.name} -> {target.name} {' '.join(options)}: {times:.2f} times the file")
        assert (jax_loaded, code) == ("False", "0")
        assert times <= 3


def environment() -> dict[str, str]:
    """Without what the tests ask of JAX, which is not needed."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_fusion_none_leaves_the_mu_layer_unused(network: TorchSTM, tmp_path: Path) -> None:
    """Masks do not change with what was drawn."""
    weights = converted(network, tmp_path, "stm")
    frames, first = moving_video((96, 160), 1, 3)
    model, variables, config = munet_jax.load(weights)
    found = []
    for factor in (1.0, -3.0):
        layer = jax.tree.map(functools.partial(np.multiply, np.float32(factor)), variables["params"]["mu_layer"])
        changed = {**variables, "params": variables["params"] | {"mu_layer": layer}}
        stream = VideoSegmenter(model, changed, config)
        stream.step(frames[0], first)
        found.append([stream.step(frame, outputs=("probabilities",)).probabilities for frame in frames[1:]])
    np.testing.assert_array_equal(*found)
