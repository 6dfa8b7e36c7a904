"""The network: encoders, MU-Layer, fusion, memory, decoder, and MUNet itself."""

from munet_jax.models.create import create_model, init_variables
from munet_jax.models.munet import MUNet
from munet_jax.models.resnet import ResNet, ResNet50

__all__ = ["MUNet", "ResNet", "ResNet50", "create_model", "init_variables"]
