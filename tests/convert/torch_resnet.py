"""A ResNet with torchvision's entry names, for parity; cut after layer3."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Norm(nn.BatchNorm2d):
    """Counts batches like any BatchNorm2d; always evaluated with its statistics."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps)
        self.eval()


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool, eps: float) -> None:
        super().__init__()
        out = width * (4 if bottleneck else 1)
        sizes = [(channels, width, 1), (width, width, 3), (width, out, 1)]
        if not bottleneck:
            sizes = [(channels, width, 3), (width, width, 3)]
        self.count = len(sizes)
        strided = 1 if bottleneck else 0
        for number, (i, o, kernel) in enumerate(sizes):
            step = stride if number == strided else 1
            setattr(self, f"conv{number + 1}", nn.Conv2d(i, o, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{number + 1}", Norm(o, eps))
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), Norm(out, eps))

    def forward(self, x: Any) -> Any:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = torch.relu(y) if number < self.count else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(nn.Module):
    def __init__(self, depth: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        bottleneck = depth == 50
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), Norm(64, eps)
        channels = 64
        for stage, blocks in enumerate((3, 4, 6) if bottleneck else (2, 2, 2)):
            layers = []
            for index in range(blocks):
                width = 64 * 2**stage
                layers.append(Block(channels, width, 2 if stage and not index else 1, bottleneck, eps))
                channels = width * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Any) -> list[Any]:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            outputs.append(x)
        return outputs
