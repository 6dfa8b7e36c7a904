"""MUNet-lite 2, second stage: many more clips of videos, larger and longer, at a flat rate.

Command:   python train.py --config configs/lite2.py --workdir runs/lite2 --data-root DATA
           after lite2_static, whose workdir it starts from (--config.train.init_from=DIR for another)
           It takes hours: kill -TERM stops it with a checkpoint, and the same command goes on; --config.train.steps=N makes it
           longer or shorter. The control, which sees the same clips: --config.train.motion_weight=0
Data:      as lite2_static
Goal:      a start for configs/lite2_long.py
Measured:  not yet
"""

from ml_collections import ConfigDict

from configs import lite2_static


def get_config() -> ConfigDict:
    """Clips of five frames of 256 x 256, two in three of videos."""
    config = lite2_static.get_config()
    config.data.mix.update(davis=0.5, static=0.34, synthetic=0.1, folder=0.06)
    config.data.update(size=(256, 256), clip_length=5)
    config.optimizer.update(learning_rate=2e-4)
    config.train.update(init_from="runs/lite2_static", init_fitting=False, bootstrap_warmup_steps=0, ema_decay=0.999)
    config.train.update(seed=3, steps=16000, checkpoint_every=200)
    return config
