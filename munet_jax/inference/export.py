"""The step of inference as StableHLO with the weights inside, for programs that have jax and not this package."""

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
from munet_jax.inference.arguments import check_options, check_similarity
from munet_jax.inference.half import cast_parameters, in_dtype
from munet_jax.inference.slots import slot_bucket
from munet_jax.inference.views import geometry_for
from munet_jax.models import MUNet, video
from munet_jax.models.memory import create_policy
from munet_jax.models.padding import STRIDE
from munet_jax.runtime.atomic_files import atomic_path, writing_to
from munet_jax.runtime.errors import InputError

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, DESCRIPTION = "step.stablehlo", "step.json"


def create_step(
    model: MUNet, variables: Any, config: ConfigDict, size: tuple[int, int], objects: int
) -> tuple[Callable[..., dict[str, Array]], dict[str, Any]]:
    """`video.step` as a function of plain arrays, and the shapes of its arguments.

    step(state, frame, labels, named) -> the next state and probabilities, uncertainty, attention, all by name. The state before
    the first frame is zeros. Frames are uint8 [1, h, w, 3]; labels and named are those of `video.Given`, zeros and False where
    no mask is given.

    Args:
      model: the network.
      variables: go into the function.
      config: its section `inference` says how the memory works.
      size: (height, width) of the frames.
      objects: at most.

    Raises:
      InputError: the config asks for what one step does not do.
    """
    options, slots = config.inference, slot_bucket(objects)
    check_exportable(options, size, objects)
    check_similarity(options, model.matcher.similarity)
    policy, model = create_policy(options), in_dtype(model, options.dtype).clone(object_chunk=options.object_chunk)
    variables = {**variables, "params": cast_parameters(model, variables["params"])}
    initial = jax.eval_shape(
        lambda: video.init_state(model, variables, size, slots, policy=policy, frames=policy.capacity)
    )
    paths, structure = jax.tree_util.tree_flatten_with_path(initial)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]

    def step(state: dict[str, Array], frame: Array, labels: Array, named: Array) -> dict[str, Array]:
        before = jax.tree.unflatten(structure, [state[name] for name in names])
        after, output = video.step(model, variables, before, frame, video.Given(labels, named))
        return dict(zip(names, jax.tree.leaves(after), strict=True)) | output._asdict()

    shape = jax.ShapeDtypeStruct
    return step, {
        "state": dict(zip(names, jax.tree.leaves(initial), strict=True)),
        "frame": shape((1, *size, 3), jnp.uint8),
        "labels": shape((1, *size), jnp.int32),
        "named": shape((1, slots), jnp.bool_),
    }


def export_step(
    model: MUNet,
    variables: Any,
    config: ConfigDict,
    folder: Path,
    *,
    size: tuple[int, int],
    objects: int,
    platforms: Sequence[str] = PLATFORMS,
) -> list[Path]:
    """Write step.stablehlo, and step.json, which says what goes into it (`munet export-step`).

    Args:
      model: the network.
      variables: its parameters and statistics.
      config: of the network; see `create_step`.
      folder: is made.
      size: (height, width) of the frames.
      objects: at most.
      platforms: where it will run; no such device is needed here.

    Raises:
      InputError: a platform that does not exist, a config that cannot be exported, or a folder that cannot be written to.
    """
    wrong = set(platforms) - set(PLATFORMS)
    if wrong or not platforms:
        raise InputError(f"--platforms {' '.join(sorted(wrong))}: choose of {', '.join(PLATFORMS)}")
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError("exporting needs the extra 'export': pip install 'munet_jax[export]'")
    step, arguments = create_step(model, variables, config, size, objects)
    exported = export.export(jax.jit(step), platforms=list(platforms))(*arguments.values())
    described = jax.tree.map(lambda x: {"shape": list(x.shape), "dtype": str(x.dtype)}, arguments)
    paths = [folder / PROGRAM, folder / DESCRIPTION]
    with writing_to(folder):
        paths[1].unlink(missing_ok=True)  # it is written last: a folder that has it is whole
        with atomic_path(paths[0]) as temporary:
            temporary.write_bytes(exported.serialize())
        with atomic_path(paths[1]) as temporary:
            temporary.write_text(json.dumps(described | {"platforms": list(platforms)}, indent=2))
    return paths


def check_exportable(options: ConfigDict, size: tuple[int, int], objects: int) -> None:
    """Refuse what the exported step would not do: it works on frames as they are, in one view."""
    check_options(options)
    if min(size) < STRIDE or not 1 <= objects <= options.max_objects:
        raise InputError(
            f"frames of {size[1]} x {size[0]} with {objects} objects: give at least {STRIDE} pixels and 1 to "
            f"{options.max_objects} objects (config.inference.max_objects)"
        )
    work = geometry_for(options, size).work
    if work != size:
        raise InputError(
            f"config.inference.{'max' if work < size else 'min'}_size works on frames of {size[1]} x {size[0]} at {work[1]} x "
            f"{work[0]}: export that size and scale the frames yourself, or set it to 0"
        )
    if options.flip or tuple(options.scales) != (1.0,):
        raise InputError("config.inference.flip and scales are not part of the exported step; switch them off")
