"""How much memory a video will need, before any of it is allocated, and what to lower where there is less."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.inference.stream import Settings
from munet_jax.inference.views import Geometry
from munet_jax.models import MUNet
from munet_jax.models.aggregation import STRIDE
from munet_jax.models.encoders import LightReferenceEncoder
from munet_jax.models.memory import FRAME_BUCKETS, EveryK
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
        """Both."""
        return self.bank + self.step


def estimate(model: MUNet, settings: Settings, geometries: Sequence[Geometry], slots: int) -> Budget:
    """What a video needs on the device, without the parameters.

    Args:
      model: the network.
      settings: policy and chunks.
      geometries: of the views; each has a memory of its own, and they take their steps one after the other.
      slots: objects, padded.
    """
    bank = sum(bank_bytes(model, settings, geometry, slots) for geometry in geometries)
    return Budget(bank, max(step_bytes(model, settings, geometry, slots) for geometry in geometries))


def bank_bytes(model: MUNet, settings: Settings, geometry: Geometry, slots: int) -> float:
    """Of one view's memory; where it grows the old one is there too."""
    embedding, policy = model.query_embedding, settings.policy
    assert embedding.key_dim is not None
    width = (embedding.key_dim + embedding.value_dim) * np.dtype(embedding.dtype).itemsize
    frame = slots * geometry.positions * width
    if not isinstance(policy, EveryK):
        # A write makes the new memory beside the old one, and merges in f32.
        merging = policy.capacity * geometry.positions * (embedding.key_dim + 2 * embedding.value_dim) * F32
        return float(2 * frame * policy.capacity + merging)
    before = max((size for size in FRAME_BUCKETS if size < policy.capacity), default=0)
    return float(frame * (policy.capacity + before))


def step_bytes(model: MUNet, settings: Settings, geometry: Geometry, slots: int) -> float:
    """The largest of a step's three parts: Enc-R, the memory read, the decoder; and the masks of all objects."""
    height, width = geometry.padded
    pixels, positions = height * width, geometry.positions
    chunk = min(settings.object_chunk or slots, slots)
    wide = np.dtype(model.decoder.dtype).itemsize
    at_2, at_4 = reference_widths(model)
    stride_2, stride_4 = pixels / 4 * at_2, pixels / 16 * at_4
    encoder = chunk * (MAPS_AT_STRIDE_2 * stride_2 + MAPS_AT_STRIDE_4 * stride_4) * wide
    decoder = chunk * MAPS_AT_STRIDE_4 * pixels / 16 * model.decoder.features[-1] * wide
    policy = settings.policy
    value = model.query_embedding.value_dim
    read = min(settings.read_chunk or policy.capacity * positions, policy.capacity * positions)
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
    model: MUNet,
    settings: Settings,
    geometries: Sequence[Geometry],
    slots: int,
    config: ConfigDict,
    *,
    held: int = 0,
) -> None:
    """Say how much memory a video will need.

    Args:
      model: see `estimate`.
      settings: likewise.
      geometries: likewise.
      slots: likewise.
      config: `config.inference`.
      held: bytes of a memory bank that is there already.

    Raises:
      InputError: the device has less; which options to lower, and to what.
    """
    budget, free = estimate(model, settings, geometries, slots), available_memory()
    available = None if free is None else free + held
    height, width = geometries[0].work
    LOG.info(
        "frames worked on at %d x %d with %d object slots need about %.2f GB (memory bank %.2f, a step %.2f)%s",
        width, height, slots, budget.total / GIGA, budget.bank / GIGA, budget.step / GIGA,
        "" if available is None else f"; {available / GIGA:.1f} GB are free",
    )  # fmt: skip
    if available is not None and budget.total > available:
        raise InputError(
            f"frames worked on at {width} x {height} with {slots} object slots need about {budget.total / GIGA:.2f} GB (memory "
            f"bank {budget.bank / GIGA:.2f}, a step {budget.step / GIGA:.2f}) and {available / GIGA:.2f} GB are free; "
            f"{advice(model, settings, geometries, slots, available, config.size_multiple)}"
        )


def advice(
    model: MUNet,
    settings: Settings,
    geometries: Sequence[Geometry],
    slots: int,
    available: float | int,
    multiple: int = STRIDE,
) -> str:
    """Which fields of `config.inference` to lower to which value, each of which is enough alone; else all together."""

    def total(settings: Settings, geometries: Sequence[Geometry]) -> float:
        return estimate(model, settings, geometries, slots).total

    options = []
    policy = settings.policy
    field = "memory_capacity" if isinstance(policy, EveryK) else "adaptive_capacity"
    least = 3 if isinstance(policy, EveryK) else 2
    for capacity in range(policy.capacity - 1, least - 1, -1):
        smaller = settings._replace(policy=dataclasses.replace(policy, capacity=capacity))
        if total(smaller, geometries) <= available:
            options.append(f"{field} to {capacity}")
            break
    for chunk in (8, 4, 2, 1):
        if chunk < slots and total(settings._replace(object_chunk=chunk), geometries) <= available:
            options.append(f"object_chunk to {chunk}")
            break
    for chunk in (1024, 256):
        if total(settings._replace(read_chunk=chunk), geometries) <= available:
            options.append(f"read_chunk to {chunk}")
            break
    short = min(geometries[0].work)
    for side in range(short // 16 * 16, 0, -16):
        shrunk = [shrink(geometry, side / short, multiple) for geometry in geometries]
        if side < short and total(settings, shrunk) <= available:
            options.append(f"max_size to {side}")
            break
    if not options:
        return "no single option of config.inference brings it below that; follow fewer objects, or free memory"
    return f"lower {' or '.join(options)} (config.inference; munet segment has options of these names)"


def shrink(geometry: Geometry, factor: float, multiple: int) -> Geometry:
    """The same view at another size."""
    height, width = (max(1, round(length * factor)) for length in geometry.work)
    padded = -(-height // multiple) * multiple, -(-width // multiple) * multiple
    return dataclasses.replace(geometry, work=(height, width), padded=padded)


def available_memory() -> int | None:
    """Bytes that the first device has free; None where the platform does not tell."""
    device = jax.local_devices()[0]
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
