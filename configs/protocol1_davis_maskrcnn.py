"""The paper's protocol 1 from the ResNet-50 of a Mask R-CNN (the "v2" rows of Table 2).

Command:   munet convert maskrcnn_resnet50_fpn_coco.pth maskrcnn_resnet50.safetensors, and then
           python train.py --config configs/protocol1_davis_maskrcnn.py --workdir runs/protocol1_v2 --data-root DAVIS
Data:      DAVIS-2017, 480p (docs/data.md); torchvision's weights of a Mask R-CNN
Paper:     J&F 76.5 on DAVIS-2017 val
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import common, protocol1_davis


def get_config(form: str = "") -> ConfigDict:
    """As protocol1_davis, from other weights; the small network is none of theirs and starts from scratch."""
    config = protocol1_davis.get_config()
    config.train.backbone = "maskrcnn_resnet50.safetensors"
    return common.in_form(config, form)
