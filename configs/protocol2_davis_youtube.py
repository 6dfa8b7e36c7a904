"""The paper's protocol 2: DAVIS-2017 and YouTube-VOS 2018.

Command:   munet convert resnet50.pth backbone.safetensors   (ImageNet's ResNet-50, the paper's start), and then
           python train.py --config configs/protocol2_davis_youtube.py --workdir runs/protocol2 --data-root DATA
               --config.train.backbone=backbone.safetensors
           configs/protocol2_davis_youtube.py:small is for two cores, from scratch
Data:      DATA/DAVIS and DATA/YouTube-VOS (docs/data.md)
Paper:     J&F 81.1 on DAVIS-2017 val, G 77.4 on YouTube-VOS 2018 val
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import common


def get_config(form: str = "") -> ConfigDict:
    """1450 clips an epoch, half from each set, for 100 epochs; of YouTube-VOS consecutive annotated frames."""
    config = common.get_config()
    config.data.kind = "mix"
    config.data.mix.update(davis=0.5, youtube_vos=0.5)
    config.data.epoch_clips = 1450
    return common.in_form(config, form)
