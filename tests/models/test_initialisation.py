"""PyTorch's own draw, by its bounds and moments and beside torch where it is there; encoders stay as they are."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import common, lite, quickstart
from munet_jax.models.initialisation import pytorch_initialised


def tree() -> dict[str, object]:
    def conv(size: int, i: int, o: int) -> dict[str, np.ndarray]:
        return {"kernel": np.zeros((size, size, i, o), np.float32), "bias": np.zeros(o, np.float32)}

    return {
        "query_encoder": {"conv1": conv(3, 8, 8)},
        "decoder": {"entry": conv(3, 64, 512)},
        "mu_layer": {"temperature": np.ones(1)},
    }


def test_kernels_and_biases_are_uniform_up_to_the_root_of_the_fan_in() -> None:
    drawn = flatten_dict(pytorch_initialised(tree(), 0), sep="/")
    bound = (3 * 3 * 64) ** -0.5
    for name in ("decoder/entry/kernel", "decoder/entry/bias"):
        assert np.abs(drawn[name]).max() <= bound
        assert np.abs(drawn[name]).max() > 0.98 * bound
        assert drawn[name].std() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert drawn[name].dtype == np.float32
    assert not drawn["query_encoder/conv1/kernel"].any()
    assert drawn["mu_layer/temperature"] == 1


def test_the_draw_follows_from_the_seed_and_is_that_of_torch() -> None:
    one, same, other = (pytorch_initialised(tree(), seed)["decoder"]["entry"]["kernel"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    torch = pytest.importorskip("torch")
    weight = torch.nn.Conv2d(64, 512, 3).weight.detach().numpy()
    assert float(weight.std()) == pytest.approx(float(one.std()), rel=0.02)
    assert float(np.abs(weight).max()) == pytest.approx(float(np.abs(one).max()), rel=0.02)


def test_the_protocols_use_it_and_models_from_scratch_do_not() -> None:
    assert common.get_config().model.initialisation == "pytorch"
    for config in (quickstart.get_config(), lite.get_config()):
        assert config.model.initialisation == "lecun_normal"
