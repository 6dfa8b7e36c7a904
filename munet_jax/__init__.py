"""MUNet in JAX and Flax: motion uncertainty-aware semi-supervised video object segmentation."""

__version__ = "0.1.0"
