"""Fields that every config has, with the paper's values. The other files of this folder change what their run needs."""

import dataclasses

from ml_collections import ConfigDict

from munet_jax.data.still_motion import StillMotionConfig
from munet_jax.data.synthetic.videos import SyntheticConfig
from munet_jax.inference.options import default_options

FORMS = ("", "small")


def encoder() -> ConfigDict:
    """ResNet-50 to res4 with frozen batch norm."""
    fields = {"stage_sizes": (3, 4, 6), "width": 64, "block": "bottleneck", "norm": "frozen_batch"}
    return ConfigDict({"kind": "resnet"} | fields)


def model() -> ConfigDict:
    """The paper's network (Sec. 3)."""
    config = ConfigDict()
    config.query_encoder = encoder()
    config.query_encoder.frozen_blocks = 0  # of kind 'efficientnet_lite0': the first blocks that get no gradient
    config.reference_encoder = encoder()
    config.reference_encoder.light_widths = (16, 32, 48, 64)  # of kind 'light': channels at strides 2, 4, 8, 16
    config.reference_encoder.light_features = 128
    # Standard deviation of the mask's part of Enc-R's first kernel before training.
    config.reference_encoder.mask_kernel_std = 0.01
    config.mu_layer = ConfigDict()
    config.mu_layer.channels = 0  # that are matched; 0 is a quarter of the semantic feature's
    config.mu_layer.radius = 12  # stride-16 positions: a 25 x 25 window
    config.mu_layer.matching = "softargmin"  # the paper's formula; 'softargmax' points at the match
    config.mu_layer.temperature = 1.0
    config.mu_layer.learn_temperature = False
    config.mu_layer.outside = "zero"  # or 'mask': leave targets outside the frame out
    config.mu_layer.displacement = True
    config.mu_layer.uncertainty = True
    config.fusion = "msam"  # 'addition' and 'none' are for the ablation
    config.memory_key = "reference"  # the paper's; 'query' remembers a frame by the key it asked with
    config.key_dim = 128
    config.value_dim = 512
    config.decoder_dim = (256, 256, 256)  # at strides 16, 8 and 4
    config.motion_prior = False  # hand the moved masks of the frame before to the decoder; not in the paper
    config.top_k = 0  # memory positions per query position; 0 takes all
    config.remat = False  # training computes the encoders' and the decoder's inner maps twice, to keep fewer
    config.dtype = "float32"  # of compute; parameters, softmax, cost volume and losses stay f32
    return config


def augmentation() -> ConfigDict:
    """Sec. 3.5: flip, crop, small affine motion and colour jitter (strengths: munet_jax/data/transforms.py)."""
    return ConfigDict(
        {
            "flip": 0.5,
            "random_crop": True,
            "crop_scale_min": 0.8,
            "crop_scale_max": 1.0,
            "rotation": 3.0,
            "shift": 0.02,
            "scale": 0.02,
            "shear": 2.0,
            "brightness": 0.1,
            "contrast": 0.1,
            "saturation": 0.1,
            "hue": 0.02,
        }
    )


def still_motion() -> ConfigDict:
    """How still images move in training clips; objects move on their own only where a config asks for it."""
    return ConfigDict(dataclasses.asdict(StillMotionConfig()))


def source(kind: str, split: str) -> ConfigDict:
    """Where videos come from: 'synthetic' (nothing to download), 'davis', 'youtube_vos', 'folder' (trees), 'tfds'.

    Training has two kinds more: 'static' (sets of still images) and 'mix' (several kinds, by weight).
    """
    config = ConfigDict({"kind": kind})
    config.synthetic = ConfigDict(dataclasses.asdict(SyntheticConfig()))
    config.davis = ConfigDict({"root": "", "year": "2017", "split": split, "resolution": "480p"})
    valid = "valid" if split == "val" else split  # its own name for that split
    # 'annotated': the frames of meta.json, every 5th; 'all': every frame there is.
    config.youtube_vos = ConfigDict({"root": "", "split": valid, "frames": "annotated"})
    config.folder = ConfigDict({"root": ""})
    # Prepared by `munet prepare`, or the catalogue's own davis/480p (whose val is called validation).
    config.tfds = ConfigDict({"data_dir": "", "dataset": "", "split": split})
    return config


def static() -> ConfigDict:
    """Sets of still images: the folder of each under `root`, or several with commas between; '' leaves a set out."""
    config = ConfigDict({"root": "", "voc_split": "trainval", "coco_split": "train2017"})
    names = ("msra10k", "ecssd", "hku_is", "pascal_s", "voc2012_objects", "voc2012_classes", "coco", "images")
    config.sets = ConfigDict(dict.fromkeys(names, ""))
    return config


