"""`munet convert`: PyTorch's weights in a file of this package, a whole network or a backbone, and the way back."""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from munet_jax.checkpoints.weight_file import WEIGHTS_SUFFIX, is_weight_file, read_origin, read_weights, write_weights
from munet_jax.convert.afb_urr import AFB_URR, afb_urr_from_pytorch
from munet_jax.convert.backbone_files import convert_backbone, read_backbone
from munet_jax.convert.pytorch_files import SUFFIXES, check_target, read_state_dict, write_state_dict
from munet_jax.convert.recognise import layout_of
from munet_jax.convert.resnet import resnet50_to_pytorch
from munet_jax.convert.stm import STM, Layout, stm_from_pytorch, stm_to_pytorch
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.nested import flatten

NETWORKS = ("stm", "munet")
SEED = 0  # of parameters that the weights do not have


def convert(
    source: Path,
    target: Path,
    config: ConfigDict,
    *,
    network: str | None = None,
    depth: int = 50,
    epsilon: float | None = None,
) -> tuple[str, ...]:
    """A PyTorch file -> a file of this package, by its names.

    STM's and AFB-URR's weights become a whole network with its config inside, those of a ResNet or an EfficientNet-Lite0 a
    backbone.

    Args:
      source: the file.
      target: a .safetensors file.
      config: all fields with their defaults; `config.model` and `config.inference` become those of a whole network.
      network: of STM's or AFB-URR's weights, 'stm' (also where it is None) or 'munet', which has motion too.
      depth: of a ResNet.
      epsilon: of a ResNet's batch norms.

    Returns:
      The parameters of a whole network that the weights do not have, and that were drawn from `SEED`.

    Raises:
      InputError: the file cannot be read, its weights are not known or not whole, or the target cannot be written.
    """
    check_target(target, WEIGHTS_SUFFIX)
    state = read_state_dict(source)
    try:
        layout = layout_of(state)
        if layout is not None:
            set_network(config, layout, network or "stm")
            convert_network = stm_from_pytorch if layout is STM else afb_urr_from_pytorch
            variables, drawn, origin = convert_network(state, config.model, seed=SEED)
            write_weights(target, variables, config, 0, origin | {"drawn": drawn, "seed": SEED})
            return drawn
        if network is not None:
            raise InputError("--network is for weights of STM and AFB-URR, and these are of neither")
        convert_backbone(state, target, depth=depth, epsilon=epsilon)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return ()


def set_network(config: ConfigDict, layout: Layout, network: str) -> None:
    """Make `config.model` and `config.inference` those that a layout's weights belong to.

    Raises:
      InputError: there is no such network, or the weights alone are not one.
    """
    if network not in NETWORKS:
        raise InputError(f"--network is {network!r}; choose one of {', '.join(NETWORKS)}")
    if network == "stm" and layout is AFB_URR:
        raise InputError(
            "holds weights of AFB-URR, whose refinement of uncertain regions does not exist here; --network munet makes a "
            "start for training of them"
        )
    config.model.update(fusion="none" if network == "stm" else "msam", padding="black")
    config.model.reference_encoder.others = layout is STM
    config.inference.update(memory_policy="every_k", memory_interval=5)


def convert_back(source: Path, target: Path) -> None:
    """A file of STM's network, or a converted ResNet -> a PyTorch state dict, a ResNet's cut after layer3.

    Raises:
      InputError: the source is something else, or the target cannot be written.
    """
    check_target(target, *SUFFIXES)
    if is_weight_file(source):
        variables, config, _ = read_weights(source)
        flat = flatten(variables)
        del variables  # each array goes as soon as it is turned round
        try:
            state = stm_to_pytorch(flat, config.model, read_origin(source))
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
    else:
        backbone, kind = read_backbone(source)
        if not kind.startswith("ResNet-"):
            raise InputError(f"{source}: is an {kind}; only a ResNet goes back to PyTorch")
        state = resnet50_to_pytorch(backbone, depth=int(kind.removeprefix("ResNet-")))
    write_state_dict(state, target)
