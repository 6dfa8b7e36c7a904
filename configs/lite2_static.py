"""MUNet-lite 2, first stage: the faster network, from what the shipped one knows, mostly on still images that move.

Command:   python train.py --config configs/lite2_static.py --workdir runs/lite2_static --data-root DATA
           on two cores with XLA_FLAGS=--xla_force_host_platform_device_count=2 before it: a device for each clip of a step
Data:      DATA/DAVIS with ImageSets/2016; under DATA/static (JPEGImages, Annotations) ECSSD, COCO128, WeizmannHorse, BSDS500,
           VOC07_44 and Cityscapes8, whose objects or regions have ids; DATA/videos with the videos of Chen and Corso
Goal:      a start for configs/lite2.py
Measured:  not yet
"""

from ml_collections import ConfigDict

from configs import lite_static


def faster(config: ConfigDict) -> None:
    """The network, in `config.model`: few channels where maps are large, and Enc-R sees the other objects."""
    config.reference_encoder.others = True
    config.update(similarity="l2", key_dim=48, decoder_dim=(96, 48, 24))


def get_config() -> ConfigDict:
    """Clips of four frames of 192 x 192 with up to three objects, often one of them twice; the motion is trained too."""
    config = lite_static.get_config()
    faster(config.model)
    config.data.mix.update(davis=0.3, static=0.55, synthetic=0.1, folder=0.05)
    config.data.static.sets.update(images="COCO128,WeizmannHorse,BSDS500,VOC07_44,Cityscapes8")
    config.data.synthetic.update(videos=300, frames=12, height=192, width=256, seed=1)
    config.data.synthetic.update(max_objects=3, distractors=1, speed=0.03, leaving=0.2, noise=4.0, flicker=0.06)
    config.data.still_motion.update(crossing=0.6)
    config.data.update(max_objects=3, composite=0.7, look_alike=0.35)
    config.optimizer.update(learning_rate=4e-4, schedule="constant")
    config.train.update(start="init_from", init_from="lite", init_fitting=True, backbone="", motion_weight=1.0)
    config.train.update(seed=2, steps=1500, batch_size=2, bootstrap_warmup_steps=1000)
    return config
