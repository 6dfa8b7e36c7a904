"""Segmenting videos: `VideoSegmenter` frame by frame, `propagate` from any annotated frames."""

from munet_jax.inference.prediction import Prediction
from munet_jax.inference.propagation import propagate
from munet_jax.inference.segmenter import VideoSegmenter

__all__ = ["Prediction", "VideoSegmenter", "propagate"]
