"""Where variables come from: a trained run, or a converted backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from munet_jax.convert.files import read_backbone
from munet_jax.errors import InputError
from munet_jax.models import create_model
from munet_jax.training.checkpoints import FOLDER, NEWEST, Checkpoints, has_checkpoint, parameter_shapes
from munet_jax.training.step import TrainState, abstract_batch, create_variables
from munet_jax.weights import WEIGHTS_SUFFIX, find_weights, read_weights

ENCODERS = ("query_encoder", "reference_encoder")


def start_state(config: ConfigDict, state: TrainState, workdir: Path) -> TrainState:
    """What a run begins with, before its own checkpoint: `state`, which comes from the seed, or what the config names.

    1. A checkpoint in `workdir` goes before everything, so nothing else is read.
    2. The parameters of another run, of a file of `munet export-weights` or of a shipped name, `train.init_from`.
    3. Both encoders from a converted ResNet, `train.backbone`.
    4. Scratch.

    Raises:
      InputError: what is named is not there, or does not fit the model.
    """
    if has_checkpoint(workdir):
        return state
    if config.train.init_from:
        variables = other_variables(config, find_weights(config.train.init_from))
        return with_parameters(state, variables)
    if config.train.backbone:
        return with_backbone(state, Path(config.train.backbone))
    return state


def other_variables(config: ConfigDict, path: Path) -> dict[str, Any]:
    """Parameters and statistics of a run (its newest checkpoint) or of an exported file, for the model of `config`."""
    if path.suffix != WEIGHTS_SUFFIX:
        return trained_variables(config, path)[0]
    variables, _, _ = read_weights(path)
    ours, theirs = (parameter_shapes(tree) for tree in (variable_shapes(config)["params"], variables["params"]))
    if ours != theirs:
        name = sorted(set(ours.items()) ^ set(theirs.items()))[0][0]
        raise InputError(
            f"config.train.init_from: {path} is of another model: parameter {name} is {theirs.get(name, 'not in it')} there "
            f"and {ours.get(name, 'not used')} in this config; use the model of its own config"
        )
    return variables


def variable_shapes(config: ConfigDict) -> Any:
    """Shapes of the parameters and statistics of a config's model."""
    batch = abstract_batch(config, 1)
    return jax.eval_shape(lambda: create_variables(create_model(config.model), batch, seed=0))


def with_parameters(state: TrainState, variables: dict[str, Any]) -> TrainState:
    """`state` with other parameters and statistics; a moving average begins with them."""
    ema = jax.tree.map(np.copy, variables["params"]) if state.ema else {}
    return state.replace(params=variables["params"], batch_stats=variables["batch_stats"], ema=ema)


def with_backbone(state: TrainState, path: Path) -> TrainState:
    """`state` with its encoders from a converted backbone: both from a ResNet, where the mask's kernel of Enc-R stays as it was
    drawn, Enc-Q from an EfficientNet (a light Enc-R has a network of its own).
    """
    backbone, kind = read_backbone(path)
    encoders = [name for name in ENCODERS if name == ENCODERS[0] or "backbone" in state.params[name]]
    replaced = {}
    for collection, stored in backbone.items():
        tree = dict(getattr(state, collection))
        for encoder in encoders:
            ours = dict(tree.get(encoder, {}).get("backbone", {}))
            own = {name: ours[name] for name in ours.keys() - stored.keys() if name == "conv1_mask"}
            if parameter_shapes(stored | own) != parameter_shapes(ours):
                raise InputError(
                    f"config.train.backbone: {path} is a {kind} with frozen batch norm, and config.model.{encoder} is "
                    "another network; make its kind, and of a ResNet block, stage_sizes, width and norm, the file's"
                )
            tree[encoder] = {"backbone": stored | own}
        replaced[collection] = tree
    return with_parameters(state, replaced)


def trained_variables(config: ConfigDict, workdir: Path, step: int | str = NEWEST) -> tuple[dict[str, Any], int]:
    """Parameters and statistics of a checkpoint (a step, 'newest' or 'best') for `model.apply`, and its step.

    Raises:
      InputError: no checkpoint there, or one of another model than `config` describes.
    """
    if not (workdir / FOLDER).is_dir():
        raise InputError(f"no checkpoints in {workdir}; train first: python train.py --config ... --workdir {workdir}")
    shapes = variable_shapes(config)
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_variables(shapes["params"], step)
    finally:
        checkpoints.close()
