"""What the benchmarks share: networks and pictures that need no data, the machine and its ceiling, and timing."""

from __future__ import annotations

import importlib
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from munet_jax.inference.views import predict_step, remember_step
from munet_jax.models import MUNet, create_model, video
from munet_jax.models.create import variable_shapes
from munet_jax.models.memory import Policy
from munet_jax.training.optimizer import create_optimizer
from munet_jax.training.step import TrainState

# Of the ceiling: the largest convolution of the paper's decoder, and a product that caches hold.
CONVOLUTION = (1, 120, 216, 256)
PRODUCT = 2048


def random_variables(model: MUNet) -> Any:
    """Kernels that keep a signal's size, norms that change nothing: nothing has to be compiled to make them."""
    rng = np.random.default_rng(0)

    def draw(path: Any, x: Any) -> np.ndarray:
        if x.ndim >= 3:
            return rng.standard_normal(x.shape, np.float32) / np.sqrt(np.prod(x.shape[:3]), dtype=np.float32)
        return np.full(x.shape, path[-1].key in ("scale", "var"), np.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(model))


def lowered_steps(model: MUNet, policy: Policy, size: tuple[int, int], objects: int) -> tuple[Any, Any, Any]:
    """Both halves of a step with the memory's first room, lowered from shapes alone; and the shapes of the memory."""
    variables, shape = variable_shapes(model), jax.ShapeDtypeStruct
    state = jax.eval_shape(lambda: video.init_state(model, variables, size, objects, policy=policy))
    bank, rest = state.bank, state._replace(bank=None)
    frame, flag = shape((1, *size, 3), jnp.uint8), shape((), jnp.bool_)
    predict = predict_step.jitted.lower(model, variables, bank, rest, frame)
    _, remembered, _ = jax.eval_shape(lambda *args: video.predict(model, *args), variables, state, frame)
    remember = remember_step.jitted.lower(
        model, variables, bank, rest, remembered, frame, state.masks, state.objects, state.objects, flag
    )
    return predict, remember, bank


def first_mask(size: tuple[int, int], objects: int) -> np.ndarray:
    """Objects side by side."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    for number in range(objects):
        left = width * number // objects
        mask[height // 4 : height // 2, left : left + width // (2 * objects)] = number + 1
    return mask


def moving_picture(size: tuple[int, int], number: int) -> np.ndarray:
    """Frame `number` of a picture of noise that moves: RGB uint8 [h, w, 3]."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return np.roll(picture, (number, 2 * number), axis=(0, 1))


def peak_bytes() -> int:
    """Of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def seconds_of(work: Callable[[], Any]) -> float:
    """Of one call, until its result is there."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def median(values: Sequence[float]) -> float:
    """Rounded for a table."""
    return round(statistics.median(values), 4)


def training_parts(name: str) -> tuple[ConfigDict, MUNet, optax.GradientTransformation, TrainState]:
    """Of configs/NAME.py or NAME:FORM: its config, network, optimizer with a fixed rate, and a state of random parameters."""
    module, _, form = name.partition(":")
    config = importlib.import_module(f"configs.{module}").get_config(*([form] if form else []))
    model = create_model(config.model)
    optimizer = create_optimizer(config.optimizer, optax.constant_schedule(1e-5), freeze=tuple(config.train.freeze))
    variables = random_variables(model)
    params = variables["params"]
    return (
        config,
        model,
        optimizer,
        TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), optimizer.init(params)),
    )


class Ceiling:
    """The best that this machine does at the moment, in GFLOP/s; measured in turn with what is compared to it."""

    def __init__(self) -> None:
        """Compiles a convolution and a product."""
        rng = np.random.default_rng(0)
        channels = CONVOLUTION[-1]
        x = jnp.asarray(rng.standard_normal(CONVOLUTION, np.float32))
        kernel = jnp.asarray(rng.standard_normal((3, 3, channels, channels), np.float32))
        a = jnp.asarray(rng.standard_normal((PRODUCT, PRODUCT), np.float32))
        convolve = jax.jit(
            lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        )
        multiply = jax.jit(jnp.dot)
        self._work = {"convolution": lambda: convolve(x, kernel), "product": lambda: multiply(a, a)}
        flops = {"convolution": 2 * 9 * channels * x.size, "product": 2 * PRODUCT**3}
        self._gflop = {name: count / 1e9 for name, count in flops.items()}
        self.best = dict.fromkeys(flops, 0.0)
        self.measure()  # compiles
        self.best = dict.fromkeys(flops, 0.0)

    def measure(self) -> None:
        """Once more; the best stays."""
        for name, work in self._work.items():
            rate = self._gflop[name] / seconds_of(work)
            self.best[name] = round(max(self.best[name], rate), 1)


def machine() -> dict[str, Any]:
    """What figures depend on."""
    names = [line.split(":", 1)[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(names),
        "avx512": any("avx512f" in line for line in cpu_lines()),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def cpu_lines() -> list[str]:
    """Of Linux's description of its processors; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []
