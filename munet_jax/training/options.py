"""The fields of `config.optimizer` and `config.train`, and all sections of a run's config. Nothing here needs jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from munet_jax.data.options import DataConfig
from munet_jax.evaluation.options import EvaluationConfig
from munet_jax.inference.options import InferenceConfig
from munet_jax.models.options import ModelConfig
from munet_jax.runtime.fields import field_of


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate (paper Sec. 3.5)."""

    learning_rate: float = field_of(2e-5, "learning rate, before the schedule changes it")
    encoder_rate: float = field_of(1.0, "learning rate of Enc-Q, as a part of that of the rest")
    rates: tuple[tuple[str, float], ...] = field_of(
        (), "learning rates of more parts, as factors: (('mu_layer', 10.0), ...); those of parts within parts multiply"
    )
    scale_lr: Literal["none", "sqrt", "linear"] | bool = field_of(  # a bool in configs of before
        "none", "multiply the learning rate by nothing, the root of train.batch_size, or train.batch_size"
    )
    schedule: Literal["halving", "cosine", "constant"] = field_of(
        "halving", "halve the rate every halve_every_epochs, let it fall to 0 at the end of the run, or keep it"
    )
    halve_every_epochs: int = field_of(25, "halving: epochs from one halving to the next")
    decay_steps: int = field_of(0, "steps at the end of the run over which the rate falls to 0 in a straight line")
    warmup_steps: int = field_of(0, "steps over which the rate rises from 0")
    warmup_epochs: float = field_of(0.0, "the same in epochs; set one of the two")
    weight_decay: float = field_of(0.5, "weight decay of all parameters, decoupled from the gradient")
    beta1: float = field_of(0.9, "decay of the mean of gradients")
    beta2: float = field_of(0.999, "decay of the mean of their squares")
    clip_norm: float = field_of(0.0, "largest norm of the whole gradient; 0 does not clip")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run: its start, its loss, its steps, what it writes."""

    seed: int = field_of(0, "random seed of parameters, clips and augmentation")
    start: Literal["backbone", "init_from", "scratch"] = field_of(
        "backbone", "what a new run starts from: the file of one of the next two fields, or random weights"
    )
    init_from: str = field_of("", "start 'init_from': run, file of weights, 'lite' or 'lite-1' with the parameters")
    init_fitting: bool = field_of(
        False,
        "start 'init_from': leave out what does not fit the network, and say what is new, in place of refusing",
    )
    open_attention: bool = field_of(
        False,
        "start 'init_from': begin MSAM anew, at an attention of one half everywhere; one near 0 learns little",
    )
    score_factor: float = field_of(
        1.0,
        "start 'init_from': multiply the scores of the memory by it, through the keys; where a softmax has one weight near 1, "
        "keys learn little",
    )
    backbone: str = field_of("", "start 'backbone': file of `munet convert` with the weights of the encoders")
    epochs: float = field_of(
        100.0, "length of a run in epochs (see data.epoch_clips); its steps follow from the clips and train.batch_size"
    )
    steps: int = field_of(0, "length of a run in steps, whatever train.epochs is; 0 leaves it to that")
    batch_size: int = field_of(1, "clips of a step, over all devices together")
    accumulate: int = field_of(
        1, "micro-batches into which each device splits its clips of a step; more need less memory"
    )
    ema_decay: float = field_of(
        0.0, "decay of a moving average of the parameters, which is then scored and exported; 0 keeps none"
    )
    freeze: tuple[str, ...] = field_of(
        (), "parts that are not trained, such as 'decoder' or 'query_encoder/backbone/res2_0'"
    )
    loss: Literal["bsce_iou", "ce"] = field_of("bsce_iou", "the loss of Eq. 4, or plain cross-entropy")
    iou_weight: float = field_of(1.0, "lambda of Eq. 4: weight of the IoU loss")
    bootstrap_fraction: float = field_of(0.4, "share of a frame's pixels, the hardest, that the loss counts")
    bootstrap_warmup_steps: int = field_of(0, "steps over which bootstrap_fraction falls from 1 to its value")
    memory: Literal["reference", "sequential"] = field_of(
        "reference", "remember a clip's first frame alone, or the frames that were predicted too"
    )
    truncate: bool = field_of(
        False, "memory 'sequential': no gradient through a predicted mask to the frames before; less time and memory"
    )
    teacher: str = field_of(
        "",
        "a trained network whose probabilities this one is to have too: a run, a file of weights, or 'lite'; not in the paper",
    )
    teacher_weight: float = field_of(
        0.0, "weight of the loss against the teacher, the Kullback-Leibler divergence of each pixel"
    )
    motion_weight: float = field_of(
        0.0,
        "weight of the losses of the MU-Layer's motion, against frames that are warped by a drawn motion and by the labels "
        "of neighbouring frames; not in the paper",
    )
    prior_dropout: float = field_of(0.0, "share of the query frames that are not shown the motion prior")
    log_every: int = field_of(50, "steps from one line of metrics.jsonl to the next")
    checkpoint_every: int = field_of(500, "steps from one checkpoint to the next; the last step is saved too")
    keep_checkpoints: int = field_of(2, "newest checkpoints that are kept; the best on the held-out videos stays too")
    validate_every: int = field_of(0, "steps from one score of data.held_out's videos to the next; 0 never scores them")
    tensorboard: bool = field_of(False, "also write TensorBoard files (extra 'tensorboard')")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Every section of a config. The defaults are the paper's network, its settings and its protocol 1."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
