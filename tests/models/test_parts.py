"""Fusion, aggregation and upsampling against numpy loops; what padding must not change."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from munet_jax.models.aggregation import aggregated_probabilities, object_probabilities, soft_aggregation
from munet_jax.models.decoder import Decoder, upsample
from munet_jax.models.encoders import QueryFeatures
from munet_jax.models.fusion import Fusion, with_open_attention
from munet_jax.models.matcher import KeyValue, Matcher, with_scores_multiplied
from munet_jax.models.padding import crop_padding, pad_to_stride
from munet_jax.models.resnet import GroupNorm
from tests.models.tiny import random_clip, random_variables, run_clip, tiny_model


def test_msam_equals_equation_3() -> None:
    rng = np.random.default_rng(0)
    semantic, motion = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    module = Fusion("msam")
    variables = module.init(jax.random.key(0), jnp.asarray(semantic), jnp.asarray(motion))
    fused, attention = module.apply(variables, jnp.asarray(semantic), jnp.asarray(motion))
    weights = np.asarray(variables["params"]["attention"]["kernel"], np.float64)[0, 0, :, 0]
    for place in np.ndindex(2, 3, 4):
        expected = 1 / (1 + np.exp(-(motion[place] @ weights)))
        assert float(attention[place][0]) == pytest.approx(expected, abs=1e-5)
        np.testing.assert_allclose(fused[place], semantic[place] * expected + semantic[place], atol=1e-5)


def test_an_attention_is_opened_without_a_change_of_what_the_network_computes() -> None:
    model, clip = tiny_model(memory_key="query"), random_clip()
    params = random_variables(model)["params"]
    closed = {"kernel": jnp.zeros_like(params["fusion"]["attention"]["kernel"]), "bias": jnp.full((1,), -100.0)}
    params = params | {"fusion": {"attention": closed}}
    opened = with_open_attention(params)
    np.testing.assert_allclose(
        run_clip(model, {"params": opened}, *clip), run_clip(model, {"params": params}, *clip), atol=1e-4
    )

    def mean(fusion: Any, params: Any) -> jax.Array:
        return jnp.mean(model.apply({"params": params | {"fusion": fusion}}, *clip)[..., 0])

    slope = jax.jit(jax.grad(mean))
    moved = [float(jnp.abs(slope(x["fusion"], x)["attention"]["kernel"]).max()) for x in (params, opened)]
    assert moved[0] == 0.0
    assert moved[1] > 1e-6


@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_scores_are_multiplied_by_a_factor_through_the_keys(similarity: str) -> None:
    rng, matcher = np.random.default_rng(0), Matcher(similarity=similarity)
    features = jnp.asarray(rng.standard_normal((2, 1, 4, 4, 6)), jnp.float32)
    embedding = KeyValue(key_dim=3, value_dim=2)
    variables = [embedding.init(jax.random.key(seed), features[0])["params"] for seed in range(2)]
    params = dict(zip(("query_embedding", "memory_embedding"), variables, strict=True))

    def scores(params: Any) -> jax.Array:
        asked, remembered = (
            change(embedding.apply({"params": params[name]}, x)[0])
            for name, change, x in zip(params, (matcher.asked, matcher.remembered), features, strict=True)
        )
        return jnp.einsum("bhwk,bijk->bhwij", asked, remembered)

    softer = with_scores_multiplied(params, 0.1)
    np.testing.assert_allclose(scores(softer), 0.1 * scores(params), rtol=1e-4, atol=1e-6)
    assert softer["query_embedding"]["value"] is params["query_embedding"]["value"]
    alone = params | {"memory_embedding": {"value": {}}}  # a memory that keeps the query's keys
    assert with_scores_multiplied(alone, 0.1)["memory_embedding"] == {"value": {}}


@pytest.mark.parametrize("kind", ["addition", "none"])
def test_the_alternatives_of_the_ablation(kind: str) -> None:
    semantic, motion = jnp.full((1, 2, 2, 3), 2.0), jnp.full((1, 2, 2, 3), 0.5)
    fused, attention = Fusion(kind).apply({}, semantic, motion)
    np.testing.assert_array_equal(fused, semantic + motion if kind == "addition" else semantic)
    assert float(jnp.abs(attention).max()) == 0.0


def test_soft_aggregation_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    channels = rng.standard_normal((2, 3, 4, 5, 2)).astype(np.float32) * 4
    objects = np.array([[True, True, True], [True, False, True]])
    got = jax.nn.softmax(soft_aggregation(jnp.asarray(channels), jnp.asarray(objects)), axis=-1)
    for i, y, x in np.ndindex(2, 4, 5):
        pixel = channels[i, :, y, x].astype(np.float64)
        p = np.exp(pixel[:, 1]) / np.exp(pixel).sum(axis=1)
        p = np.concatenate([[np.prod(1 - p[objects[i]])], p])
        p = np.clip(p, 1e-7, 1 - 1e-7)
        odds = p / (1 - p)
        odds[1:][~objects[i]] = 0.0
        np.testing.assert_allclose(got[i, y, x], odds / odds.sum(), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 5.0, 100.0])
def test_probabilities_in_one_step_are_the_softmax_of_the_logits(scale: float) -> None:
    """Also where all is clipped, of many objects in one place, and where no slot holds one."""
    channels = jnp.asarray(np.random.default_rng(0).standard_normal((3, 16, 4, 5, 2)) * scale, jnp.float32)
    channels = channels.at[0, :, 0, 0, 1].set(scale * 4)
    objects = jnp.asarray(np.random.default_rng(1).random((3, 16)) < 0.7).at[2].set(False)
    expected = object_probabilities(soft_aggregation(channels, objects))
    np.testing.assert_allclose(aggregated_probabilities(channels, objects), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [4, 8, 48])
def test_group_norm_is_the_librarys(channels: int) -> None:
    """One group, of fewer channels than a group has and of as many, and several."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 5, 7, channels)) * 3 + 5, jnp.float32)
    params = {name: jnp.asarray(rng.standard_normal(channels), jnp.float32) for name in ("scale", "bias")}
    library = nn.GroupNorm(num_groups=max(1, channels // 8))
    with jax.numpy_rank_promotion("allow"):
        expected = library.apply({"params": params}, x)
    np.testing.assert_allclose(GroupNorm().apply({"params": params}, x), expected, atol=5e-5)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_upsample_equals_the_library(factor: int) -> None:
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), jnp.float32)
    expected = jax.image.resize(x, (2, 3 * factor, 5 * factor, 4), "bilinear")
    np.testing.assert_allclose(upsample(x, factor), expected, atol=1e-5)


