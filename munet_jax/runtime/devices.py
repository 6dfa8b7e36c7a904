"""The devices that JAX computes on: whether there are any, asked before long work."""

from __future__ import annotations

import os

from munet_jax.runtime.errors import InputError


def require_device() -> None:
    """Ask JAX for its devices, which it looks for once.

    Raises:
      InputError: there are none of the platform that was asked for.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError, OSError) as error:  # by platform and version of its plugin
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        wanted = f"of the platform {asked!r} that JAX_PLATFORMS asks for" if asked else "that works"
        raise InputError(
            f"JAX finds no device {wanted}{reason}; install its plugin (pip install 'munet_jax[cuda]' for NVIDIA GPUs) and look "
            "at the driver, or set JAX_PLATFORMS=cpu"
        ) from error
