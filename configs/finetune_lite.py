"""The network that the package ships, trained on with videos of your own.

Command:   python train.py --config configs/finetune_lite.py --workdir runs/mine --data-root MY_VIDEOS
           then python evaluate.py with the same three options, on these or on other videos of that layout
Data:      MY_VIDEOS/JPEGImages/<video>/*.jpg, MY_VIDEOS/Annotations/<video>/*.png
Goal:      better masks of what these videos show
Measured:  nothing
"""

from ml_collections import ConfigDict

from configs import lite2_long, lite2_narrow


def get_config() -> ConfigDict:
    """Clips of eight frames of 256 x 256, every part trained; the rate falls linearly over all steps."""
    config = lite2_long.get_config()
    config.model = lite2_narrow.get_config().model
    config.optimizer.rates = (("mu_layer", 3.0),)
    config.train.update(init_from="lite", open_attention=False)
    config.data.kind = "folder"
    config.evaluation.kind = "folder"
    return config
