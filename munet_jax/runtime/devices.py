"""The devices that JAX computes on: whether there are any, which one this thread uses, and how products are computed."""

from __future__ import annotations

import os
from typing import Any

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
            f"JAX finds no device {wanted}{reason}; install its plugin (for NVIDIA GPUs pip install 'munet_jax[cuda13]', or "
            "[cuda12]) and look at the driver, or set JAX_PLATFORMS=cpu"
        ) from error


def device_in_use() -> Any:
    """The device that this thread's arrays go to: that of `jax.default_device`, else the first."""
    import jax

    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return jax.local_devices(backend=chosen)[0] if chosen is None or isinstance(chosen, str) else chosen


def matmul_precision() -> str:
    """How products are computed that ask for nothing of their own; 'default' is TF32 on newer NVIDIA GPUs, and bf16 on TPUs."""
    import jax

    return jax.config.jax_default_matmul_precision or "default"  # type: ignore[attr-defined]
