"""Where a run starts from: its own checkpoint, or what `train.start` names: a backbone, other weights, scratch."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from munet_jax.checkpoints.orbax_manager import has_checkpoint, leaves_by_path, parameter_shapes
from munet_jax.checkpoints.runs import stored_variables
from munet_jax.checkpoints.weight_file import WEIGHTS_SUFFIX, find_weights, read_origin, read_weights
from munet_jax.convert.backbone_files import read_backbone
from munet_jax.models.create import create_model, variable_shapes
from munet_jax.models.fusion import with_open_attention
from munet_jax.models.matcher import with_scores_multiplied
from munet_jax.models.resnet import MASK_KERNELS
from munet_jax.runtime.errors import InputError

ENCODERS = ("query_encoder", "reference_encoder")
CHECKPOINT, BACKBONE, INIT_FROM, SCRATCH = "checkpoint", "backbone", "init_from", "scratch"
NAMED = 10  # tensors that a message lists
REMEDIES = {
    BACKBONE: "make one of ImageNet's ResNet-50 by: munet convert resnet50.pth backbone.safetensors, and give "
    "--config.train.backbone=backbone.safetensors (--config.train.start=scratch asks for random weights)",
    INIT_FROM: "give --config.train.init_from=, a run, a file of munet export-weights or 'lite'",
}


class Start(NamedTuple):
    """Where the parameters of a run come from."""

    kind: str  # 'checkpoint', or the value of `train.start`
    file: str = ""
    sha256: str = ""  # of the file; of a run, of its checkpoint's checksums
    random: tuple[
        str, ...
    ] = ()  # the parameters that are as they were drawn, from the run's seed or that of `munet convert`

    def __str__(self) -> str:
        """As a run tells it at its start."""
        if self.kind == CHECKPOINT:
            return "starts from its own newest checkpoint"
        if self.kind == SCRATCH:
            return f"starts from scratch: all {len(self.random)} parameters are random"
        file = f" {self.file} (sha256 {self.sha256[:12]})" if self.file else ""
        if not self.random:
            return f"starts from {self.kind}{file}; no parameter is new"
        return f"starts from {self.kind}{file}; {len(self.random)} parameters are new: {brief(self.random)}"


def start_variables(config: ConfigDict, variables: dict[str, Any], workdir: Path) -> tuple[dict[str, Any], Start]:
    """What a run begins with, and where it comes from: `variables`, drawn from the seed, or what the config names in their place.

    1. A checkpoint in `workdir` goes before everything, so nothing else is read.
    2. `train.start` 'init_from': the parameters of another run, of a file of `munet export-weights` or of a shipped name,
       `train.init_from`. What they lack stays as it was drawn; what `munet convert` drew counts as that, too. With
       `train.open_attention` their MSAM begins anew, with `train.score_factor` the memory's softmax is softer or sharper.
    3. 'backbone': the encoders from a converted ResNet or EfficientNet, `train.backbone`.
    4. 'scratch': `variables`.

    Raises:
      InputError: as `check_start`; what is named is not there, or does not fit the model.
    """
    check_start(config, workdir)
    if has_checkpoint(workdir):
        return variables, Start(CHECKPOINT)
    if config.train.start == SCRATCH:
        return variables, Start(SCRATCH, random=tuple(leaves_by_path(variables["params"])))
    if config.train.start == BACKBONE:
        path = Path(config.train.backbone)
        found, random = with_backbone(variables, path)
        return found, Start(BACKBONE, str(path), sha256_of(path), random)
    return began_with(config, variables)


def began_with(config: ConfigDict, variables: dict[str, Any]) -> tuple[dict[str, Any], Start]:
    """`start_variables` of a run with `train.start` 'init_from', whatever it has trained since."""
    path, drawn = find_weights(config.train.init_from), ()
    if path.suffix == WEIGHTS_SUFFIX:
        stored, checksum = read_weights(path)[0], sha256_of(path)
        drawn = tuple(read_origin(path).get("drawn", ()))
    else:
        stored, _, described = stored_variables(path)
        checksum = hashlib.sha256(json.dumps(described["checksums"], sort_keys=True).encode()).hexdigest()
    found, random = merged(config, variables, stored, path)
    if config.train.get("open_attention", False):  # runs from before there was a choice have none
        found["params"] = with_open_attention(found["params"])
    factor = config.train.get("score_factor", 1.0)
    if factor != 1:
        found["params"] = with_scores_multiplied(found["params"], factor)
    return found, Start(INIT_FROM, str(path), checksum, (*random, *drawn))


def check_start(config: ConfigDict, workdir: Path) -> None:
    """Refuse a start that is not said in full, or that names two; nothing where the run has a checkpoint already.

    Raises:
      InputError: `train.start` names a file that is not given, or a file is given that it does not name.
    """
    if has_checkpoint(workdir):
        return
    if config.train.open_attention and (config.train.start != INIT_FROM or config.model.fusion != "msam"):
        raise InputError(
            f"config.train.open_attention opens the attention of a network that was trained: train.start is "
            f"{config.train.start!r} and model.fusion {config.model.fusion!r}; give 'init_from' and 'msam', or leave it out"
        )
    if not 0 < config.train.score_factor < math.inf or (
        config.train.score_factor != 1 and config.train.start != INIT_FROM
    ):
        raise InputError(
            f"config.train.score_factor is {config.train.score_factor} and train.start {config.train.start!r}; give a number "
            "above 0 with 'init_from', whose scores it multiplies, or leave it at 1"
        )
    for kind in (BACKBONE, INIT_FROM):
        given = config.train[kind]
        if config.train.start == kind and not given:
            raise InputError(f"config.train.start is {kind!r}, and config.train.{kind} names nothing; {REMEDIES[kind]}")
        if config.train.start != kind and given:
            raise InputError(
                f"config.train.{kind} is {given!r}, and config.train.start is {config.train.start!r}; give "
                f"--config.train.start={kind} to start from it, or --config.train.{kind}= to leave it out"
            )


def merged(
    config: ConfigDict, variables: dict[str, Any], stored: dict[str, Any], path: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The variables of `path`, with those of `variables` that it lacks, and the names of these parameters.

    With `train.init_fitting` it lacks those, too, that do not fit.

    Raises:
      InputError: it has tensors that the model of `config` has not, or of other shapes.
    """
    shapes = variable_shapes(create_model(config.model))
    ours, theirs = (
        parameter_shapes({name: tree.get(name, {}) for name in ("params", "batch_stats")}) for tree in (shapes, stored)
    )
    wrong = [
        name
        for name in sorted(theirs, key=lambda name: (name[:7] != "params/", name))
        if theirs[name] != ours.get(name)
    ]
    if wrong and not config.train.get("init_fitting", False):
        named = (f"{short(name)} is {theirs[name]}, here {ours.get(name, 'not used')}" for name in wrong[:NAMED])
        raise InputError(
            f"config.train.init_from: {path} is of another model: {len(wrong)} of its tensors do not fit: {'; '.join(named)}"
            f"{'; ...' if len(wrong) > NAMED else ''}; use the model of its own config, or "
            "--config.train.init_fitting=True, which leaves them out"
        )
    fitting = theirs.keys() - set(wrong)
    if not fitting:
        raise InputError(f"config.train.init_from: {path} has nothing that fits the network; give another file")
    lacking = sorted(ours.keys() - fitting)
    drawn, flat = flatten_dict(variables, sep="/"), flatten_dict(stored, sep="/")
    found = unflatten_dict({name: (flat if name in fitting else drawn)[name] for name in ours}, sep="/")
    return {"params": {}, "batch_stats": {}} | found, tuple(short(name) for name in lacking)


