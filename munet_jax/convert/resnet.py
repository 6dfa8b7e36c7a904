"""ResNet state dicts of PyTorch -> variables of `munet_jax.models.resnet.ResNet`, and back. Numpy in, numpy out.

Three layouts are known: torchvision's, timm's (the same names for ResNet-18 and ResNet-50) and the backbone inside
torchvision's Mask R-CNN (`backbone.body.*`). What lies behind res4 is left out by name; anything else that is not
expected, missing or of another shape is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten

Arrays = Mapping[str, np.ndarray]
Tree = dict[str, Any]
# PyTorch name -> (our path, PyTorch shape).
Entries = dict[str, tuple[tuple[str, ...], tuple[int, ...]]]

DETECTOR_PREFIX = "backbone.body."
# By name, whole or as the start of a dotted path: what a network cut after layer3 has no use for.
LEFT_OUT = re.compile(r"(layer4|fc|(backbone\.)?fpn|rpn|roi_heads)\.|.*\.num_batches_tracked$")
OUR_EPSILON = 1e-5  # of every batch norm here, and of PyTorch's BatchNorm2d
# Below this variance the difference of two epsilons is lost in f32, and goes into the scale.
SMALLEST_FOLDED = 1e-6
NAMED = 20  # entries that a message lists of a kind

STAGES = {"basic": {18: (2, 2, 2)}, "bottleneck": {50: (3, 4, 6)}}
BATCH_NORM = {"weight": ("params", "scale"), "bias": ("params", "bias")}
BATCH_NORM |= {"running_mean": ("batch_stats", "mean"), "running_var": ("batch_stats", "var")}


def resnet50_from_pytorch(state_dict: Arrays, *, epsilon: float | None = None) -> Tree:
    """ResNet-50 to res4: {'params': ..., 'batch_stats': ...}; arguments and errors as `resnet_from_pytorch`."""
    return resnet_from_pytorch(state_dict, depth=50, epsilon=epsilon)


def resnet_from_pytorch(state_dict: Arrays, *, depth: int, epsilon: float | None = None) -> Tree:
    """A PyTorch ResNet, cut after layer3.

    Args:
      state_dict: numpy arrays by PyTorch's names.
      depth: 18 or 50.
      epsilon: of the batch norms that the weights were trained with, if not 1e-5; the difference goes into the stored
        variances. None takes 0 for a Mask R-CNN whose norms count no batches (torchvision's COCO weights, frozen batch
        norms with epsilon 0), else 1e-5.

    Returns:
      {'params': ..., 'batch_stats': ...}, f32 numpy arrays, kernels [kh, kw, i, o].

    Raises:
      InputError: unexpected, missing or wrongly shaped entries, by name.
    """
    entries, detector = _backbone_entries(state_dict)
    if epsilon is None:
        frozen = not any(name.endswith("num_batches_tracked") for name in state_dict)
        epsilon = 0.0 if detector and frozen else OUR_EPSILON
    expected = _expected(depth)
    check_entries(entries, expected, f"a ResNet-{depth} of torchvision, timm or torchvision's Mask R-CNN")
    variables = variables_of(entries, expected)
    if epsilon != OUR_EPSILON:
        _fold_epsilon(variables["params"], variables["batch_stats"], epsilon)
    return variables


def resnet50_to_pytorch(variables: Mapping[str, Any], *, depth: int = 50) -> dict[str, np.ndarray]:
    """The other way: a state dict in torchvision's names, for a ResNet cut after layer3 (loads with strict=True).

    Args:
      variables: {'params', 'batch_stats'} of a ResNet with frozen batch norm. The mask's kernel of Enc-R has no place in
        PyTorch's ResNet and is left out.
      depth: 18 or 50.

    Raises:
      InputError: the variables are not those of such a network.
    """
    state = state_dict_of(flatten(variables), _expected(depth), f"ResNet-{depth} with frozen batch norm")
    for name in [name for name in state if name.endswith("running_var")]:
        state[name.replace("running_var", "num_batches_tracked")] = np.array(0, np.int64)
    return state


def _backbone_entries(state_dict: Arrays) -> tuple[dict[str, np.ndarray], bool]:
    """What is left of a state dict without its heads, in torchvision's names; and whether it was a detector's."""
    detector = any(name.startswith(DETECTOR_PREFIX) for name in state_dict)
    plain = {name.removeprefix(DETECTOR_PREFIX): array for name, array in state_dict.items()}
    return {name: array for name, array in plain.items() if not LEFT_OUT.match(name)}, detector


def _expected(depth: int) -> Entries:
    """What a ResNet-18 or -50 has up to layer3."""
    for block, depths in STAGES.items():
        if depth in depths:
            return resnet_entries(block, depths[depth])
    raise InputError(f"ResNet-{depth} is not known; convert a ResNet-18 or a ResNet-50")


def resnet_entries(block: str, stage_sizes: Sequence[int], width: int = 64) -> Entries:
    """PyTorch name -> (our path, PyTorch shape) of every entry up to layer3.

    Args:
      block: 'basic' or 'bottleneck'.
      stage_sizes: blocks of layer1, layer2 and layer3.
      width: channels of the stem.
    """
    entries: Entries = {}

    def add(theirs: str, norm: str, path: tuple[str, ...], kernel: str, ours: str, shape: tuple[int, ...]) -> None:
        entries[f"{theirs}.weight"] = (("params", *path, kernel, "kernel"), shape)
        for field, (collection, leaf) in BATCH_NORM.items():
            entries[f"{norm}.{field}"] = ((collection, *path, ours, "bn", leaf), shape[:1])

    add("conv1", "bn1", (), "conv1", "norm1", (width, 3, 7, 7))
    channels = width
    for stage, blocks in enumerate(stage_sizes):
        inner = width * 2**stage
        out = inner * (4 if block == "bottleneck" else 1)
        for index in range(blocks):
            theirs, path = f"layer{stage + 1}.{index}", (f"res{stage + 2}_{index}",)
            shapes = {
                "bottleneck": [(inner, channels, 1, 1), (inner, inner, 3, 3), (out, inner, 1, 1)],
                "basic": [(inner, channels, 3, 3), (inner, inner, 3, 3)],
            }[block]
            for number, shape in enumerate(shapes, start=1):
                add(f"{theirs}.conv{number}", f"{theirs}.bn{number}", path, f"conv{number}", f"norm{number}", shape)
            if channels != out:
                projection = (f"{theirs}.downsample.0", f"{theirs}.downsample.1", (*path, "shortcut"))
                add(*projection, "conv", "norm", (out, channels, 1, 1))
            channels = out
    return entries


def state_dict_of(flat: dict[str, Any], expected: Entries, called: str) -> dict[str, np.ndarray]:
    """What `variables_of` was made of; raises InputError that names what is not there or has another shape.

    `flat` has the variables by paths such as 'params/conv1/kernel'; it is emptied on the way.
    """
    state: dict[str, np.ndarray] = {}
    for name, (path, shape) in expected.items():
        array = flat.pop("/".join(path), None)
        array = None if array is None else np.asarray(array, np.float32)
        array = array.transpose(3, 2, 0, 1) if array is not None and array.ndim == 4 else array
        if array is None or array.shape != shape:
            found = "is not there" if array is None else f"has shape {array.shape}, not {shape}"
            raise InputError(f"no {called}: {'/'.join(path)} {found}")
        state[name] = np.ascontiguousarray(array)
    return state


def variables_of(entries: dict[str, np.ndarray], expected: Entries) -> Tree:
    """{'params', 'batch_stats'} of checked entries, f32; kernels [kh, kw, i, o], depthwise ones [kh, kw, d].

    `entries` is emptied on the way, so that a large file is in memory once.
    """
    variables: Tree = {"params": {}, "batch_stats": {}}
    for name, (path, shape) in expected.items():
        array = np.asarray(entries.pop(name), np.float32)
        if array.ndim == 4:
            array = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
            if path[-1] == "depthwise":
                array = array.reshape(*array.shape[:2], shape[0])
        _put(variables, path, array)
    return variables


def check_entries(entries: Arrays, expected: Entries, called: str) -> None:
    """Raises InputError that names the entries which are missing, unexpected or of another shape, the first `NAMED` of each."""
    wrong = {name: expected[name][1] for name in expected.keys() & entries.keys()}
    shapes = [
        f"{name} {tuple(np.shape(entries[name]))} instead of {shape}"
        for name, shape in wrong.items()
        if tuple(np.shape(entries[name])) != shape
    ]
    found = {
        "missing": sorted(expected.keys() - entries.keys()),
        "unexpected": sorted(entries.keys() - expected.keys()),
        "wrong shape": sorted(shapes),
    }
    if any(found.values()):
        lists = "; ".join(f"{kind}: {_brief(names)}" for kind, names in found.items() if names)
        raise InputError(f"this is not {called}: {lists}")


def _brief(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _fold_epsilon(params: Tree, statistics: Tree, epsilon: float) -> None:
    """Make norms with our epsilon compute what norms with `epsilon` would, in place."""
    for name, below in statistics.items():
        if name != "bn":
            _fold_epsilon(params[name], below, epsilon)
            continue
        variance = below["var"].astype(np.float64)
        small = variance + epsilon < SMALLEST_FOLDED
        factor = np.sqrt((variance + OUR_EPSILON) / np.maximum(variance + epsilon, np.finfo(np.float32).tiny))
        params[name]["scale"] = np.where(small, params[name]["scale"] * factor, params[name]["scale"]).astype(
            np.float32
        )
        below["var"] = np.where(small, variance, variance + epsilon - OUR_EPSILON).astype(np.float32)


def _put(tree: Tree, path: tuple[str, ...], array: np.ndarray) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = array
