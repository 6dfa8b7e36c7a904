"""The whole network equals an independent PyTorch one with the same parameters (needs the extra 'convert')."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from munet_jax.models.aggregation import object_probabilities
from tests.models.tiny import random_clip, random_variables, run_clip, tiny_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[convert]'")


def with_random_statistics(variables: dict) -> dict:
    rng = np.random.default_rng(5)
    stats = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 1.5, x.shape), x.dtype), variables["batch_stats"])
    return {**variables, "batch_stats": stats}


@pytest.mark.parametrize("backbone", ["basic, group norm", "bottleneck, frozen batch norm"])
def test_memorise_and_query_equal_pytorch(backbone: str) -> None:
    from tests.models.torch_munet import TorchMUNet

    changes = {"memory_key": "reference", "mu_layer__matching": "softargmin", "mu_layer__temperature": 1.0}
    changes |= {"mu_layer__learn_temperature": False, "mu_layer__outside": "zero"}
    if backbone.startswith("bottleneck"):
        for part in ("query_encoder", "reference_encoder"):
            changes |= {
                f"{part}__block": "bottleneck",
                f"{part}__norm": "frozen_batch",
                f"{part}__stage_sizes": (1, 2, 2),
            }
    model = tiny_model(**changes)
    frames, masks, objects = random_clip(b=1, t=2, size=(72, 90))
    variables = random_variables(model, b=1, t=2, size=(72, 90))
    if "batch_stats" in variables:
        variables = with_random_statistics(variables)
    logits = run_clip(model, variables, frames, masks, objects)[:, 0]
    ours = np.asarray(object_probabilities(logits))[0]

    def torch_frame(number: int) -> "torch.Tensor":
        return torch.from_numpy(np.array(frames[0, number])).permute(2, 0, 1)[None]

    theirs = TorchMUNet(variables, model.mu_layer.radius)(
        torch_frame(0), torch.from_numpy(np.array(masks[0])), torch_frame(1)
    )
    assert ours.std() > 0.01  # a picture, not one value
    np.testing.assert_allclose(ours, theirs[1:].numpy(), atol=1e-4)
