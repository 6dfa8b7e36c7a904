"""MUNet-lite 2, first stage: the first light network trained on with several objects a clip, whose masks Enc-R is shown, and with
trained motion.

Command:   python train.py --config configs/lite2.py --workdir runs/lite2 --data-root DATA
           on two cores with XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false
           --xla_cpu_enable_concurrency_optimized_scheduler=false" before it: a device of one core for each clip of a step
           kill -TERM stops it with a checkpoint, and the same command goes on; --config.train.steps=N makes it longer or
           shorter. The control, which sees the same clips: --config.train.motion_weight=0
Data:      DATA/DAVIS with ImageSets/2016; under DATA/static (JPEGImages, Annotations) ECSSD, COCO128, WeizmannHorse, BSDS500,
           VOC07_44 and Cityscapes8, whose objects or regions have ids; DATA/videos with the videos of Chen and Corso
Goal:      a start for configs/lite2_long.py
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import lite


def get_config() -> ConfigDict:
    """Clips of five frames of 256 x 256 with up to three objects, often one of them twice, at a flat rate."""
    config = lite.get_config()
    config.model.reference_encoder.others = True
    config.data.mix.update(davis=0.5, static=0.34, synthetic=0.1, folder=0.06)
    config.data.static.sets.update(images="COCO128,WeizmannHorse,BSDS500,VOC07_44,Cityscapes8")
    config.data.synthetic.update(videos=300, frames=12, height=192, width=256, seed=1)
    config.data.synthetic.update(max_objects=3, distractors=1, speed=0.03, leaving=0.2, noise=4.0, flicker=0.06)
    config.data.still_motion.update(crossing=0.6)
    config.data.update(max_objects=3, composite=0.7, look_alike=0.35)
    config.optimizer.update(schedule="constant", warmup_steps=20, rates=(("mu_layer", 3.0),))
    config.train.update(init_from="lite-1", motion_weight=0.5, ema_decay=0.996)
    config.train.update(seed=3, steps=900, checkpoint_every=100)
    # What is small is followed much better in larger frames.
    config.inference.update(object_size=90, object_max_size=640)
    config.evaluation.after_training = False
    return config
