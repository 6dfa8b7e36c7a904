"""The tensor glossary: what every letter in a shape means, and the aliases that signatures use.

    b   clips (or frames) in a batch          n   object slots, padded; slot i holds object i + 1
    t   frames of a clip                      c   n + 1 classes: background, then the object slots
    h w height and width at the place named   d   feature channels (1024 at stride 16 in the paper's size)
    k   key channels (128)                    v   value channels (512)
    f   frames a memory bank can hold         m   memory positions, f * p
    p   positions of one frame at stride 16   q   positions that read the memory
    u   positions of the search window, (2 * radius + 1) ** 2, dy-major and dx-minor

Arrays are channels-last. Frames are RGB in [0, 1], unless they are uint8. The tests check every annotated call at run time
through jaxtyping's import hook; users pay nothing for it.
"""

from __future__ import annotations

from jaxtyping import Array

from munet_jax.host_types import BinaryMask, Bool, Float, Image, Int, LabelMap, UInt8

# Device arrays.
FrameBatch = Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]
ClipBatch = Float[Array, "b t h w 3"] | UInt8[Array, "b t h w 3"]
FeatureMap = Float[Array, "b h w d"]
AnyMap = Float[Array, "_ _ _ _"]  # a map whose stride or channels the function changes
Keys = Float[Array, "b n f p k"]  # p = h' * w' positions of one frame
Values = Float[Array, "b n f p v"]
Occupied = Bool[Array, "b n f p"]
ObjectMasks = Float[Array, "b n h w"]
ObjectValid = Bool[Array, "b n"]
CostVolume = Float[Array, "b h w u"]
Displacement = Float[Array, "b h w 2"]
Uncertainty = Float[Array, "b h w 1"]
ClassLogits = Float[Array, "b h w c"]
Scalar = Float[Array, ""]

__all__ = [
    "AnyMap", "Array", "BinaryMask", "Bool", "ClassLogits", "ClipBatch", "CostVolume", "Displacement", "FeatureMap",
    "Float", "FrameBatch", "Image", "Int", "Keys", "LabelMap", "ObjectMasks", "ObjectValid", "Occupied",
    "Scalar", "UInt8", "Uncertainty", "Values",
]  # fmt: skip
