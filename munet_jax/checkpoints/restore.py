"""Where a run starts from, in a fixed order: its own checkpoint, other weights, a backbone, scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import has_checkpoint, parameter_shapes
from munet_jax.checkpoints.runs import trained_variables
from munet_jax.checkpoints.weight_file import WEIGHTS_SUFFIX, find_weights, read_weights
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.models.create import create_model, variable_shapes
from munet_jax.models.resnet import MASK_KERNELS
from munet_jax.runtime.errors import InputError

ENCODERS = ("query_encoder", "reference_encoder")


def start_variables(config: ConfigDict, variables: dict[str, Any], workdir: Path) -> dict[str, Any]:
    """What a run begins with, before its own checkpoint: `variables`, drawn from the seed, or what the config names.

    1. A checkpoint in `workdir` goes before everything, so nothing else is read.
    2. The parameters of another run, of a file of `munet export-weights` or of a shipped name, `train.init_from`.
    3. Both encoders from a converted ResNet, `train.backbone`.
    4. Scratch.

    Raises:
      InputError: what is named is not there, or does not fit the model.
    """
    if has_checkpoint(workdir):
        return variables
    if config.train.init_from:
        return other_variables(config, find_weights(config.train.init_from))
    if config.train.backbone:
        return with_backbone(variables, Path(config.train.backbone))
    return variables


def other_variables(config: ConfigDict, path: Path) -> dict[str, Any]:
    """Parameters and statistics of a run (its newest checkpoint) or of an exported file, for the model of `config`."""
    if path.suffix != WEIGHTS_SUFFIX:
        return trained_variables(config, path)[0]
    variables, _, _ = read_weights(path)
    ours, theirs = (
        parameter_shapes(tree) for tree in (variable_shapes(create_model(config.model))["params"], variables["params"])
    )
    if ours != theirs:
        name = sorted(set(ours.items()) ^ set(theirs.items()))[0][0]
        raise InputError(
            f"config.train.init_from: {path} is of another model: parameter {name} is {theirs.get(name, 'not in it')} there "
            f"and {ours.get(name, 'not used')} in this config; use the model of its own config"
        )
    return variables


def with_backbone(variables: dict[str, Any], path: Path) -> dict[str, Any]:
    """`variables` with their encoders from a converted backbone.

    A ResNet starts both encoders; the mask's kernel of Enc-R stays as it was drawn. An EfficientNet starts Enc-Q: a light Enc-R
    has a network of its own.
    """
    backbone, kind = read_backbone(path)
    encoders = [name for name in ENCODERS if name == ENCODERS[0] or "backbone" in variables["params"][name]]
    replaced = {}
    for collection, stored in backbone.items():
        tree = dict(variables[collection])
        for encoder in encoders:
            ours = dict(tree.get(encoder, {}).get("backbone", {}))
            own = {name: ours[name] for name in ours.keys() - stored.keys() if name in MASK_KERNELS}
            if parameter_shapes(stored | own) != parameter_shapes(ours):
                raise InputError(
                    f"config.train.backbone: {path} is a {kind} with frozen batch norm, and config.model.{encoder} is "
                    "another network; make its kind, and of a ResNet block, stage_sizes, width and norm, the file's"
                )
            tree[encoder] = {"backbone": stored | own}
        replaced[collection] = tree
    return variables | replaced
