"""How much memory a video will need, before any of it is allocated, and what to lower where there is less."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from munet_jax.inference.views import Geometry, Network
from munet_jax.models import MUNet
from munet_jax.models.encoders import LightReferenceEncoder
from munet_jax.models.memory import Policy
from munet_jax.models.padding import STRIDE
from munet_jax.runtime.devices import device_in_use
from munet_jax.runtime.errors import InputError

F32 = 4
GIGA = 1e9
LOG = logging.getLogger("munet_jax")
# Maps of a size that XLA holds at the same time, as its CPU compiler's own figures show (a test compares).
MAPS_AT_STRIDE_2, MAPS_AT_STRIDE_4 = 1.6, 2.5


@dataclasses.dataclass(frozen=True)
class Budget:
    """Bytes: of the memory bank at its full size, and of everything that a step needs beside it for a moment."""

    bank: float
    step: float

    @property
    def total(self) -> float:
        """The bank and a step together."""
        return self.bank + self.step


def estimate(network: Network, geometries: Sequence[Geometry], slots: int, videos: int = 1) -> Budget:
    """What a video needs on the device, without the parameters.

    Args:
      network: the model and the memory's policy.
      geometries: of the views; each has a memory of its own, and they take their steps one after the other.
      slots: objects, padded.
      videos: that are segmented in step.
    """
    form = network.model.memory_format
    bank = sum(network.policy.bank_bytes(slots, geometry.positions, form) for geometry in geometries)
    step = max(step_bytes(network, geometry, slots) for geometry in geometries)
    return Budget(videos * bank, videos * step)


def step_bytes(network: Network, geometry: Geometry, slots: int) -> float:
    """The largest of a step's three parts: Enc-R, the memory read, the decoder; and the masks of all objects."""
    model, policy = network.model, network.policy
    positions = geometry.positions
    pixels = positions * STRIDE**2
    chunk = min(model.object_chunk or slots, slots)
    wide = np.dtype(model.decoder.dtype).itemsize
    at_2, at_4 = reference_widths(model)
    stride_2, stride_4 = pixels / 4 * at_2, pixels / 16 * at_4
    encoder = chunk * (MAPS_AT_STRIDE_2 * stride_2 + MAPS_AT_STRIDE_4 * stride_4) * wide
    decoder = chunk * MAPS_AT_STRIDE_4 * pixels / 16 * model.decoder.features[-1] * wide
    value = model.query_embedding.value_dim
    read = min(policy.chunk or policy.capacity * positions, policy.capacity * positions)
    matcher = slots * positions * (2 * read + 3 * value) * F32
    masks = 4 * slots * pixels * F32
    skips = pixels / 16 * (model.decoder.features[-1] + model.query_encoder.backbone.stage_widths[0]) * wide
    return max(encoder, decoder, matcher) + masks + skips


def reference_widths(model: MUNet) -> tuple[int, int]:
    """Enc-R's channels at strides 2 and 4."""
    encoder = model.reference_encoder
    if isinstance(encoder, LightReferenceEncoder):
        return encoder.widths[0], encoder.widths[1]
    return encoder.backbone.width, encoder.backbone.stage_widths[0]


def check_budget(
    network: Network, geometries: Sequence[Geometry], slots: int, *, held: int = 0, videos: int = 1
) -> None:
    """Say how much memory a video, or several in step, will need.

    Args:
      network: the model and the memory's policy.
      geometries: of the views.
      slots: objects, padded.
      held: bytes of a memory bank that is there already.
      videos: that are segmented in step.

    Raises:
      InputError: the device has less; which options to lower, and to what.
    """
    budget, free = estimate(network, geometries, slots, videos), available_memory()
    available = None if free is None else free + held
    height, width = geometries[0].work
    needs = (
        f"{f'{videos} videos with ' if videos > 1 else ''}frames worked on at {width} x {height} with {slots} object slots need "
        f"about {budget.total / GIGA:.2f} GB (memory bank {budget.bank / GIGA:.2f}, a step {budget.step / GIGA:.2f})"
    )
    LOG.info("%s%s", needs, "" if available is None else f"; {available / GIGA:.1f} GB are free")
    if available is not None and budget.total > available:
        fewer = "set config.evaluation.batch_videos to fewer, or " if videos > 1 else ""
        raise InputError(
            f"{needs} and {available / GIGA:.2f} GB are free; {fewer}{advice(network, geometries, slots, available / videos)}"
        )


def advice(network: Network, geometries: Sequence[Geometry], slots: int, available: float | int) -> str:
    """Which fields of `config.inference` to lower to which value, each of which is enough alone; else all together."""

    def fits(policy: Policy = network.policy, chunk: int | None = None, views: Sequence[Geometry] = geometries) -> bool:
        model = network.model if chunk is None else network.model.clone(object_chunk=chunk)
        return estimate(network._replace(model=model, policy=policy), views, slots).total <= available

    policy, options = network.policy, []
    for capacity in range(policy.capacity - 1, policy.least_capacity - 1, -1):
        if fits(dataclasses.replace(policy, capacity=capacity)):
            options.append(f"{policy.capacity_option} to {capacity}")
            break
    options += [f"object_chunk to {n}" for n in (8, 4, 2, 1) if n < slots and fits(chunk=n)][:1]
    options += [f"read_chunk to {n}" for n in (1024, 256) if fits(dataclasses.replace(policy, chunk=n))][:1]
    short = min(geometries[0].work)
    for side in range(short // 16 * 16, 0, -16):
        if side < short and fits(views=[shrink(geometry, side / short) for geometry in geometries]):
            options.append(f"max_size to {side}")
            break
    if not options:
        return "no single option of config.inference brings it below that; track fewer objects, or free memory"
    return f"lower {' or '.join(options)} (config.inference; munet segment has options of these names)"


def shrink(geometry: Geometry, factor: float) -> Geometry:
    """The same view at another size."""
    height, width = (max(1, round(length * factor)) for length in geometry.work)
    return dataclasses.replace(geometry, work=(height, width))


def available_memory() -> int | None:
    """Bytes that the device of this thread has free; None where the platform does not tell."""
    device = device_in_use()
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= stats.keys() else None
    limits = [_linux_free(), _cgroup_free()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _linux_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def _cgroup_free() -> int | None:
    """What a container's limit leaves, files that the system keeps in memory and can drop not counted; versions 2 and 1."""
    two, one = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
    for folder, limit, used, cache in (
        (two, "memory.max", "memory.current", "inactive_file"),
        (one, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = ((folder / name).read_text().strip() for name in (limit, used))
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return int(most) - int(now) + int(statistics.get(cache, 0))
        except (OSError, ValueError):  # no such files, or 'max': no limit
            continue
    return None
