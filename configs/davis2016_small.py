"""The small MUNet on real frames: trained from scratch on DAVIS-2016's train split, scored on its val split.

Command:   python train.py --config configs/davis2016_small.py --workdir runs/davis2016_small --data-root DAVIS
Data:      a DAVIS tree with ImageSets/2016 (JPEGImages/480p, Annotations/480p)
Measured:  docs/results.md; configs/davis2016_static_small.py adds still images and does better
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """One object, clips of four frames of 192 x 192, up to every third frame; frames are worked on at 240p when scored."""
    config = common.get_config()
    common.small(config)
    config.data.davis.update(year="2016", split="train")
    config.data.max_objects = 1
    config.train.bootstrap_warmup_steps = 600
    config.evaluation.davis.update(year="2016", split="val")
    config.evaluation.update(merge_objects=True, after_training=True, pictures=6)
    return config
