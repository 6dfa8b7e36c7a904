"""The whole network once more in PyTorch, written from the specification, with the parameters of a Flax one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Params = Mapping[str, Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))


def conv(p: Params, x: Tensor, stride: int = 1) -> Tensor:
    kernel = tensor(p["kernel"]).permute(3, 2, 0, 1)
    bias = tensor(p["bias"]) if "bias" in p else None
    return F.conv2d(x, kernel, bias, stride=stride, padding=kernel.shape[-1] // 2)


def norm(p: Params, stats: Params, x: Tensor) -> Tensor:
    if "gn" in p:
        groups = max(1, x.shape[1] // 8)
        return F.group_norm(x, groups, tensor(p["gn"]["scale"]), tensor(p["gn"]["bias"]), eps=1e-6)
    mean, var = tensor(stats["bn"]["mean"]), tensor(stats["bn"]["var"])
    return F.batch_norm(x, mean, var, tensor(p["bn"]["scale"]), tensor(p["bn"]["bias"]), training=False, eps=1e-5)


def block(p: Params, s: Params, x: Tensor, stride: int) -> Tensor:
    def normed(number: int, y: Tensor) -> Tensor:
        return norm(p[f"norm{number}"], s.get(f"norm{number}", {}), y)

    bottleneck = "conv3" in p
    y = F.relu(normed(1, conv(p["conv1"], x, 1 if bottleneck else stride)))
    y = normed(2, conv(p["conv2"], y, stride if bottleneck else 1))
    if bottleneck:
        y = normed(3, conv(p["conv3"], F.relu(y)))
    if "shortcut" in p:
        shortcut = p["shortcut"]
        x = norm(shortcut["norm"], s.get("shortcut", {}).get("norm", {}), conv(shortcut["conv"], x, stride))
    return F.relu(x + y)


def resnet(p: Params, s: Params, image: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    x = conv(p["conv1"], image, 2)
    if mask is not None:
        # One convolution over four channels, as the paper draws it.
        joint = torch.cat([tensor(p["conv1"]["kernel"]), tensor(p["conv1_mask"]["kernel"])], dim=2)
        x = conv({"kernel": joint}, torch.cat([image, mask], dim=1), 2)
    x = F.max_pool2d(F.relu(norm(p["norm1"], s.get("norm1", {}), x)), 3, 2, 1)
    outputs = []
    for stage in (2, 3, 4):
        number = 0
        while f"res{stage}_{number}" in p:
            name = f"res{stage}_{number}"
            x = block(p[name], s.get(name, {}), x, 2 if stage > 2 and number == 0 else 1)
            number += 1
        outputs.append(x)
    return outputs


def normalise(frame: Tensor) -> Tensor:
    """[b, 3, h, w] in [0, 1], normalised and padded evenly to multiples of 16."""
    return pad((frame - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])


def pad(x: Tensor) -> Tensor:
    extra = [-size % 16 for size in x.shape[-2:]]
    return F.pad(x, (extra[1] // 2, extra[1] - extra[1] // 2, extra[0] // 2, extra[0] - extra[0] // 2))


def mu_layer(p: Params, now: Tensor, before: Tensor, radius: int) -> Tensor:
    """Motion feature by unfolding the window: softargmin at temperature 1, zeros outside."""
    now, before = (F.normalize(conv(p["reduction"], x), dim=1) for x in (now, before))
    b, d, h, w = now.shape
    side = 2 * radius + 1
    windows = F.unfold(before, side, padding=radius).reshape(b, d, side * side, h, w)
    cost = (now[:, :, None] * windows).sum(dim=1)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.softmax(-cost, dim=1)
    dx = (weights * steps.repeat(side)[:, None, None]).sum(dim=1)
    dy = (weights * steps.repeat_interleave(side)[:, None, None]).sum(dim=1)
    x = torch.stack([dx, dy, cost.amax(dim=1)], dim=1)
    network = p["motion_network"]
    for number in range(1, 8):
        x = F.relu(conv(network[f"conv{number}"], x))
    return conv(network["conv8"], x)


def residual(p: Params, x: Tensor) -> Tensor:
    return x + conv(p["conv2"], F.relu(conv(p["conv1"], F.relu(x))))


def up(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def decoder(p: Params, matched: Tensor, res2: Tensor, res3: Tensor) -> Tensor:
    def skip(name: str, x: Tensor) -> Tensor:
        return residual(p[name]["block"], conv(p[name]["conv"], x))

    x = residual(p["entry_block"], conv(p["entry"], matched))
    x = residual(p["refine8"], skip("skip8", res3) + up(x, 2))
    x = residual(p["refine4"], skip("skip4", res2) + up(x, 2))
    return up(conv(p["prediction"], F.relu(x)), 4)


class TorchMUNet:
    """Memorise one frame, query another; every object on its own."""

    def __init__(self, variables: Mapping[str, Any], radius: int) -> None:
        self.p, self.s = variables["params"], variables.get("batch_stats", {})
        self.radius = radius

    def encode(self, frame: Tensor) -> list[Tensor]:
        stats = self.s.get("query_encoder", {}).get("backbone", {})
        return resnet(self.p["query_encoder"]["backbone"], stats, normalise(frame))

    def memorise(self, frame: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        stats = self.s.get("reference_encoder", {}).get("backbone", {})
        x = resnet(self.p["reference_encoder"]["backbone"], stats, normalise(frame), pad(mask))[-1]
        embedding = self.p["memory_embedding"]
        return conv(embedding["key"], x), conv(embedding["value"], x)

    def __call__(self, first: Tensor, masks: Tensor, frame: Tensor) -> Tensor:
        """[1, 3, h, w], [n, h, w], [1, 3, h, w] -> probabilities [n + 1, h, w]."""
        _, _, before = self.encode(first)
        res2, res3, res4 = self.encode(frame)
        motion = mu_layer(self.p["mu_layer"], res4, before, self.radius)
        attention = torch.sigmoid(conv(self.p["fusion"]["attention"], motion))
        fused = res4 * attention + res4
        embedding = self.p["query_embedding"]
        key, value = conv(embedding["key"], fused), conv(embedding["value"], fused)
        height, width = first.shape[-2:]
        top, left = (-height % 16) // 2, (-width % 16) // 2
        foreground = []
        for mask in masks:
            memory_key, memory_value = self.memorise(first, mask[None, None])
            scores = memory_key.flatten(2)[0].T @ key.flatten(2)[0] / key.shape[1] ** 0.5
            found = (memory_value.flatten(2)[0] @ torch.softmax(scores, dim=0)).reshape(value.shape)
            channels = decoder(self.p["decoder"], torch.cat([found, value], dim=1), res2, res3)
            channels = channels[0, :, top : top + height, left : left + width]
            foreground.append(torch.softmax(channels, dim=0)[1])
        return aggregate(torch.stack(foreground))


def aggregate(foreground: Tensor) -> Tensor:
    p = torch.cat([torch.prod(1 - foreground, dim=0, keepdim=True), foreground]).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.log(p / (1 - p)), dim=0)
