"""STM's published weights (`STM_weights.pth`) as ours, and back. Numpy in, numpy out; needs no JAX.

STM (Oh et al., ICCV 2019) is this network without motion: config.model.fusion 'none', reference_encoder.others, padding 'black'.
With fusion 'msam' its weights give a MUNet that computes what STM computes and has motion to learn: MSAM's kernel is 0, so that
Eq. 3's attention is 0.5 everywhere and F_out = 1.5 F_s, and the kernels that take F_out are divided by 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from munet_jax.convert.resnet import Entries, Tree, check_entries, resnet_entries, state_dict_of, variables_of
from munet_jax.models.initialisation import pytorch_initialised
from munet_jax.models.options import TABLE_1
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten, nest

State = dict[str, np.ndarray]

PREFIX = "module."  # of torch.nn.DataParallel, in all names or in none
BATCHES = "num_batches_tracked"
# What the encoders normalise frames by, and how far the buffers of a half-precision file may be from it.
NORMALISATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
ROUNDED = 2e-3
ATTENTION = 1.5  # F_out / F_s where MSAM's kernel is 0: sigmoid(0) + 1


class Layout(NamedTuple):
    """What the parts of a network with STM's layers are called in its state dict."""

    called: str
    memory_encoder: str
    query_encoder: str
    memory_embedding: str
    query_embedding: str
    decoder: str


STM = Layout("STM", "Encoder_M", "Encoder_Q", "KV_M_r4", "KV_Q_r4", "Decoder")


class Converted(NamedTuple):
    """A network that was made of another one's weights."""

    variables: Tree
    drawn: tuple[str, ...]  # parameters that those weights do not have, drawn from a seed
    origin: dict[str, Any]  # whose they are, and what the way back needs


def stm_from_pytorch(state: State, model: ConfigDict, *, seed: int = 0) -> Converted:
    """STM's state dict -> variables of a network with its layers.

    Args:
      state: numpy arrays by PyTorch's names, with 'module.' before all of them or none; it is emptied on the way.
      model: `config.model`, with fusion 'none' or 'msam'.
      seed: of the MU-Layer's parameters, which STM does not have; see `complete`.

    Raises:
      InputError: missing, unexpected or wrongly shaped entries, by name, or another normalisation of frames.
    """
    prefix = strip_prefix(state)
    variables, batches = known_variables(state, STM, model)
    drawn = complete(variables["params"], model, seed)
    return Converted(variables, drawn, {"weights": STM.called, "prefix": prefix, "batches": batches})


def stm_to_pytorch(flat: State, model: ConfigDict, origin: Mapping[str, Any]) -> State:
    """The way back, for a network without motion: STM's names with the numbers that they had.

    Args:
      flat: variables of a network with STM's layers, by paths such as 'params/decoder/entry/bias'; it is emptied on the way.
      model: its `config.model`.
      origin: as in `Converted`; without it names begin with 'module.', as in the published file, and no batches are counted.

    Raises:
      InputError: the network is not STM's.
    """
    if model["fusion"] != "none":
        raise InputError("STM has no place for a network's motion (config.model.fusion is not 'none')")
    state = state_dict_of(flat, stm_entries(STM, model), "network with STM's layers")
    for name, values in normalisation(STM).items():
        state[name] = np.asarray(values, np.float32).reshape(1, 3, 1, 1)
    state |= {name: np.array(count, np.int64) for name, count in origin.get("batches", {}).items()}
    return {origin.get("prefix", PREFIX) + name: array for name, array in state.items()}


def strip_prefix(state: State) -> str:
    """Take 'module.' off the names if all have it; what was taken off."""
    prefix = PREFIX if all(name.startswith(PREFIX) for name in state) else ""
    for name in list(state):
        state[name.removeprefix(prefix)] = state.pop(name)
    return prefix


def known_variables(state: State, layout: Layout, model: ConfigDict) -> tuple[Tree, dict[str, int]]:
    """Checked variables of a state dict, which is emptied, and how many batches its norms counted, where they did."""
    entries, buffers = stm_entries(layout, model), normalisation(layout)
    counted = [name for name in state if name.endswith(BATCHES) and name.replace(BATCHES, "running_var") in entries]
    batches = {name: int(state.pop(name)) for name in counted}
    check_entries(state, entries | dict.fromkeys(buffers, ((), (1, 3, 1, 1))), f"{layout.called} of its published size")
    for name, values in buffers.items():
        found = state.pop(name).astype(np.float32).ravel()
        if np.abs(found - np.asarray(values, np.float32)).max() > ROUNDED:
            raise InputError(f"{name} is {found.tolist()}: frames are normalised by ImageNet's {list(values)} here")
    return variables_of(state, entries), batches


