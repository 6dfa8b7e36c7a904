"""A small MUNet on synthetic videos: nothing to download, minutes on two CPU cores.

Command:   python train.py --config configs/quickstart.py --workdir runs/quickstart
Data:      none; videos are made from a seed, and held-out ones (another seed) are scored at the end
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import common


def get_config(form: str = "") -> ConfigDict:
    """The paper's network, narrow, trained from scratch."""
    common.is_small(form)  # it is the small form already
    config = common.get_config()
    common.narrow(config.model)

    config.data.kind = config.evaluation.kind = "synthetic"
    for section in (config.data, config.evaluation):
        section.synthetic.update(min_size=0.3, max_size=0.5, max_objects=2, distractors=1, leaving=0.1)
        section.synthetic.update(speed=0.012, camera=0.005, noise=5.0, flicker=0.06)
    config.data.synthetic.update(videos=400, frames=12, seed=1)
    config.data.size = (128, 128)
    config.data.clip_length = 4
    config.data.clip_stride = 3
    config.data.clip_phase = "fixed"  # as it was measured
    config.data.update(threads=2, workers=0)  # made faster than they are trained on, also where there are many cores
    config.data.max_skip = 3
    config.data.max_objects = 2
    config.data.augmentation = common.no_augmentation()

    config.optimizer.update(learning_rate=2e-3, schedule="cosine", warmup_steps=20, weight_decay=0.01, clip_norm=1.0)
    config.train.update(start="scratch", steps=1300, batch_size=4, bootstrap_warmup_steps=400)
    config.train.update(log_every=10, checkpoint_every=100)

    config.evaluation.synthetic.update(videos=8, frames=12, seed=1000)
    config.evaluation.after_training = True
    return config
