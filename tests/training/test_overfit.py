"""The small model learns one real clip by heart: losses, gradients and optimizer pull in the same direction."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis2016_small
from munet_jax.data.davis import DavisSource
from munet_jax.data.loader import Part, make_loader
from munet_jax.evaluation.metrics import region_similarity
from munet_jax.models import create_model
from munet_jax.runtime.jit import CPU_OPTIONS
from munet_jax.training.length import Length
from munet_jax.training.optimizer import create_optimizer, create_schedule
from munet_jax.training.parallel import split_batch
from munet_jax.training.setup import clip_options
from munet_jax.training.step import create_state, make_train_step, one_hot_objects
from tests.shared_data import shared

STEPS = 300


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_small_model_learns_one_real_clip_by_heart() -> None:
    config = davis2016_small.get_config()
    source = DavisSource(shared("davis2016"), "train", "2016")
    # One clip with the config's own augmentation, the same again and again.
    loader = make_loader([Part(source)], clip_options(config.data), batch_size=1, seed=0, threads=0)
    clip = jax.tree.map(lambda x: x[0], split_batch(next(loader), 1))
    model = create_model(config.model)
    optimizer = create_optimizer(config.optimizer, create_schedule(config.optimizer, Length(1, 1, STEPS)))
    state = create_state(model, optimizer, clip, seed=0)
    step = jax.jit(make_train_step(model, optimizer), donate_argnums=0).lower(state, clip).compile(CPU_OPTIONS)

    def similarity() -> float:
        """J over the clip's queries, of the first frame's true mask alone in memory."""
        masks = one_hot_objects(jnp.asarray(clip.labels[:, 0]), 1)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = jax.jit(model.apply)(variables, clip.frames, masks, clip.objects)
        found, truth = np.asarray(logits[0]).argmax(-1) == 1, clip.labels[0, 1:] == 1
        return float(np.mean(region_similarity(truth, found)))

    before, start = similarity(), time.perf_counter()
    for _ in range(STEPS):
        state, _ = step(state, clip)
    after = similarity()
    print(f"\nJ {before:.3f} before, {after:.3f} after {STEPS} steps, {time.perf_counter() - start:.0f} s")
    assert before < 0.5
    assert after > 0.9
