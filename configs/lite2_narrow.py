"""MUNet-lite 2, fourth stage: a decoder of 32 channels in place of 48 at stride 4, where half of a frame's convolutions were. What is
narrower starts anew, what leads to it goes on, and all before the decoder stays as it is.

Command:   python train.py --config configs/lite2_narrow.py --workdir runs/lite2_narrow --data-root DATA
           after lite2_soft, whose exported mean lite2.safetensors it starts from (--config.train.init_from=FILE for another)
Data:      as lite2
Goal:      a start for configs/lite2_decoder.py
Measured:  docs/results.md
"""

from ml_collections import ConfigDict

from configs import lite2

# Memory, matching and motion stay those that were chosen.
BEFORE_THE_DECODER = (
    "query_encoder", "mu_layer", "fusion", "query_embedding", "memory_embedding", "reference_encoder",
)  # fmt: skip


def narrow(config: ConfigDict) -> None:
    """The decoder's channels, in `config.model`."""
    config.decoder_dim = (96, 64, 32)


def get_config() -> ConfigDict:
    """Clips of five frames of 256 x 256, as in the first stage; the rate falls linearly over all steps."""
    config = lite2.get_config()
    narrow(config.model)
    config.optimizer.update(learning_rate=1e-3, decay_steps=800, rates=())
    config.train.update(init_from="lite2.safetensors", init_fitting=True, motion_weight=0.0, ema_decay=0.99)
    config.train.freeze = (*BEFORE_THE_DECODER, "decoder/entry", "decoder/entry_block", "decoder/skip8")
    config.train.update(seed=6, steps=800)
    return config
