"""The rows of the paper's Table 4: what the loss, the displacement, the uncertainty and the attention are worth.

Command:   munet convert resnet50.pth backbone.safetensors   (ImageNet's ResNet-50, the paper's start), and then
           python train.py --config configs/ablation.py:a --workdir runs/ablation_a --data-root DATA
               --config.train.backbone=backbone.safetensors   (a to g)
           configs/ablation.py:a,small is for two cores, from scratch
Data:      DATA/DAVIS and DATA/YouTube-VOS, as protocol 2 (docs/data.md)
Paper:     J&F on DAVIS-2017 val: a 76.5, b 78.6, c 78.0, d 79.7, e 81.1, f 80.1, g 81.1
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import protocol2_davis_youtube

# Row: loss of Eq. 4 or plain cross-entropy, displacement, uncertainty, fusion.
ROWS = {
    "a": ("ce", False, False, "none"),
    "b": ("bsce_iou", False, False, "none"),
    "c": ("ce", True, True, "msam"),
    "d": ("bsce_iou", True, False, "msam"),
    "e": ("bsce_iou", True, True, "msam"),
    "f": ("bsce_iou", True, True, "addition"),
    "g": ("bsce_iou", True, True, "msam"),  # the paper's comparison of fusions lists row e again
}


def get_config(row_and_form: str = "e") -> ConfigDict:
    """Protocol 2 with the switches of one row: 'a' to 'g', or 'a,small' to 'g,small'."""
    row, _, form = row_and_form.partition(",")
    if row not in ROWS:
        raise ValueError(f"configs/ablation.py has the rows {', '.join(ROWS)}, not {row!r}")
    config = protocol2_davis_youtube.get_config(form)
    config.train.loss, displacement, uncertainty, config.model.fusion = ROWS[row]
    config.model.mu_layer.update(displacement=displacement, uncertainty=uncertainty)
    return config
