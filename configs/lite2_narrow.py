"""MUNet-lite 2, fourth stage: a decoder with fewer channels at stride 4, where most of its work is, and without the skip
branches' residual blocks. Its layers at strides 8 and 4 learn to say what the network of the third stage says; all before them
stays as it is. Its result is what the package ships.

Command:   python train.py --config configs/lite2_narrow.py --workdir runs/lite2_narrow --data-root DATA
           after munet export-weights has written lite2.safetensors of lite2_soft, which it starts from and learns from
           (--config.train.init_from=FILE --config.train.teacher=FILE for another); then
           munet export-weights runs/lite2_narrow lite.safetensors
Data:      as lite2
Goal:      the masks of the third stage in less time
Measured:  J&F 0.825 on the six 480p videos that choose between recipes, as before it (docs/results.md); 40 minutes of two
           CPU cores
"""

from ml_collections import ConfigDict

from configs import lite2


def get_config() -> ConfigDict:
    """Clips of five frames of 256 x 256; the rate falls linearly over all steps."""
    config = lite2.get_config()
    config.model.update(decoder_dim=(96, 64, 32), skip_blocks=False)
    config.optimizer.update(learning_rate=2e-3, decay_steps=1600, rates=())
    config.train.update(init_from="lite2.safetensors", init_fitting=True, motion_weight=0.0)
    config.train.update(teacher="lite2.safetensors", teacher_weight=33.0, truncate=True)
    before = ("query_encoder", "mu_layer", "fusion", "query_embedding", "memory_embedding", "reference_encoder")
    config.train.update(freeze=(*before, "decoder/entry", "decoder/entry_block"), ema_decay=0.99, seed=21, steps=1600)
    return config
