"""TFDS datasets of this package: builders, preparing them, reading them. TensorFlow is not needed for any of it."""
