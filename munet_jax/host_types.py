"""The part of the tensor glossary that lies on the host, in modules that never load JAX.

Reading, scoring and drawing masks need no JAX; `array_types` has the letters of all shapes, the device arrays, and these.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Image = UInt8[np.ndarray, "h w 3"]
LabelMap = UInt8[np.ndarray, "h w"]
BinaryMask = Bool[np.ndarray, "h w"]

__all__ = ["BinaryMask", "Bool", "Float", "Image", "Int", "LabelMap", "UInt8"]
