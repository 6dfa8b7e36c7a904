"""The steps of inference as StableHLO with the weights inside, for programs that have jax and not this package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from ml_collections import ConfigDict

from munet_jax.array_types import Array
from munet_jax.inference.segmenter import slot_bucket
from munet_jax.inference.stream import create_settings
from munet_jax.inference.views import working_size
from munet_jax.models import MUNet
from munet_jax.models.aggregation import STRIDE, object_probabilities
from munet_jax.models.memory import FIRST_SLOT, PREVIOUS_SLOT, EveryK, MemoryBank, init_bank
from munet_jax.runtime.atomic_files import atomic_path
from munet_jax.runtime.errors import InputError

PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".stablehlo"
DESCRIPTION = "steps.json"


def create_steps(
    model: MUNet, variables: Any, config: ConfigDict, size: tuple[int, int], objects: int
) -> dict[str, tuple[Callable[..., dict[str, Array]], list[Any]]]:
    """Three functions of plain arrays, and the shapes of their arguments.

    * first(frame) -> reduced, key: of a frame whose masks are given and that has no frame before it.
    * query(frame, reduced, masks, keys, values, occupied, objects) -> probabilities, reduced, key: `reduced` and `masks` are the
      frame's before.
    * memorise(frame, masks, key, keys, values, occupied, objects, slot) -> keys, values, occupied: the frame before, in slot
      0, is forgotten. A network whose Enc-R takes Enc-Q's feature has one output and one argument more, `semantic`, after `key`.

    Frames are uint8 [1, h, w, 3], masks f32 [1, n, h, w] without background, objects bool [1, n].

    Args:
      model: the network.
      variables: go into the functions.
      config: its `inference` gives the number of memory frames and the chunks; the memory is that of 'every_k'.
      size: (height, width) of the frames.
      objects: at most.
    """
    settings = create_settings(config.inference)
    policy = settings.policy
    if not isinstance(policy, EveryK):
        raise InputError("config.inference.memory_policy must be 'every_k' here: the exported memory is one of frames")
    check_exportable(config.inference, size, objects)
    slots, positions = slot_bucket(objects), -(-size[0] // STRIDE) * -(-size[1] // STRIDE)
    embedding = model.query_embedding
    assert embedding.key_dim is not None
    room = policy.capacity
    bank = jax.eval_shape(
        lambda: init_bank(
            1, slots, room, positions,
            key_dim=embedding.key_dim or 0, value_dim=embedding.value_dim, dtype=embedding.dtype,
        )
    )  # fmt: skip

    def left(reduced: Array, key: Array, semantic: Array | None) -> dict[str, Array]:
        return {"reduced": reduced, "key": key} | ({} if semantic is None else {"semantic": semantic})

    def first(frame: Array) -> dict[str, Array]:
        def run(module: MUNet) -> dict[str, Array]:
            encoded = module.encode(frame)
            return left(encoded.reduced, module.first_key(encoded), module.semantic(encoded))

        return model.apply(variables, method=run)

    def query(
        frame: Array, reduced: Array, masks: Array, keys: Array, values: Array, occupied: Array, objects: Array
    ) -> dict[str, Array]:
        def run(module: MUNet) -> dict[str, Array]:
            encoded = module.encode(frame)
            asked = module.query(encoded, reduced)
            matched, _ = module.read(asked, MemoryBank(keys, values, occupied), chunk=settings.read_chunk)
            logits = module.decode(asked, matched, objects, masks, chunk=settings.object_chunk)
            return {"probabilities": object_probabilities(logits)} | left(encoded.reduced, asked.key, asked.semantic)

        return model.apply(variables, method=run)

    def memorise(frame: Array, masks: Array, key: Array, *rest: Array) -> dict[str, Array]:
        *semantic, keys, values, occupied, objects, slot = rest
        chunk = settings.object_chunk
        new_key, value = model.apply(variables, frame, masks, key, *semantic, chunk=chunk, method="memorise")
        after = policy.write(MemoryBank(keys, values, occupied), new_key, value, objects, slot)
        return after._asdict()

    shape = jax.ShapeDtypeStruct
    frame, masks = shape((1, *size, 3), jnp.uint8), shape((1, slots, *size), jnp.float32)
    there, slot = shape((1, slots), jnp.bool_), shape((), jnp.int32)
    after = jax.eval_shape(first, frame)
    asked = [after[name] for name in ("key", "semantic") if name in after]
    return {
        "first": (first, [frame]),
        "query": (query, [frame, after["reduced"], masks, *bank, there]),
        "memorise": (memorise, [frame, masks, *asked, *bank, there, slot]),
    }


def export_steps(
    model: MUNet,
    variables: Any,
    config: ConfigDict,
    folder: Path,
    *,
    size: tuple[int, int],
    objects: int,
    platforms: Sequence[str] = PLATFORMS,
) -> list[Path]:
    """Write first.stablehlo, query.stablehlo, memorise.stablehlo and steps.json, which says what goes into them.

    Args:
      model: see `create_steps`.
      variables: likewise.
      config: likewise.
      folder: is made.
      size: likewise.
      objects: likewise.
      platforms: where they will run; no such device is needed here.

    Raises:
      InputError: a platform that does not exist, or a config that cannot be exported.
    """
    wrong = set(platforms) - set(PLATFORMS)
    if wrong or not platforms:
        raise InputError(f"--platforms {' '.join(sorted(wrong))}: choose of {', '.join(PLATFORMS)}")
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError("exported steps need the extra 'export': pip install 'munet_jax[export]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
    steps, paths = create_steps(model, variables, config, size, objects), []
    described: dict[str, Any] = {}
    for name, (function, arguments) in steps.items():
        exported = export.export(jax.jit(function), platforms=list(platforms))(*arguments)
        paths.append(folder / f"{name}{SUFFIX}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(exported.serialize())
        described[name] = [{"shape": list(x.shape), "dtype": str(x.dtype)} for x in arguments]
    described |= {
        "platforms": list(platforms),
        "memory_interval": config.inference.memory_interval,
        "previous_slot": PREVIOUS_SLOT,
        "first_slot": FIRST_SLOT,
    }
    paths.append(folder / DESCRIPTION)
    with atomic_path(paths[-1]) as temporary:
        temporary.write_text(json.dumps(described, indent=2))
    return paths


def check_exportable(options: ConfigDict, size: tuple[int, int], objects: int) -> None:
    """Refuse what the exported steps would not do: they work on frames as they are, in one view."""
    if min(size) < STRIDE or not 1 <= objects <= options.max_objects:
        raise InputError(
            f"frames of {size[1]} x {size[0]} with {objects} objects: give at least {STRIDE} pixels and 1 to "
            f"{options.max_objects} objects (config.inference.max_objects)"
        )
    work = working_size(size, options.max_size)
    if work != size:
        raise InputError(
            f"config.inference.max_size works on frames of {size[1]} x {size[0]} at {work[1]} x {work[0]}: export that size and "
            "scale the frames yourself, or set it to 0"
        )
    if options.flip or tuple(options.scales) != (1.0,):
        raise InputError("config.inference.flip and scales are not part of the exported steps; switch them off")