def get_config() -> ConfigDict:
    """Everything; a config file starts from here."""
    config = ConfigDict()
    config.model = model()

    config.data = source("davis", "train")
    config.data.static = static()
    kinds = ("synthetic", "davis", "youtube_vos", "folder", "tfds", "static")
    config.data.mix = ConfigDict(dict.fromkeys(kinds, 0.0))
    config.data.size = (400, 400)  # height, width of training crops
    config.data.clip_length = 6  # frame 0 is the reference
    config.data.clip_stride = 6  # frames between the starts of clips: clips do not overlap
    config.data.max_objects = 2
    config.data.max_skip = 1
    config.data.min_pixels = 16  # of an object in a clip's first frame; with fewer it is not followed
    config.data.augmentation = augmentation()
    config.data.still_motion = still_motion()
    config.data.composite = 0.0  # of clips of videos, over which the objects of another video pass
    config.data.still_share = 0.0  # of clips made of single annotated frames of the same videos, moved as still images
    config.data.held_out = ()  # names of training videos that are not trained on, but scored during the run
    config.data.epoch_clips = 0  # clips in an epoch; 0: as many as all parts together have
    config.data.threads = 2  # batches made at the same time, per worker
    config.data.workers = 0  # processes that make batches; 0: threads of this one
    config.data.on_error = "stop"  # at an unreadable clip; 'skip' takes another one and counts
    config.data.fake = False  # one batch again and again, to tell the loader's time from the device's

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 2e-5
    config.optimizer.encoder_rate = 1.0  # Enc-Q's rate, as a part of that of the rest
    config.optimizer.scale_lr = False  # the rate is of one clip, times train.batch_size
    config.optimizer.schedule = "halving"  # or 'cosine', 'constant'
    config.optimizer.halve_every_epochs = 25
    config.optimizer.warmup_steps = 0
    config.optimizer.weight_decay = 0.5
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.clip_norm = 0.0  # 0: no clipping

    config.train = ConfigDict()
    config.train.seed = 0
    config.train.init_from = ""  # run, weights file or 'lite', whose parameters a new run starts from
    config.train.backbone = ""  # both encoders of a new run start from this file of `munet convert`
    config.train.steps = 70_000  # 100 epochs of about 700 clips
    config.train.batch_size = 1  # over all devices
    config.train.accumulate = 1  # micro-batches that each device takes one after the other
    config.train.ema_decay = 0.0  # of a moving average of the parameters, which is then what is evaluated; 0: none
    config.train.freeze = ()  # parts that stay as they are, such as ('query_encoder', 'reference_encoder')
    config.train.loss = "bsce_iou"  # Eq. 4; or 'ce'
    config.train.iou_weight = 1.0  # lambda of Eq. 4
    config.train.bootstrap_fraction = 0.4
    config.train.bootstrap_warmup = 0  # steps over which the fraction comes down from 1
    config.train.memory = "reference"  # or 'sequential': predicted frames are memorised too
    config.train.prior_dropout = 0.0  # share of the query frames that are not given the motion prior
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.train.keep_checkpoints = 2  # the newest; the best on the held-out videos stays too
    config.train.validate_every = 0  # steps between looks at the held-out videos; 0: never
    config.train.tensorboard = False  # needs the extra 'tensorboard'

    config.inference = default_options()  # munet_jax/inference/options.py says what each field does

    config.evaluation = source("davis", "val")
    config.evaluation.merge_objects = False  # DAVIS-2016: all objects are one
    config.evaluation.after_training = False
    config.evaluation.pictures = 3  # videos to draw strips, GIFs and motion maps of
    return config


def narrow(config: ConfigDict) -> None:
    """Turn the paper's network into a small one for training from scratch: GroupNorm, few channels, a matching that works.

    Frozen statistics of an untrained network would normalise nothing, and the paper's flat softargmin gives a small
    network little to learn from.
    """
    for part in (config.query_encoder, config.reference_encoder):
        part.update(stage_sizes=(1, 1, 1), width=16, block="basic", norm="group")
    config.reference_encoder.mask_kernel_std = 0.5
    config.mu_layer.update(matching="softargmax", temperature=0.07, learn_temperature=True, outside="mask")
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
        backbone="", steps=1200, batch_size=4, bootstrap_warmup=1200, log_every=25, checkpoint_every=250
    )
    config.inference.max_size = 240  # the scale of the training clips


def in_form(config: ConfigDict, form: str) -> ConfigDict:
    """`config` as it is, or shrunk for `configs/NAME.py:small`."""
    if is_small(form):
        small(config)
    return config


def is_small(form: str) -> bool:
    """Whether the form asked for is 'small'; '' is the paper's own. Raises ValueError for another one."""
    if form not in FORMS:
        raise ValueError(f"configs have the form 'small' (configs/NAME.py:small), not {form!r}")
    return form == "small"


def no_augmentation() -> ConfigDict:
    """Clips as they are, for data that varies by itself."""
    config = augmentation()
    for name in config:
        config[name] = type(config[name])(0)
    config.update(crop_scale_min=1.0, crop_scale_max=1.0)
    return config
