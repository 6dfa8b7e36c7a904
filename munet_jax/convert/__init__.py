"""PyTorch weights in our names and back."""

from munet_jax.convert.resnet import resnet50_from_pytorch, resnet50_to_pytorch, resnet_from_pytorch

__all__ = ["resnet50_from_pytorch", "resnet50_to_pytorch", "resnet_from_pytorch"]
