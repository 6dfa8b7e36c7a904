"""The small MUNet on real frames: trained from scratch on DAVIS-2016's train split, scored on its val split.

Command:   python train.py --config configs/davis2016_small.py --workdir runs/davis2016_small --data_root DAVIS
Data:      a DAVIS tree with ImageSets/2016 (JPEGImages/480p, Annotations/480p)
Measured:  docs/results.md; configs/davis2016_static_small.py adds still images and does better
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """One object, clips of four frames of 192 x 192, up to every third frame; frames are worked on at 240p when scored."""
    config = common.get_config()
    common.narrow(config.model)
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.update(width=24, stage_sizes=(1, 1, 2))
    config.model.update(key_dim=48, value_dim=96, decoder_dim=48)

    config.data.davis.update(year="2016", split="train")
    config.data.update(size=(192, 192), clip_length=4, clip_stride=1, max_objects=1, max_skip=3)
    config.data.augmentation.update(crop_scale_min=0.4, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03)

    config.optimizer.update(learning_rate=2e-3, schedule="cosine", warmup_steps=50, weight_decay=0.01, clip_norm=1.0)
    config.train.update(steps=1200, batch_size=4, bootstrap_warmup=600)
    config.train.update(log_every=25, checkpoint_every=250)

    config.inference.max_size = 240  # the scale of the training clips
    config.evaluation.davis.update(year="2016", split="val")
    config.evaluation.update(merge_objects=True, after_training=True, pictures=6)
    return config
