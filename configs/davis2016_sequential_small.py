"""The small MUNet on real frames, second stage: predicted frames go into memory during training too.

Command:   python train.py --config configs/davis2016_sequential_small.py --workdir runs/davis2016_sequential --data-root DATA
           after davis2016_static_small, whose workdir it starts from (--config.train.init_from=DIR for another)
Data:      as davis2016_static_small
Goal:      J&F 0.45 on six 480p videos where the first mask copied has 0.27
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import davis2016_static_small


def get_config() -> ConfigDict:
    """As davis2016_static_small, with what a long video does to a memory: it holds masks that are not quite right."""
    config = davis2016_static_small.get_config()
    config.optimizer.learning_rate = 1e-3
    config.train.update(start="init_from", init_from="runs/davis2016_static", memory="sequential")
    config.train.update(bootstrap_warmup_steps=0, seed=1, steps=1200)
    return config
