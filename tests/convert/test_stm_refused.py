"""Files that cannot be converted: what is said of each, and that nothing is written or lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from munet_jax.checkpoints.from_pytorch import convert, convert_back
from munet_jax.checkpoints.weight_file import read_weights, write_weights
from munet_jax.cli import main
from munet_jax.runtime.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.stm_files import config_of, converted, save, small_stm, state_of  # noqa: E402
from tests.convert.torch_stm import TorchSTM  # noqa: E402


@pytest.fixture(scope="module")
def network() -> TorchSTM:
    return small_stm()


def refused(source: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line that `munet convert` prints; what was in the target before is still there."""
    target = source.parent / "target.safetensors"
    target.write_text("of before")
    assert main(["convert", str(source), str(target), *options]) == 2
    assert target.read_text() == "of before"
    assert [path.name for path in source.parent.iterdir() if path.name.startswith(".")] == []
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert source.name in said
    return said


@pytest.mark.parametrize(
    ("called", "names"),
    [
        (
            "STCN",
            ["key_encoder.conv1.weight", "value_encoder.conv1.weight", "key_proj.key_proj.weight", "key_comp.weight"],
        ),
        ("XMem", ["key_encoder.conv1.weight", "key_proj.key_proj.weight", "key_proj.d_proj.weight"]),
        ("Cutie", ["pixel_encoder.conv1.weight", "key_proj.d_proj.weight", "object_transformer.query_init.weight"]),
        ("MiVOS", ["mask_rgb_encoder.conv1.weight", "kv_m_f16.key_proj.weight", "decoder.pred.weight"]),
    ],
)
def test_other_networks_are_told_by_name(
    called: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for prefix in ("", "module."):
        source = save({prefix + name: np.zeros(1) for name in names}, tmp_path / "theirs.pth")
        assert f"holds weights of {called}, a network that does not exist here" in refused(source, capsys)


def test_what_is_missing_unexpected_or_misshaped_is_named(network: TorchSTM, tmp_path: Path) -> None:
    state = state_of(network)
    del state["module.KV_M_r4.Key.bias"], state["module.Encoder_Q.mean"]
    state["module.Decoder.RF4.convFS.bias"] = np.zeros(16, np.float32)
    state["module.Decoder.bn1.num_batches_tracked"] = np.array(3)
    state["module.Encoder_M.conv1_o.weight"] = np.zeros((8, 2, 7, 7), np.float32)
    source = save(state, tmp_path / "stm.pth")
    with pytest.raises(InputError) as caught:
        convert(source, tmp_path / "out.safetensors", config_of(network))
    said = str(caught.value)
    assert said.startswith(f"{source}: this is not STM of its published size: ")
    assert "missing: Encoder_Q.mean, KV_M_r4.Key.bias;" in said
    assert "unexpected: Decoder.RF4.convFS.bias, Decoder.bn1.num_batches_tracked;" in said
    assert "wrong shape: Encoder_M.conv1_o.weight (8, 2, 7, 7) instead of (8, 1, 7, 7)" in said
    assert not (tmp_path / "out.safetensors").exists()


def test_frames_that_were_normalised_otherwise_are_refused(network: TorchSTM, tmp_path: Path) -> None:
    state = state_of(network)
    state["module.Encoder_M.std"] *= 255
    source = save(state, tmp_path / "stm.pth")
    with pytest.raises(InputError, match=r"Encoder_M.std is \[58.*normalised by ImageNet's \[0.229"):
        convert(source, tmp_path / "out.safetensors", config_of(network))


def test_files_that_are_cut_or_hold_code_are_refused(
    network: TorchSTM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = state_of(network)
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        source = save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
        whole = source.read_bytes()
        for part in (0, 100, len(whole) // 2, len(whole) - 100):
            source.write_bytes(whole[:part])
            told = "cannot be read as a state dict of plain tensors" if part else "is empty"
            assert told in refused(source, capsys)
        source.unlink()
    save_file(state, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    for part in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:part])
        told = "cannot be read as a state dict" if part else "is empty"
        assert told in refused(tmp_path / "cut.safetensors", capsys)

    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "it ran",))

    torch.save({name: torch.from_numpy(x) for name, x in state.items()} | {"code": Code()}, tmp_path / "code.pth")
    assert "cannot be read as a state dict of plain tensors" in refused(tmp_path / "code.pth", capsys)
    assert not (tmp_path / "it ran").exists()
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>sign in</html>")
    assert "is a web page" in refused(tmp_path / "page.pth", capsys)


def test_small_networks_backbones_and_converted_files_are_told_apart(
    network: TorchSTM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(state_of(network), tmp_path / "small.pth")  # the command knows the published size alone
    said = refused(source, capsys)
    assert "wrong shape: Decoder.RF2.ResFS.conv1.bias (16,) instead of (256,)" in said
    assert re.search(r"and \d+ more", said)
    assert len(said) < 5000
    backbone = save({"conv1.weight": np.zeros((64, 3, 7, 7))}, tmp_path / "resnet.pth")
    assert "--network is for weights of STM and AFB-URR" in refused(backbone, capsys, "--network", "munet")
    weights = converted(network, tmp_path, "stm")
    assert "holds weights of munet_jax already; --to-pytorch is the way back" in refused(weights, capsys)


def test_only_a_network_with_stms_layers_goes_back(network: TorchSTM, tmp_path: Path) -> None:
    back = tmp_path / "back.pth"
    with pytest.raises(InputError, match=r"munet.safetensors: STM has no place for a network's motion"):
        convert_back(converted(network, tmp_path, "munet"), back)
    variables, config, step = read_weights(converted(network, tmp_path, "stm"))
    del variables["params"]["reference_encoder"]["backbone"]["conv1_others"]
    write_weights(tmp_path / "less.safetensors", variables, config, step)
    with pytest.raises(InputError, match="no network with STM's layers: .*conv1_others/kernel is not there"):
        convert_back(tmp_path / "less.safetensors", back)
    assert not back.exists()
    with pytest.raises(InputError, match="give a file that ends in .pth or .pt or .safetensors"):
        convert_back(tmp_path / "stm.safetensors", tmp_path / "nowhere" / "back.pth")


def test_without_pytorch_its_extra_is_named(
    network: TorchSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(state_of(network), tmp_path / "stm.pth")
    save_file(state_of(network), tmp_path / "stm_source.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert "pip install 'munet_jax[convert]'" in refused(source, capsys)
    convert(tmp_path / "stm_source.safetensors", tmp_path / "out.safetensors", config_of(network))
    assert (tmp_path / "out.safetensors").is_file()
