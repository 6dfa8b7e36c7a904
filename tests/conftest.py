"""Set up before anything imports jax: four CPU devices, strict promotion, shapes checked at run time."""

import os
from collections.abc import Iterator

# Tests compile far more than they run: XLA's expensive passes cost more than they gain.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=4"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("munet_jax", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """Optax's AdamW mixes floats with its integer count, Flax's GroupNorm its compute dtype with f32."""
    with jax.numpy_dtype_promotion("standard"):
        yield
