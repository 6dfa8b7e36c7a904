"""STM in PyTorch, written from its paper (Oh et al., ICCV 2019) and the names of its published weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.convert.torch_resnet import Block, Norm

EVERY = 5  # frames between two that stay in memory
MAPS = 11  # background and ten objects, of which a video may have fewer


class Backbone(nn.Module):
    """ResNet to res4, with what an encoder normalises its frames by."""

    def __init__(self, width: int, stage_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), Norm(width, 1e-5)
        channels = width
        for stage, blocks in enumerate(stage_sizes):
            layers = []
            for index in range(blocks):
                inner = width * 2**stage
                layers.append(Block(channels, inner, 2 if stage and not index else 1, True, 1e-5))
                channels = 4 * inner
            setattr(self, f"res{stage + 2}", nn.Sequential(*layers))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def stages(self, stem: Tensor) -> list[Tensor]:
        x = F.max_pool2d(torch.relu(self.bn1(stem)), 3, 2, 1)
        outputs = []
        for stage in (self.res2, self.res3, self.res4):
            x = stage(x)
            outputs.append(x)
        return outputs

    def image_part(self, frame: Tensor) -> Tensor:
        return self.conv1((frame - self.mean) / self.std)


class MemoryEncoder(Backbone):
    def __init__(self, width: int, stage_sizes: tuple[int, ...]) -> None:
        super().__init__(width, stage_sizes)
        self.conv1_m = nn.Conv2d(1, width, 7, 2, 3, bias=False)
        self.conv1_o = nn.Conv2d(1, width, 7, 2, 3, bias=False)

    def forward(self, frame: Tensor, mask: Tensor, others: Tensor) -> Tensor:
        return self.stages(self.image_part(frame) + self.conv1_m(mask) + self.conv1_o(others))[-1]


class QueryEncoder(Backbone):
    def forward(self, frame: Tensor) -> list[Tensor]:
        return self.stages(self.image_part(frame))


class KeyValue(nn.Module):
    def __init__(self, channels: int, key: int, value: int) -> None:
        super().__init__()
        self.Key, self.Value = nn.Conv2d(channels, key, 3, padding=1), nn.Conv2d(channels, value, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.Key(x), self.Value(x)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class Refine(nn.Module):
    def __init__(self, skip: int, channels: int) -> None:
        super().__init__()
        self.convFS = nn.Conv2d(skip, channels, 3, padding=1)
        self.ResFS, self.ResMM = Residual(channels), Residual(channels)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        return self.ResMM(self.ResFS(self.convFS(skip)) + enlarge(below, 2))


class Decoder(nn.Module):
    def __init__(self, matched: int, res3: int, res2: int, channels: int) -> None:
        super().__init__()
        self.convFM, self.ResMM = nn.Conv2d(matched, channels, 3, padding=1), Residual(channels)
        self.RF3, self.RF2 = Refine(res3, channels), Refine(res2, channels)
        self.pred2 = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, matched: Tensor, res3: Tensor, res2: Tensor) -> Tensor:
        x = self.RF2(res2, self.RF3(res3, self.ResMM(self.convFM(matched))))
        return enlarge(self.pred2(torch.relu(x)), 4)


class TorchSTM(nn.Module):
    """The network; sizes are those of the published weights unless others are given."""

    def __init__(
        self,
        width: int = 64,
        stage_sizes: tuple[int, ...] = (3, 4, 6),
        key: int = 128,
        value: int = 512,
        decoder: int = 256,
    ) -> None:
        super().__init__()
        self.Encoder_M, self.Encoder_Q = MemoryEncoder(width, stage_sizes), QueryEncoder(width, stage_sizes)
        self.KV_M_r4, self.KV_Q_r4 = (KeyValue(16 * width, key, value) for _ in range(2))
        self.Decoder = Decoder(2 * value, 8 * width, 4 * width, decoder)

    def memorise(self, frame: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 3, h, w] in [0, 1] and objects' masks [n, h, w] -> keys [n, k, p] and values [n, v, p] of the frame's positions."""
        frame, masks = pad(frame), pad(masks)
        n = masks.shape[0]
        others = [sum((masks[j] for j in range(n) if j != i), torch.zeros_like(masks[i])) for i in range(n)]
        inputs = [masks[:, None], torch.stack(others)[:, None].clamp(0, 1)]
        key, value = self.KV_M_r4(self.Encoder_M(frame.expand(n, -1, -1, -1), *inputs))
        return key.flatten(2), value.flatten(2)

    def segment(self, frame: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[1, 3, h, w] and the memory, [n, k, m] and [n, v, m] -> probabilities [n + 1, h, w], background first."""
        height, width = frame.shape[-2:]
        res2, res3, res4 = self.Encoder_Q(pad(frame))
        key, value = self.KV_Q_r4(res4)
        n, k = keys.shape[:2]
        attention = torch.softmax(keys.transpose(1, 2) @ key.flatten(2).expand(n, -1, -1) / k**0.5, dim=1)
        found = (values @ attention).reshape(n, -1, *value.shape[-2:])
        matched = torch.cat([found, value.expand(n, -1, -1, -1)], dim=1)
        channels = self.Decoder(matched, *(skip.expand(n, -1, -1, -1) for skip in (res3, res2)))
        objects = torch.softmax(channels, dim=1)[:, 1]
        top, left = -height % 16 // 2, -width % 16 // 2
        return aggregate(objects)[: n + 1, top : top + height, left : left + width]

    @torch.no_grad()
    def video(self, frames: list[np.ndarray], first: np.ndarray) -> list[np.ndarray]:
        """Frames uint8 [h, w, 3] and the first one's label map (1, 2, ...) -> probabilities [h, w, n + 1] of the later ones."""
        ids = range(1, int(first.max()) + 1)
        masks = torch.stack([torch.from_numpy(first == i).float() for i in ids])
        kept: list[tuple[Tensor, Tensor]] = []
        found = []
        for t in range(1, len(frames)):
            previous = self.memorise(as_tensor(frames[t - 1]), masks)
            memory = [torch.cat(parts, dim=2) for parts in zip(*kept, previous, strict=True)]
            if (t - 1) % EVERY == 0:
                kept.append(previous)
            probabilities = self.segment(as_tensor(frames[t]), *memory)
            masks = probabilities[1:]
            found.append(probabilities.permute(1, 2, 0).numpy())
        return found


def aggregate(objects: Tensor) -> Tensor:
    """Each object's own probability [n, h, w] -> softmax over all maps [MAPS, h, w], those of no object at their least."""
    maps = torch.zeros(MAPS, *objects.shape[1:])
    maps[0], maps[1 : len(objects) + 1] = torch.prod(1 - objects, dim=0), objects
    maps = maps.clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.log(maps / (1 - maps)), dim=0)


