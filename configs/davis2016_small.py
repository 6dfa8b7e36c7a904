"""The small MUNet on real frames: trained from scratch on DAVIS-2016's train split, scored on its val split.

Command:   python train.py --config configs/davis2016_small.py --workdir runs/davis2016_small --data_root DAVIS
Data:      a DAVIS tree with ImageSets/2016 (JPEGImages/480p, Annotations/480p)
Goal:      J&F 0.45 on six 480p videos where the first mask copied has 0.27
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """One object, clips of 192 x 192: four of five from videos, the others of single frames moved as stills."""
    config = common.get_config()
    common.narrow(config.model)
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.update(width=24, stage_sizes=(1, 1, 2))
    config.model.update(key_dim=48, value_dim=96, decoder_dim=48)

    config.data.davis.update(year="2016", split="train")
    config.data.update(size=(192, 192), clip_length=4, clip_stride=1, max_objects=1, max_skip=3)
    # 24 videos are few: objects that leave their own background make more. Half of the clips is too hard for a start.
    config.data.still_share = 0.2
    config.data.still_motion.update(separate=0.5, paste=0.5, crossing=0.3)
    config.data.augmentation.update(crop_scale_min=0.4, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03)

    config.optimizer.update(learning_rate=2e-3, schedule="cosine", warmup_steps=50, weight_decay=0.01, clip_norm=1.0)
    config.train.update(steps=3000, batch_size=4, bootstrap_warmup=1500)
    config.train.update(log_every=25, checkpoint_every=250)

    config.evaluation.davis.update(year="2016", split="val")
    config.evaluation.update(merge_objects=True, after_training=True, pictures=6)
    return config
