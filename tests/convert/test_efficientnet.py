"""EfficientNet-Lite0 from PyTorch weights: the same features, files through the command, and other networks refused."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from munet_jax.cli import main
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.convert.efficientnet import efficientnet_lite0_from_pytorch
from munet_jax.models.efficientnet import EfficientNetLite0
from munet_jax.runtime.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.torch_efficientnet import TorchEfficientNetLite0  # noqa: E402 - needs torch


@pytest.fixture(scope="module")
def network() -> Any:
    """Random weights and statistics."""
    torch.manual_seed(0)
    network = TorchEfficientNetLite0().eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif "_bn" in name and "num" not in name:
                tensor.normal_(0.0 if "mean" in name or "bias" in name else 1.0, 0.2)
    return network


def state_of(network: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("size", [(64, 96), (48, 80)])
def test_features_equal_pytorchs(network: Any, size: tuple[int, int]) -> None:
    variables = efficientnet_lite0_from_pytorch(state_of(network))
    image = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    found = jax.jit(EfficientNetLite0().apply)(variables, jnp.asarray(image))
    with torch.no_grad():
        expected = network(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    for ours, theirs, stride in zip(found, expected, (4, 8, 16), strict=True):
        theirs = theirs.numpy().transpose(0, 2, 3, 1)
        assert ours.shape[1:3] == (size[0] // stride, size[1] // stride)
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_a_file_goes_through_the_command(network: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, backbone = tmp_path / "weights.pth", tmp_path / "backbone.safetensors"
    head = {
        "_conv_head.weight": torch.zeros(1280, 320, 1, 1),
        "_bn1.bias": torch.zeros(1280),
        "_fc.bias": torch.zeros(9),
    }
    torch.save(network.state_dict() | head | {"_blocks.11._bn2.bias": torch.zeros(192)}, weights)
    assert main(["convert", str(weights), str(backbone)]) == 0
    variables, kind = read_backbone(backbone)
    assert kind == "EfficientNet-Lite0"
    expected = efficientnet_lite0_from_pytorch(state_of(network))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert main(["convert", "--to-pytorch", str(backbone), str(tmp_path / "back.pth")]) == 2
    assert "only a ResNet goes back to PyTorch" in capsys.readouterr().err


def test_what_is_missing_unexpected_or_misshaped_is_named(network: Any, tmp_path: Path) -> None:
    state = state_of(network)
    del state["_blocks.3._bn1.weight"]
    state["_blocks.4._depthwise_conv.weight"] = np.zeros((240, 1, 3, 3), np.float32)
    state["extra"] = np.zeros(1, np.float32)
    with pytest.raises(InputError) as caught:
        efficientnet_lite0_from_pytorch(state)
    for named in (
        "missing: _blocks.3._bn1.weight",
        "unexpected: extra",
        "_blocks.4._depthwise_conv.weight (240, 1, 3, 3)",
    ):
        assert named in str(caught.value)
    save_file({"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)}, tmp_path / "cut.safetensors")
    assert main(["convert", str(tmp_path / "cut.safetensors"), str(tmp_path / "b.safetensors")]) == 2
