"""EfficientNet-Lite0 up to stride 16 in PyTorch, written from its published architecture, with its weights' names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# Expansion, kernel, stride, channels.
BLOCKS = [
    (1, 3, 1, 16), (6, 3, 2, 24), (6, 3, 1, 24), (6, 5, 2, 40), (6, 5, 1, 40), (6, 3, 2, 80), (6, 3, 1, 80), (6, 3, 1, 80),
    (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 1, 112),
]  # fmt: skip


def same(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """A convolution padded as TensorFlow pads 'SAME'."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return conv(functional.pad(x, pads))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, channels: int, expansion: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(channels, inner, 1, bias=False), norm(inner)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, out, 1, bias=False), norm(out)
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(same(y, self._depthwise_conv)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class TorchEfficientNetLite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), norm(32)
        channels, blocks = 32, []
        for expansion, kernel, stride, out in BLOCKS:
            blocks.append(Block(channels, expansion, kernel, stride, out))
            channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = functional.relu6(self._bn0(same(x, self._conv_stem)))
        outputs = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in (2, 4, 10):
                outputs.append(x)
        return outputs
