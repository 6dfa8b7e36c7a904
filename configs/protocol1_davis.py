"""The paper's protocol 1: DAVIS-2017's training videos alone.

Command:   munet convert resnet50.pth backbone.safetensors   (ImageNet's ResNet-50, the paper's start), and then
           python train.py --config configs/protocol1_davis.py --workdir runs/protocol1 --data-root DAVIS
               --config.train.backbone=backbone.safetensors
           configs/protocol1_davis.py:small is for two cores, from scratch
Data:      DAVIS-2017, 480p (docs/data.md)
Paper:     J&F 75.0 on DAVIS-2017 val from ImageNet's ResNet-50, 76.5 from a Mask R-CNN's
Measured:  not measured; the small form J&F 0.202 on DAVIS-2016 (docs/results.md)
"""

from ml_collections import ConfigDict

from configs import common


def get_config(form: str = "") -> ConfigDict:
    """All clips of six consecutive frames that do not overlap, about 700 an epoch, for 100 epochs."""
    return common.in_form(common.get_config(), form)
