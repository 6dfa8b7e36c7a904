"""MUNet-lite, second stage: larger and longer clips of videos, whose objects pass in front of each other. Its result is
what the package shipped first, `lite-1`.

Command:   python train.py --config configs/lite.py --workdir runs/lite --data-root DATA
           after lite_static, whose workdir it starts from (--config.train.init_from=DIR for another); then
           munet export-weights runs/lite lite.safetensors
           On two cores put XLA_FLAGS=--xla_force_host_platform_device_count=2 before it: two devices of one core each take 1.5 s
           a step, one device of two 1.8 s.
Data:      as lite_static
Goal:      J&F 0.78 on the six 480p videos that chose between recipes, where the first mask copied has 0.27
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import lite_static


def get_config() -> ConfigDict:
    """Clips of five frames of 256 x 256 with one or two objects, three in five of videos."""
    config = lite_static.get_config()
    config.data.mix.update(davis=0.6, static=0.4)
    config.data.update(size=(256, 256), clip_length=5, max_objects=2, composite=0.5)
    config.optimizer.update(learning_rate=2e-4)
    config.train.update(
        start="init_from", init_from="runs/lite_static", backbone="", bootstrap_warmup_steps=0, ema_decay=0.998
    )
    config.train.update(seed=1, steps=1700, batch_size=2)
    config.evaluation.after_training = True
    return config
