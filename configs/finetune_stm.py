"""MUNet from STM's published weights: at its start it computes what STM computes, and it has motion to learn.

Command:   munet convert STM_weights.pth munet_start.safetensors --network munet, and then
           python train.py --config configs/finetune_stm.py --workdir runs/finetune_stm --data-root DAVIS
Data:      DAVIS-2017, 480p (docs/data.md); STM's weights, of github.com/seoungwugoh/STM (extra 'convert')
Paper:     J&F 81.8 on DAVIS-2017 val for STM, where this begins; MUNet has never been trained from there
Measured:  not measured
"""

from ml_collections import ConfigDict

from configs import protocol1_davis


def get_config() -> ConfigDict:
    """Protocol 1 at STM's own rate, for a fifth of the epochs; the MU-Layer and MSAM, which STM lacks, at ten times that."""
    config = protocol1_davis.get_config()
    config.model.padding = "black"
    config.model.reference_encoder.others = True
    config.optimizer.update(learning_rate=1e-5, rates=(("mu_layer", 10.0), ("fusion", 10.0)))
    config.train.update(start="init_from", init_from="munet_start.safetensors", epochs=20.0)
    return config