def normalisation(layout: Layout) -> dict[str, tuple[float, ...]]:
    """The buffers that frames are normalised by."""
    encoders = (layout.memory_encoder, layout.query_encoder)
    return {f"{encoder}.{name}": values for encoder in encoders for name, values in NORMALISATION.items()}


def stm_entries(layout: Layout, model: ConfigDict) -> Entries:
    """PyTorch name -> (our path, PyTorch shape) of every parameter and statistic that STM and MUNet share."""
    entries: Entries = {}
    for theirs, ours in ((layout.memory_encoder, "reference_encoder"), (layout.query_encoder, "query_encoder")):
        section = model[ours]
        backbone = resnet_entries(section["block"], section["stage_sizes"], section["width"])
        for name, ((collection, *below), shape) in backbone.items():
            stage = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
            entries[f"{theirs}.{stage}"] = ((collection, ours, "backbone", *below), shape)
    for theirs, ours in (("conv1_m", "conv1_mask"), ("conv1_o", "conv1_others")):
        kernel = ("params", "reference_encoder", "backbone", ours, "kernel")
        shape = (model["reference_encoder"]["width"], 1, 7, 7)
        entries[f"{layout.memory_encoder}.{theirs}.weight"] = (kernel, shape)
    for theirs, ours, features, inputs in convolutions(layout, model):
        path = ("params", *ours.split("/"))
        entries[f"{theirs}.weight"] = ((*path, "kernel"), (features, inputs, 3, 3))
        entries[f"{theirs}.bias"] = ((*path, "bias"), (features,))
    return entries


def convolutions(layout: Layout, model: ConfigDict) -> Iterator[tuple[str, str, int, int]]:
    """The 3x3 convolutions behind the encoders: their name, ours, channels out and in."""
    res2, res3, res4 = feature_widths(model)
    # A layout that shares them has one name, which is the query's.
    embeddings = {layout.memory_embedding: "memory_embedding", layout.query_embedding: "query_embedding"}
    for theirs, ours in embeddings.items():
        yield f"{theirs}.Key", f"{ours}/key", model["key_dim"], res4
        yield f"{theirs}.Value", f"{ours}/value", model["value_dim"], res4
    inner, decoder = model["decoder_dim"][0], layout.decoder
    blocks = {f"{decoder}.ResMM": "decoder/entry_block"}
    yield f"{decoder}.convFM", "decoder/entry", inner, 2 * model["value_dim"]
    for theirs, stride, inputs in (("RF3", 8, res3), ("RF2", 4, res2)):
        yield f"{decoder}.{theirs}.convFS", f"decoder/skip{stride}/conv", inner, inputs
        blocks |= {f"{decoder}.{theirs}.ResFS": f"decoder/skip{stride}/block"}
        blocks |= {f"{decoder}.{theirs}.ResMM": f"decoder/refine{stride}"}
    for theirs, ours in blocks.items():
        for number in (1, 2):
            yield f"{theirs}.conv{number}", f"{ours}/conv{number}", inner, inner
    yield f"{decoder}.pred2", "decoder/prediction", 2, inner


def feature_widths(model: ConfigDict) -> tuple[int, int, int]:
    """Channels of Enc-Q's res2, res3 and res4."""
    width = model["query_encoder"]["width"] * (4 if model["query_encoder"]["block"] == "bottleneck" else 1)
    return width, 2 * width, 4 * width


def complete(params: Tree, model: ConfigDict, seed: int) -> tuple[str, ...]:
    """Give a network of STM's weights, in place, what STM lacks; the names of what is drawn from the seed.

    That is the MU-Layer, drawn as a training run with that seed draws it; without MSAM nothing that is predicted depends on it.
    MSAM's kernel is 0, and the kernels behind it are divided by what it then multiplies with.
    """
    *_, width = feature_widths(model)
    shapes = {"mu_layer/reduction": (1, 1, width, model["mu_layer"]["channels"] or width // 4)}
    for number, (inputs, features, size) in enumerate(TABLE_1, start=1):
        last = number == len(TABLE_1)
        shapes[f"mu_layer/motion_network/conv{number}"] = (size, size, inputs, width if last else features)
    drawn = flatten(pytorch_initialised(zero_convolutions(shapes), seed))
    params |= nest(drawn)
    if model["fusion"] == "msam":
        params |= zero_convolutions({"fusion/attention": (1, 1, width, 1)})
        for conv in params["query_embedding"].values():
            conv["kernel"] = conv["kernel"] / np.float32(ATTENTION)
    return tuple(drawn)


def zero_convolutions(shapes: Mapping[str, tuple[int, ...]]) -> Tree:
    """Parameters of convolutions by their paths, of the kernels' shapes."""
    flat = {f"{path}/kernel": np.zeros(shape, np.float32) for path, shape in shapes.items()}
    return nest(flat | {f"{path}/bias": np.zeros(shape[-1], np.float32) for path, shape in shapes.items()})
