"""Whose weights a state dict holds, by its names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from munet_jax.convert.afb_urr import AFB_URR
from munet_jax.convert.stm import PREFIX, STM, Layout
from munet_jax.runtime.errors import InputError

CONVERTED = "params/"  # begins names of this package's own files
# What begins a name that only this network has; a later one of a family may have the earlier one's names too.
OTHER_NETWORKS = {
    "Cutie": "object_transformer.",
    "XMem": "key_proj.d_proj.",
    "STCN": "key_proj.key_proj.",
    "MiVOS": "mask_rgb_encoder.",
}


def layout_of(names: Iterable[str]) -> Layout | None:
    """STM's or AFB-URR's layout; None where the names are those of neither, such as a backbone's.

    Raises:
      InputError: the weights are of another network for video object segmentation, or converted already.
    """
    plain = [name.removeprefix(PREFIX) for name in names]
    if any(name.startswith(CONVERTED) for name in plain):
        raise InputError("holds weights of munet_jax already; --to-pytorch is the way back")
    for layout in (STM, AFB_URR):
        if any(re.match(rf"({layout.memory_encoder}|{layout.query_embedding})\.", name) for name in plain):
            return layout
    for called, beginning in OTHER_NETWORKS.items():
        if any(name.startswith(beginning) for name in plain):
            raise InputError(
                f"holds weights of {called}, a network that does not exist here; STM's, AFB-URR's and those of backbones "
                "(ResNet-18, ResNet-50, EfficientNet-Lite0) can be converted"
            )
    return None
