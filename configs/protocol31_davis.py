"""The paper's protocol 3.1: still images, then DAVIS-2017.

Command:   python train.py --config configs/protocol31_davis.py --workdir runs/protocol31 --data-root DAVIS
           after protocol3_static, whose workdir it starts from (--config.train.init_from=DIR for another)
           configs/protocol31_davis.py:small is for two cores, after protocol3_static.py:small
Data:      DAVIS-2017, 480p (docs/data.md)
Paper:     J&F 78.1 on DAVIS-2017 val
Measured:  not measured; the small form J&F 0.446 on DAVIS-2016 (docs/results.md)
"""

from ml_collections import ConfigDict

from configs import common, protocol1_davis


def get_config(form: str = "") -> ConfigDict:
    """As protocol1_davis, from the parameters that the still images gave."""
    return common.after_stills(protocol1_davis.get_config(form), form)
