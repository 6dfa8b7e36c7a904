"""A tiny real model on tiny synthetic videos: what the tests train and evaluate.

Command:   python train.py --config configs/testing.py --workdir runs/testing
Data:      none
Expected:  nothing but that it runs; two steps per second or more on two CPU cores
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config(form: str = "") -> ConfigDict:
    """The quickstart, shrunk: 8 channels, 64 x 64, two videos, six steps."""
    config = quickstart.get_config(form)
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.width = 8
    config.model.mu_layer.radius = 3
    config.model.update(key_dim=8, value_dim=8, decoder_dim=(8, 8, 8))

    config.data.synthetic.update(videos=4, frames=6, height=64, width=64)
    config.data.update(size=(64, 64), clip_length=3, clip_phase="random", max_objects=2)
    config.optimizer.warmup_steps = 2
    config.train.update(steps=6, batch_size=2, log_every=1, checkpoint_every=2, bootstrap_warmup_steps=4)

    config.evaluation.synthetic.update(videos=2, frames=6, height=64, width=64)
    config.evaluation.pictures = 1
    return config