def pad(x: Tensor) -> Tensor:
    """Zeros around, evenly, to multiples of 16."""
    height, width = (-size % 16 for size in x.shape[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


def enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def as_tensor(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]


def random_stm(seed: int = 0, **sizes: Any) -> TorchSTM:
    """Random weights and statistics, such that keys tell places apart and masks depend on the image and on one another."""
    torch.manual_seed(seed)
    network = TorchSTM(**sizes)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1)
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.3)
        norm.momentum = None  # statistics are means over what is seen
        norm.train()
    with torch.no_grad():
        image = F.interpolate(torch.rand(4, 3, 16, 16), size=(96, 96), mode="nearest")
        masks = (F.interpolate(torch.rand(4, 2, 6, 6), size=(96, 96), mode="nearest") > 0.6).float()
        network.Encoder_Q(image)
        network.Encoder_M(image, masks[:, :1], masks[:, 1:])
        # Less wide scores, and masks that depend less on those before: else rounding alone makes other videos of it.
        for module in (network.KV_M_r4, network.KV_Q_r4):
            module.Key.weight *= 0.3
        for module in (network.Encoder_M.conv1_m, network.Encoder_M.conv1_o):
            module.weight *= 0.3
        network.Decoder.pred2.weight *= 0.1
    for norm in norms:
        norm.running_mean *= torch.empty_like(norm.running_mean).uniform_(0.8, 1.2)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.2)
        norm.num_batches_tracked.fill_(seed + 7)
    return network.eval()
