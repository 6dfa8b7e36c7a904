"""What every config starts from: the defaults of all fields (docs/config.md), and ways to change many of them at once."""

from ml_collections import ConfigDict

from munet_jax.data.transforms import AugmentationConfig
from munet_jax.runtime.fields import as_config
from munet_jax.training.options import RunConfig

FORMS = ("", "small")


def get_config() -> ConfigDict:
    """Everything, for protocol 1; a config file starts from here."""
    return as_config(RunConfig())


def narrow(config: ConfigDict) -> None:
    """Turn the paper's network into a small one for training from scratch: GroupNorm, few channels, a matching that works.

    Frozen statistics of an untrained network would normalise nothing, and the paper's flat softargmin gives a small
    network little to learn from.
    """
    for part in (config.query_encoder, config.reference_encoder):
        part.update(stage_sizes=(1, 1, 1), width=16, block="basic", norm="group")
    config.reference_encoder.mask_kernel_std = 0.5
    config.mu_layer.update(matching="softargmax", temperature=0.07, learn_temperature=True, outside="mask")
    config.initialisation = "lecun_normal"
    config.update(memory_key="query", key_dim=32, value_dim=64, decoder_dim=(32, 32, 32))


def small(config: ConfigDict) -> None:
    """Shrink a protocol until it trains from scratch in minutes on two cores: the narrow network, short clips of 192 x 192.

    Data, loss and memory stay the protocol's own.
    """
    narrow(config.model)
    for part in (config.model.query_encoder, config.model.reference_encoder):
        part.update(width=24, stage_sizes=(1, 1, 2))
    config.model.update(key_dim=48, value_dim=96, decoder_dim=(48, 48, 48))
    config.data.update(size=(192, 192), clip_length=4, clip_stride=1, max_skip=3)
    config.data.augmentation.update(crop_scale_min=0.4, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03)
    config.optimizer.update(learning_rate=2e-3, schedule="cosine", warmup_steps=50, weight_decay=0.01, clip_norm=1.0)
    config.train.update(
        start="scratch",
        init_from="",
        backbone="",
        steps=1200,
        batch_size=4,
        bootstrap_warmup_steps=1200,
        log_every=25,
        checkpoint_every=250,
    )
    config.inference.max_size = 240  # the scale of the training clips


def in_form(config: ConfigDict, form: str) -> ConfigDict:
    """`config` as it is, or shrunk for `configs/NAME.py:small`."""
    if is_small(form):
        small(config)
    return config


def after_stills(config: ConfigDict, form: str) -> ConfigDict:
    """`config` from the parameters that protocol3_static gave in the same form."""
    config.train.update(start="init_from", init_from="runs/protocol3")
    if is_small(form):
        config.train.update(init_from="runs/protocol3_small", bootstrap_warmup_steps=0)
    return config


def is_small(form: str) -> bool:
    """Whether the form asked for is 'small'; '' is the paper's own. Raises ValueError for another one."""
    if form not in FORMS:
        raise ValueError(f"configs have the form 'small' (configs/NAME.py:small), not {form!r}")
    return form == "small"


def no_augmentation() -> ConfigDict:
    """Clips as they are, for data that varies by itself."""
    return as_config(AugmentationConfig.none())
