"""The small MUNet on real frames, with still images beside the 24 videos, from scratch.

Command:   python train.py --config configs/davis2016_static_small.py --workdir runs/davis2016_static --data-root DATA
Data:      DATA/DAVIS with ImageSets/2016, DATA/static/ECSSD, DATA/static/COCO128 (126 images of COCO as JPEGImages and
           Annotations; '--config.data.static.sets.images=' leaves them out)
Goal:      J&F 0.45 on six 480p videos where the first mask copied has 0.27
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import davis2016_small


def get_config() -> ConfigDict:
    """Half of the clips from videos, half of stills, of which four in ten have objects that move on their own."""
    config = davis2016_small.get_config()
    config.data.kind = "mix"
    config.data.mix.update(davis=0.5, static=0.5)
    config.data.static.sets.update(ecssd="ECSSD", images="COCO128")
    config.data.still_motion.update(separate=0.4, paste=0.5, crossing=0.3)
    config.train.update(steps=2600, bootstrap_warmup_steps=1000)
    return config
