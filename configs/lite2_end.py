"""MUNet-lite 2, third stage: clips of five frames once more, at a rate that falls to zero. Its result is what the package ships.

Command:   python train.py --config configs/lite2_end.py --workdir runs/lite2_end --data-root DATA
           after lite2_long, whose workdir it starts from (--config.train.init_from=DIR for another); then
           munet export-weights runs/lite2_end lite2.safetensors
           The control, which sees the same clips: --config.train.motion_weight=0
Data:      as lite2
Goal:      J&F 0.82 on the six 480p videos that choose between recipes
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import lite2


def get_config() -> ConfigDict:
    """As the first stage, but for the rate: it falls linearly over all steps."""
    config = lite2.get_config()
    config.optimizer.decay_steps = 400
    config.train.update(init_from="runs/lite2_long", ema_decay=0.99, seed=5, steps=400)
    return config
