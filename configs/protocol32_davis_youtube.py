"""The paper's protocol 3.2: still images, then DAVIS-2017 and YouTube-VOS 2018.

Command:   python train.py --config configs/protocol32_davis_youtube.py --workdir runs/protocol32 --data-root DATA
           after protocol3_static, whose workdir it starts from (--config.train.init_from=DIR for another)
           configs/protocol32_davis_youtube.py:small is for two cores, after protocol3_static.py:small
Data:      DATA/DAVIS and DATA/YouTube-VOS (docs/data.md)
Paper:     J&F 81.9 on DAVIS-2017 val, G 80.3 on YouTube-VOS 2018 val
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import common, protocol2_davis_youtube


def get_config(form: str = "") -> ConfigDict:
    """As protocol2_davis_youtube, from the parameters that the still images gave."""
    return common.after_stills(protocol2_davis_youtube.get_config(form), form)
