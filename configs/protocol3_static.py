"""The paper's pre-training for protocols 3.1 and 3.2: clips made of still images.

Command:   munet convert resnet50.pth backbone.safetensors   (ImageNet's ResNet-50, the paper's start), and then
           python train.py --config configs/protocol3_static.py --workdir runs/protocol3 --data-root STATIC
               --config.train.backbone=backbone.safetensors
           configs/protocol3_static.py:small is for two cores, from scratch, with ECSSD alone (workdir runs/protocol3_small)
Data:      MSRA10K, VOC 2012, ECSSD, COCO 2017 and PASCAL-S, each in a folder of STATIC (docs/data.md)
Paper:     17 hours an epoch; at the 1 s a clip of its protocol 1 these images take 37, as clips of three frames 17
           (docs/clips.md says why all images and six frames are taken)
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import common

# Sets and their folders; '--config.data.static.sets.coco=' leaves one out.
SETS = {"msra10k": "MSRA10K", "voc2012_objects": "VOC2012", "ecssd": "ECSSD", "coco": "COCO", "pascal_s": "PASCAL-S"}


def get_config(form: str = "") -> ConfigDict:
    """One clip of six frames of every image an epoch, for 10 epochs: flipped as a whole or not, moved, colours jittered."""
    config = common.get_config()
    config.data.kind = "static"
    config.data.static.sets.update(SETS)
    config.train.epochs = 10
    if common.is_small(form):
        config.data.static.sets.update(dict.fromkeys(SETS, ""), ecssd=SETS["ecssd"])
    return common.in_form(config, form)