def test_padding_comes_off_again() -> None:
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 33, 48, 3)), jnp.float32)
    padded = pad_to_stride(x, height_axis=1)
    assert padded.shape == (2, 48, 48, 3)
    np.testing.assert_array_equal(padded[:, 7:40], x)  # 15 missing rows: 7 above, 8 below
    np.testing.assert_array_equal(crop_padding(padded, (33, 48), height_axis=1), x)


@pytest.mark.parametrize("memory", ["reference", "sequential"])
def test_empty_object_slots_change_nothing(memory: str) -> None:
    model = tiny_model()
    variables = random_variables(model)
    frames, masks, objects = random_clip()
    plain = object_probabilities(
        run_clip(model, variables, frames, masks, objects, memory=memory).reshape(-1, *frames.shape[2:4], 3)
    )
    room = jnp.pad(masks, ((0, 0), (0, 2), (0, 0), (0, 0)))
    logits = run_clip(model, variables, frames, room, jnp.pad(objects, ((0, 0), (0, 2))), memory=memory)
    padded = object_probabilities(logits.reshape(-1, *frames.shape[2:4], 5))
    np.testing.assert_allclose(padded[:, :2], plain, atol=1e-5)
    assert float(padded[:, 2:].max()) == 0.0


def test_reference_and_sequential_memory_agree_on_the_first_query() -> None:
    model = tiny_model()
    variables = random_variables(model)
    clip = random_clip()
    first = [run_clip(model, variables, *clip, memory=memory) for memory in ("reference", "sequential")]
    np.testing.assert_allclose(first[0][:, 0], first[1][:, 0], atol=1e-4)
    assert float(jnp.abs(first[0][:, 1] - first[1][:, 1]).max()) > 1e-4


def test_a_memory_of_query_keys_has_one_key_for_all_objects() -> None:
    model = tiny_model(memory_key="query")
    frames, masks, objects = random_clip()
    variables = random_variables(model)
    assert "key" not in variables["params"]["memory_embedding"]
    query_key = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 8)), jnp.float32)
    key, _ = model.apply(variables, frames[:, 0], masks, query_key, method="memorise")
    np.testing.assert_array_equal(key[:, 0], key[:, 1])
    np.testing.assert_array_equal(key[:, 0], query_key.reshape(2, 12, 8))
    assert run_clip(model, variables, frames, masks, objects).shape == (2, 2, 40, 56, 3)


def test_matching_an_extra_view_is_what_the_mu_layer_says_of_a_neighbour() -> None:
    """The second frame as an extra view of the first: what its query was matched with, and the same logits."""
    model = tiny_model(mu_layer__radius=2)
    variables = random_variables(model)
    frames, masks, objects = random_clip()
    clip = (frames, masks, objects)
    origin = jnp.asarray([0, 1])
    extra = jnp.stack([frames[0, 1], frames[1, 2]])
    together = jax.jit(lambda *inputs: model.apply(*inputs, method="segment_and_match"))
    found = together(variables, *clip, extra, origin)
    np.testing.assert_allclose(found.logits, run_clip(model, variables, *clip), atol=1e-5)
    seen = jnp.stack([found.neighbours[0, 0], found.neighbours[1, 1]])
    np.testing.assert_allclose(jnp.exp(found.extra), seen, atol=1e-6)
    assert float(jnp.abs(seen[0] - seen[1]).max()) > 1e-3


def test_skip_branches_without_a_block_are_those_whose_block_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    res2, res3, res4, matched = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((1, 8, 12, 3), (1, 4, 6, 5), (1, 2, 3, 7), (1, 2, 2, 3, 10))
    )

    def run(decoder: Decoder) -> Any:
        return decoder(matched, decoder.skips(QueryFeatures(res2, res3, res4)))

    whole, without = (Decoder((6, 5, 4), skip_blocks=given) for given in (True, False))
    params = whole.init(jax.random.key(0), method=run)["params"]
    shorter = {name: {"conv": part["conv"]} if name.startswith("skip") else part for name, part in params.items()}
    assert jax.tree.map(jnp.shape, shorter) == jax.tree.map(
        jnp.shape, without.init(jax.random.key(0), method=run)["params"]
    )
    silent = {name: jax.tree.map(jnp.zeros_like, params[name]["block"]) for name in ("skip4", "skip8")}
    quiet = params | {name: params[name] | {"block": block} for name, block in silent.items()}
    found = without.apply({"params": shorter}, method=run)
    np.testing.assert_allclose(found, whole.apply({"params": quiet}, method=run), atol=1e-5)
    assert not np.allclose(found, whole.apply({"params": params}, method=run), atol=1e-2)
