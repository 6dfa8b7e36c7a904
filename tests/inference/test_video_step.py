"""The pure step: under jit, scan over frames and vmap over videos it gives what the segmenter gives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import testing
from munet_jax.inference import VideoSegmenter
from munet_jax.models import create_model
from munet_jax.models import video as video_step
from munet_jax.models.video import Given, VideoState
from munet_jax.runtime.errors import InputError
from tests.models.tiny import run_clip

FRAMES, SIZE = 6, (56, 72)


def given(labels: list[np.ndarray], frames: tuple[int, ...] = (0,)) -> Given:
    """Both objects in the named frames, nothing in the others: labels [t, 1, h, w], named [t, 1, 2]."""
    shown = np.isin(np.arange(FRAMES), frames)
    masks = np.stack(labels[:FRAMES]).astype(np.int32) * shown[:, None, None]
    return Given(jnp.asarray(masks)[:, None], jnp.asarray(np.repeat(shown[:, None, None], 2, axis=2)))


def scan(segmenter: VideoSegmenter, frames: jax.Array, known: Given) -> tuple[VideoState, Any]:
    """Six frames in one program."""
    model, variables, policy = segmenter.network
    state = video_step.init_state(model, variables, SIZE, 2, policy=policy, frames=FRAMES)

    def body(state: VideoState, inputs: tuple[jax.Array, Given]) -> tuple[VideoState, Any]:
        return video_step.step(model, variables, state, *inputs)

    return jax.lax.scan(body, state, (frames, known))


@pytest.mark.parametrize("policy", ["every_k", "adaptive"])
@pytest.mark.parametrize("corrected", [(0,), (0, 3)], ids=["first mask", "and a correction"])
def test_a_scan_over_frames_gives_the_segmenters_masks(
    segmenter: Callable[..., VideoSegmenter], video: Any, policy: str, corrected: tuple[int, ...]
) -> None:
    frames, labels = video
    stream = segmenter(memory_policy=policy, memory_interval=2)
    run = jax.jit(lambda frames, known: scan(stream, frames, known))
    state, output = run(jnp.asarray(np.stack(frames[:FRAMES]))[:, None], given(labels, corrected))
    assert int(state.frame) == FRAMES
    for number in range(FRAMES):
        expected = stream.step(
            frames[number], labels[number] if number in corrected else None, outputs=("labels", "probabilities")
        )
        found = output.probabilities[number, 0]
        np.testing.assert_allclose(np.moveaxis(np.asarray(found), 0, -1), expected.probabilities[..., 1:], atol=1e-5)
        background = 1.0 - found.sum(axis=0, keepdims=True)
        np.testing.assert_array_equal(jnp.argmax(jnp.concatenate([background, found]), axis=0), expected.labels)


def test_two_videos_at_once_give_each_alone(segmenter: Callable[..., VideoSegmenter], video: Any) -> None:
    frames, labels = video
    stream = segmenter(memory_interval=2)
    both = jnp.stack([jnp.asarray(np.stack(frames[first : first + FRAMES]))[:, None] for first in (0, 2)])
    known = [given(labels[first:]) for first in (0, 2)]
    together = jax.tree.map(lambda *xs: jnp.stack(xs), *known)
    _, output = jax.jit(jax.vmap(lambda frames, known: scan(stream, frames, known)))(both, together)
    for number in range(2):
        _, alone = jax.jit(lambda frames, known: scan(stream, frames, known))(both[number], known[number])
        for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(output), strict=True):
            np.testing.assert_allclose(other[number], one, atol=1e-5)


def test_a_step_without_given_masks_is_one_with_none_named(
    segmenter: Callable[..., VideoSegmenter], video: Any
) -> None:
    frames, labels = video
    model, variables, policy = segmenter().network
    known = given(labels)
    first = Given(known.labels[0], known.named[0])
    nothing = Given(known.labels[1], known.named[1])

    @jax.jit
    def run(frames: jax.Array) -> Any:
        state = video_step.init_state(model, variables, SIZE, 2, policy=policy)
        state, _ = video_step.step(model, variables, state, frames[:1], first)
        return [video_step.step(model, variables, state, frames[1:], *mask) for mask in ((), (None,), (nothing,))]

    plain, *others = run(jnp.asarray(np.stack(frames[:2])))
    for other in others:
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), other, plain)


def test_keys_that_are_compared_by_distance_go_through_training_and_inference_alike(video: Any, variables: Any) -> None:
    frames, labels = video
    config = testing.get_config()
    config.model.similarity, config.inference.memory_interval = "l2", 1
    model = create_model(config.model)
    stream = VideoSegmenter(model, variables, config)
    found = [stream.step(frames[k], None if k else labels[0], outputs=("probabilities",)) for k in range(3)]
    masks = (np.asarray(labels[0]) == np.arange(1, 3)[:, None, None])[None].astype(np.float32)
    clip = (jnp.asarray(np.stack(frames[:3]))[None], jnp.asarray(masks), jnp.ones((1, 2), bool))
    logits = {}
    for similarity in ("dot", "l2"):
        network = model.clone(matcher=model.matcher.clone(similarity=similarity))
        logits[similarity] = run_clip(network, variables, *clip, memory="sequential")[0]
    assert float(jnp.abs(logits["dot"] - logits["l2"]).max()) > 1e-3
    for number in (1, 2):
        expected = np.asarray(jax.nn.softmax(logits["l2"][number - 1]))
        np.testing.assert_allclose(found[number].probabilities, expected, atol=1e-4)
    config.inference.memory_policy = "adaptive"
    with pytest.raises(InputError, match="'adaptive' merges keys by direction: it needs similarity 'dot'"):
        VideoSegmenter(model, variables, config)
