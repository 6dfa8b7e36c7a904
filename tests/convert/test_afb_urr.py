"""AFB-URR's weights as the start of a training: what is taken, under which names, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import munet_jax
from munet_jax.checkpoints.from_pytorch import convert
from munet_jax.checkpoints.weight_file import read_origin
from munet_jax.cli import main
from munet_jax.runtime.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")
from tests.convert.stm_files import config_of, small_stm, state_of  # noqa: E402
from tests.convert.torch_stm import TorchSTM  # noqa: E402

SIZE = 160


@pytest.fixture(scope="module")
def network() -> TorchSTM:
    return small_stm()


@pytest.fixture(scope="module")
def source(network: TorchSTM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """STM's layers under AFB-URR's names, with its local refinement, in a checkpoint as its training program writes one."""
    state = {name.removeprefix("module."): x for name, x in state_of(network).items()}
    state = {name: x for name, x in state.items() if not name.startswith("KV_M_r4.")}
    for theirs, ours in {
        "Encoder_M": "encoder_m",
        "Encoder_Q": "encoder_q",
        "KV_Q_r4": "keyval_r4",
        "Decoder": "decoder",
    }.items():
        state = {re.sub(rf"^{theirs}\.", f"{ours}.", name): x for name, x in state.items()}
    state |= {
        f"decoder.local_{name}": np.ones(3, np.float32) for name in ("convFM.bias", "ResMM.conv1.bias", "pred2.bias")
    }
    path = tmp_path_factory.mktemp("afb") / "afb_urr.pth"
    model = {name: torch.as_tensor(x) for name, x in state.items()}
    torch.save({"epoch": 9, "model": model, "loss": 0.25, "seed": 3}, path)
    return path


def test_encoders_embeddings_and_decoder_are_taken(network: TorchSTM, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "start.safetensors"
    drawn = convert(source, target, config_of(network), network="munet")
    assert {name.split("/")[0] for name in drawn} == {"mu_layer"}
    assert read_origin(target)["weights"] == "AFB-URR"
    model, variables, config = munet_jax.load(target)
    assert not config.model.reference_encoder.others
    assert (config.model.padding, config.model.fusion) == ("black", "msam")
    params = variables["params"]
    value = network.KV_Q_r4.Value.weight.detach().permute(2, 3, 1, 0).numpy()
    np.testing.assert_array_equal(params["memory_embedding"]["value"]["kernel"], value)
    np.testing.assert_allclose(params["query_embedding"]["value"]["kernel"], value / 1.5, rtol=1e-6)
    np.testing.assert_array_equal(params["decoder"]["prediction"]["bias"], network.Decoder.pred2.bias.detach().numpy())

    rng = np.random.default_rng(0)
    frame = rng.random((1, SIZE, SIZE, 3), np.float32)
    mask = np.kron(rng.random((10, 10)) > 0.5, np.ones((16, 16))).astype(np.float32)
    features = jax.jit(lambda *given: model.apply(*given, method=lambda net, *x: net.reference_encoder(*x)))(
        variables, jnp.asarray(frame), jnp.asarray(mask[None, None])
    )
    shown = torch.from_numpy(mask)[None, None]
    with torch.no_grad():  # its second mask is everything but the object
        theirs = network.Encoder_M(torch.from_numpy(frame).permute(0, 3, 1, 2), shown, 1 - shown)
        without = network.Encoder_M(torch.from_numpy(frame).permute(0, 3, 1, 2), shown, 0 * shown)
    inside = slice(3, 7)  # the frame's edge is not seen from there
    expected, other = (x.permute(0, 2, 3, 1).numpy()[:, inside, inside] for x in (theirs, without))
    np.testing.assert_allclose(features[:, inside, inside], expected, atol=1e-4)
    assert np.abs(expected - other).max() > 0.1


def test_as_a_network_of_its_own_it_is_refused(
    network: TorchSTM, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(source), str(tmp_path / "afb.safetensors")]) == 2
    said = capsys.readouterr().err
    assert "AFB-URR, whose refinement of uncertain regions does not exist here; --network munet" in said
    checkpoint = torch.load(source, weights_only=True)
    checkpoint["model"]["decoder.global_pred.bias"] = torch.zeros(2)
    del checkpoint["model"]["keyval_r4.Key.weight"]
    torch.save(checkpoint, tmp_path / "other.pth")
    with pytest.raises(
        InputError, match=r"not AFB-URR .*missing: keyval_r4.Key.weight; unexpected: decoder.global_pred"
    ):
        convert(tmp_path / "other.pth", tmp_path / "out.safetensors", config_of(network), network="munet")
