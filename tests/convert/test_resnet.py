"""Converted ResNets: the same features as PyTorch's, nothing lost, nothing unexpected taken."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from munet_jax.cli import main
from munet_jax.convert import resnet50_from_pytorch, resnet50_to_pytorch, resnet_from_pytorch
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.convert.pytorch_files import read_state_dict
from munet_jax.models.resnet import ResNet, ResNet50
from munet_jax.runtime.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.torch_resnet import TorchResNet  # noqa: E402 - needs torch

State = dict[str, np.ndarray]


def random_network(depth: int = 50, eps: float = 1e-5) -> "TorchResNet":
    """Random weights and statistics; some variances are as small as those of dead channels."""
    torch.manual_seed(0)
    network = TorchResNet(depth, eps=eps)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        network.bn1.running_var[:4] = torch.tensor([1e-12, 1e-7, 2e-6, 1e-4])
        network.bn1.weight[:4] = torch.tensor([1e-7, 1e-5, 1e-4, 1e-3])
    return network


def state_of(network: "TorchResNet") -> State:
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def in_layout(state: State, layout: str) -> State:
    """With everything around it that such a file holds."""
    heads = {"layer4.0.conv1.weight": np.zeros((2, 2)), "fc.weight": np.zeros((2, 2)), "fc.bias": np.zeros(2)}
    if layout != "mask_rcnn":
        return state | heads
    frozen = {
        f"backbone.body.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")
    }
    other = ("backbone.fpn.inner_blocks.0.0.weight", "rpn.head.cls_logits.bias", "roi_heads.box_head.fc6.weight")
    return frozen | {"backbone.body.layer4.0.bn1.bias": np.zeros(2)} | {name: np.zeros(2) for name in other}


def assert_same_features(network: "TorchResNet", model: ResNet, variables: dict) -> None:
    image = np.random.default_rng(0).standard_normal((1, 64, 96, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network(torch.from_numpy(image).permute(0, 3, 1, 2))
    for ours, expected in zip(jax.jit(model.apply)(variables, jnp.asarray(image)), theirs, strict=True):
        wanted = expected.permute(0, 2, 3, 1).numpy()
        assert wanted.std() > 0.01
        assert np.abs(np.asarray(ours) - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("layout", ["torchvision", "timm", "mask_rcnn"])
def test_res2_res3_and_res4_equal_pytorch(layout: str) -> None:
    network = random_network(eps=0.0 if layout == "mask_rcnn" else 1e-5)
    variables = resnet50_from_pytorch(in_layout(state_of(network), layout))
    assert_same_features(network, ResNet50(), variables)


def test_resnet_18_equals_pytorch() -> None:
    network = random_network(18)
    variables = resnet_from_pytorch(state_of(network), depth=18)
    assert_same_features(network, ResNet(stage_sizes=(2, 2, 2), block="basic"), variables)


@pytest.mark.parametrize("depth", [18, 50])
def test_the_round_trip_is_exact_and_loads_strictly(depth: int) -> None:
    network = random_network(depth)
    state = state_of(network)
    back = resnet50_to_pytorch(resnet_from_pytorch(state, depth=depth), depth=depth)
    TorchResNet(depth).load_state_dict({name: torch.from_numpy(value) for name, value in back.items()}, strict=True)
    assert back.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_the_variables_are_those_of_the_model() -> None:
    variables = resnet50_from_pytorch(state_of(random_network()))
    expected = jax.eval_shape(ResNet50().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, expected)


def test_wrong_entries_are_listed_by_name() -> None:
    state = in_layout(state_of(random_network()), "torchvision")
    del state["layer3.5.bn3.running_var"]
    state["layer1.0.se.fc1.weight"] = np.zeros(3)
    state["conv1.weight"] = np.zeros((64, 4, 7, 7))
    with pytest.raises(InputError) as caught:
        resnet50_from_pytorch(state)
    text = str(caught.value)
    assert "missing: layer3.5.bn3.running_var" in text
    assert "unexpected: layer1.0.se.fc1.weight" in text
    assert "wrong shape: conv1.weight (64, 4, 7, 7) instead of (64, 3, 7, 7)" in text


def test_other_depths_and_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="ResNet-34 is not known"):
        resnet_from_pytorch({}, depth=34)
    variables = resnet_from_pytorch(state_of(random_network(18)), depth=18)
    with pytest.raises(InputError, match="no ResNet-50 with frozen batch norm: params/res2_0/conv1/kernel"):
        resnet50_to_pytorch(variables)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_go_through_the_command_and_back(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture) -> None:
    network = random_network(18)
    weights, backbone, back = tmp_path / f"a{suffix}", tmp_path / "b.safetensors", tmp_path / f"c{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), weights)
    else:
        save_file(state_of(network), weights)
    assert main(["convert", str(weights), str(backbone), "--depth", "18"]) == 0
    assert main(["convert", "--to-pytorch", str(backbone), str(back)]) == 0
    for name, value in read_state_dict(back).items():
        np.testing.assert_array_equal(value, state_of(network)[name])
    capsys.readouterr()
    assert main(["convert", str(weights), str(tmp_path / "d.safetensors")]) == 2  # as a ResNet-50
    assert "missing: layer1.0.bn3.bias" in capsys.readouterr().err
    assert not (tmp_path / "d.safetensors").exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Code:
        def __reduce__(self) -> tuple:
            return (print, ("run",))

    torch.save({"conv1.weight": Code()}, tmp_path / "code.pth")
    with pytest.raises(InputError, match="code.pth: cannot be read as a state dict of plain tensors"):
        read_state_dict(tmp_path / "code.pth")
    torch.save({"state": {"conv1.weight": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        read_state_dict(tmp_path / "nested.pth")
    (tmp_path / "text.safetensors").write_text("nothing")
    for read, what in ((read_state_dict, "state dict"), (read_backbone, "converted backbone")):
        with pytest.raises(InputError, match=f"text.safetensors: cannot be read as a {what} .*header"):
            read(tmp_path / "text.safetensors")
        with pytest.raises(InputError, match=r"none.safetensors: no such"):
            read(tmp_path / "none.safetensors")
    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="other.safetensors: not a converted backbone; make it by"):
        read_backbone(tmp_path / "other.safetensors")
    (tmp_path / "a.bin").touch()
    with pytest.raises(InputError, match="weights end in .pth"):
        read_state_dict(tmp_path / "a.bin")
    assert main(["convert", str(tmp_path / "nested.pth"), str(tmp_path / "out.pth")]) == 2
    assert "out.pth: give a file that ends in .safetensors, in a folder that exists" in capsys.readouterr().err
