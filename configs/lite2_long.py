"""MUNet-lite 2, second stage: longer clips, in which masks that drifted stay in memory, at a rate that falls to zero. MSAM, whose
attention the first light network had closed, begins anew.

Command:   python train.py --config configs/lite2_long.py --workdir runs/lite2_long --data-root DATA
           after lite2, whose workdir it starts from (--config.train.init_from=DIR for another); then
           configs/lite2_soft.py. The control, which sees the same clips: --config.train.motion_weight=0
Data:      as lite2
Goal:      a start for configs/lite2_soft.py
Measured:  J&F 0.811 on the six 480p videos that choose between recipes (docs/results.md)
"""

from ml_collections import ConfigDict

from configs import lite2


def get_config() -> ConfigDict:
    """Clips of eight frames of 256 x 256; the rate falls linearly over all steps."""
    config = lite2.get_config()
    config.data.clip_length = 8
    config.optimizer.update(decay_steps=450, rates=(("mu_layer", 3.0), ("fusion", 10.0)))
    config.train.update(init_from="runs/lite2", open_attention=True, ema_decay=0.99, seed=4, steps=450)
    return config