def with_backbone(variables: dict[str, Any], path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`variables` with their encoders from a converted backbone, and the names of the parameters that are not of it.

    A ResNet starts both encoders; the mask's kernel of Enc-R stays as it was drawn. An EfficientNet starts Enc-Q: a light Enc-R
    has a network of its own.

    Raises:
      InputError: it is of another network than an encoder.
    """
    backbone, kind = read_backbone(path)
    encoders = [name for name in ENCODERS if name == ENCODERS[0] or "backbone" in variables["params"][name]]
    replaced, given = {}, set()
    for collection, stored in backbone.items():
        tree = dict(variables[collection])
        for encoder in encoders:
            ours = dict(tree.get(encoder, {}).get("backbone", {}))
            own = {name: ours[name] for name in ours.keys() - stored.keys() if name in MASK_KERNELS}
            theirs, needed = parameter_shapes(stored | own), parameter_shapes(ours)
            if theirs != needed:
                wrong = sorted({name for name, _ in theirs.items() ^ needed.items()})
                raise InputError(
                    f"config.train.backbone: {path} is a {kind} with frozen batch norm, and config.model.{encoder} is "
                    "another network; make its kind, and of a ResNet block, stage_sizes, width and norm, the file's "
                    f"(these do not fit: {brief(wrong)})"
                )
            tree[encoder] = {"backbone": stored | own}
            given |= (
                {f"{encoder}/backbone/{name}" for name in leaves_by_path(stored)} if collection == "params" else set()
            )
        replaced[collection] = tree
    random = (name for name in leaves_by_path(variables["params"]) if name not in given)
    return variables | replaced, tuple(random)


def brief(names: Any) -> str:
    """The first ten."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def short(name: str) -> str:
    """A variable's name as messages have it."""
    return name.removeprefix("params/")


def sha256_of(path: Path) -> str:
    """Of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
