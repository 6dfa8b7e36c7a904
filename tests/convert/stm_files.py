"""Files of STM's weights as tests need them: random ones, small or of the published size, and videos to segment with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict

from configs import common
from munet_jax.checkpoints.from_pytorch import convert
from tests.convert.torch_stm import TorchSTM, random_stm

SIZES = {"width": 8, "stage_sizes": (1, 2, 1), "key": 16, "value": 24, "decoder": 16}


def config_of(network: TorchSTM) -> ConfigDict:
    """All fields, with the sizes of a network."""
    config = common.get_config()
    width, backbone = network.Encoder_Q.conv1.out_channels, network.Encoder_Q
    sizes = tuple(len(stage) for stage in (backbone.res2, backbone.res3, backbone.res4))
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.update(width=width, stage_sizes=sizes)
    decoder = network.Decoder.pred2.in_channels
    config.model.update(key_dim=network.KV_Q_r4.Key.out_channels, value_dim=network.KV_Q_r4.Value.out_channels)
    config.model.decoder_dim = (decoder,) * 3
    return config


def small_stm(seed: int = 0) -> TorchSTM:
    return random_stm(seed, **SIZES)


def state_of(network: TorchSTM) -> dict[str, np.ndarray]:
    """As the published file names it."""
    return {f"module.{name}": tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def save(state: dict[str, Any], path: Path, **options: Any) -> Path:
    torch.save({name: torch.as_tensor(value) for name, value in state.items()}, path, **options)
    return path


def converted(network: TorchSTM, folder: Path, kind: str) -> Path:
    """The file that `munet convert --network kind` makes of a network, of whatever size."""
    source = save(state_of(network), folder / "STM_weights.pth")
    convert(source, folder / f"{kind}.safetensors", config_of(network), network=kind)
    return folder / f"{kind}.safetensors"


def moving_video(size: tuple[int, int], objects: int, frames: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    """Coloured squares that move to the upper left, and the label map of the first frame."""
    height, width = size
    colours = np.random.default_rng(0).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    large = np.kron(colours, np.ones((8, 8, 1), np.uint8))
    first = np.zeros(size, np.uint8)
    for i in range(objects):
        first[20:60, 10 + 40 * i : 45 + 40 * i] = i + 1
    return [large[t : t + height, t : t + width] for t in range(frames)], first
