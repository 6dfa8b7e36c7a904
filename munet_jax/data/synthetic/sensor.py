"""What a camera adds to a rendered picture: sensor noise, and light that changes from frame to frame."""

from __future__ import annotations

import numpy as np

from munet_jax.host_types import Image

# Added to the seeds of a video, so that its noise is not the randomness of its layout.
_STREAM = 7


def expose(image: Image, *, noise: float, flicker: float, seeds: tuple[int, ...]) -> Image:
    """A rendered frame as a camera would give it.

    Args:
      image: RGB uint8 [h, w, 3].
      noise: standard deviation of each value's noise, in 8-bit steps; triangular, independent per pixel and channel.
      flicker: largest change of each channel's gain, as a share; one gain per channel and frame.
      seeds: what the random numbers depend on: a frame has its own.

    Returns:
      RGB uint8 [h, w, 3].
    """
    rng = np.random.default_rng([_STREAM, *seeds])
    values = image.astype(np.float32)
    if flicker:
        values *= 1.0 + np.float32(flicker) * rng.uniform(-1.0, 1.0, 3).astype(np.float32)
    if noise:
        # The sum of two uniform integers: cheap, and the same on every machine, which a normal deviate need not be.
        reach = round(noise * 1.5**0.5 * 16)
        drawn = rng.integers(-reach, reach + 1, (2, *image.shape), dtype=np.int16)
        values += (drawn[0] + drawn[1]).astype(np.float32) / 16.0
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
