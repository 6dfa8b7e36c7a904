"""Set up before anything imports jax: four CPU devices, strict promotion, shapes checked at run time."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.quick_compile import QUICK

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4 {QUICK}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Where the programs of whole runs are kept, from one to the next; workers inherit it from the process that starts them.
if "MUNET_TEST_PROGRAMS" not in os.environ:
    os.environ["MUNET_TEST_PROGRAMS"] = tempfile.mkdtemp(prefix="munet-programs-")
    atexit.register(shutil.rmtree, os.environ["MUNET_TEST_PROGRAMS"], ignore_errors=True)

from jaxtyping import install_import_hook

install_import_hook("munet_jax", "beartype.beartype")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# What one test has compiled, the next ones load, in all workers: with a bound on its size the cache locks its files.
jax.config.update("jax_compilation_cache_dir", os.environ["MUNET_TEST_PROGRAMS"] + "/of_tests")
jax.config.update("jax_compilation_cache_max_size", 4 << 30)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of the 65,530 memory mappings that Linux allows a process; past them XLA's compiler ends in a segmentation fault.
MOST_MAPPINGS = 20_000


@pytest.fixture(scope="module", autouse=True)
def bounded_programs() -> Iterator[None]:
    """Every program that jax keeps takes memory mappings, and those of all tests of a worker would be too many."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """Optax's AdamW mixes floats with its integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def variables() -> Any:
    """Random ones of the network of configs/testing.py."""
    from configs import testing
    from munet_jax.models import create_model, init_variables
    from tests.models.tiny import random_clip

    frames, masks, objects = random_clip(b=1, t=2, size=(48, 64))
    variables = init_variables(create_model(testing.get_config().model), 0, frames=frames, masks=masks, objects=objects)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + jnp.asarray(0.05 * rng.standard_normal(x.shape), x.dtype), variables)
