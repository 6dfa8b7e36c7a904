"""MUNet-lite 2, fifth stage: the whole decoder is trained on, at a lower rate.

Command:   python train.py --config configs/lite2_decoder.py --workdir runs/lite2_decoder --data-root DATA
           after lite2_narrow, whose workdir it starts from (--config.train.init_from=DIR for another)
Data:      as lite2
Goal:      J&F 0.82 on the six 480p videos that choose between recipes, in less time
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import lite2_narrow


def get_config() -> ConfigDict:
    """Clips and losses of the fourth stage."""
    config = lite2_narrow.get_config()
    config.optimizer.update(learning_rate=6e-4, decay_steps=1000)
    config.train.update(init_from="runs/lite2_narrow", init_fitting=False, seed=7, steps=1000)
    config.train.freeze = lite2_narrow.BEFORE_THE_DECODER
    return config
