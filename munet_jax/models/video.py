"""One step through a video as a pure function: a state and a frame in, the next state and the masks out.

    state = init_state(model, variables, (480, 854), objects=3)
    state, output = step(model, variables, state, frame, Given(labels, named))   # the first frame, whose mask is given
    state, output = step(model, variables, state, frame)                         # every later one

`step` runs under `jit`, `lax.scan` over frames and `vmap` over videos: state and output are trees of fixed shapes. It is
`predict` and then `remember`; who wants the masks before they are in memory calls the two apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import (
    AnyMap,
    Array,
    Bool,
    Float,
    FrameBatch,
    Int,
    ObjectMasks,
    ObjectValid,
)
from munet_jax.models.aggregation import aggregated_probabilities
from munet_jax.models.memory import Bank, EveryK, NewFrame, Policy, forget_objects, more_objects
from munet_jax.models.munet import MUNet
from munet_jax.models.padding import positions_of
from munet_jax.models.query import Encoded, Query

UNKNOWN = -1  # a pixel of given labels that keeps what was predicted


class VideoState(NamedTuple):
    """Everything that the next frame depends on. Its size does not depend on the number of frames that were seen.

    Attributes:
      bank: the memory.
      reduced: the previous frame's reduced feature, [b, h', w', D / 4], for the MU-Layer.
      masks: the previous frame's masks, f32 [b, n, h, w].
      objects: bool [b, n], the slots that hold an object.
      frame: int32 [], the index of the next frame.
    """

    bank: Bank
    reduced: Any
    masks: Any
    objects: Any
    frame: Any


class Given(NamedTuple):
    """Masks that are known of a frame.

    Attributes:
      labels: 0 background, i + 1 for slot i, `UNKNOWN` where the prediction stays.
      named: the slots that the labels speak about; a named object that they do not show is not in the frame.
    """

    labels: Int[Array, "b h w"]
    named: ObjectValid


class Output(NamedTuple):
    """What a step says about its frame."""

    probabilities: ObjectMasks  # [b, n, h, w], without background
    uncertainty: Float[Array, "b hs ws 1"]  # largest cosine with the previous frame's window; high = sure match
    attention: Float[Array, "b hs ws 1"]  # Eq. 3


class Remembered(NamedTuple):
    """What a frame leaves for its own place in memory, and for the next frame."""

    reduced: AnyMap
    key: Float[Array, "b hs ws k"]
    semantic: AnyMap | None  # F_s, where Enc-R takes it


def init_state(
    model: MUNet,
    variables: Any,
    frame_size: tuple[int, int],
    objects: int,
    *,
    policy: Policy | None = None,
    frames: int = 1,
    batch: int = 1,
) -> VideoState:
    """The state before the first frame: zeros of the shapes that the network makes.

    Args:
      model: the network.
      variables: its parameters and statistics, arrays or shapes.
      frame_size: (height, width) of the frames in pixels.
      objects: slots; a video may have fewer objects.
      policy: which frames stay in memory; None is `EveryK()`.
      frames: how many frames the memory has room for that stay, at most the policy's capacity. A larger video under `lax.scan`
        needs all its room at once: there shapes cannot grow.
      batch: videos that step together.
    """
    image = jax.ShapeDtypeStruct((batch, *frame_size, 3), jnp.uint8)
    encoded = jax.eval_shape(lambda variables, frame: model.apply(variables, frame, method="encode"), variables, image)
    rows, columns = positions_of(frame_size)
    bank = (policy or EveryK()).init(batch, objects, rows * columns, model.memory_format)
    return VideoState(
        bank.grow(frames),
        jnp.zeros(encoded.reduced.shape, encoded.reduced.dtype),
        jnp.zeros((batch, objects, *frame_size), jnp.float32),
        jnp.zeros((batch, objects), jnp.bool_),
        jnp.int32(0),
    )


def step(
    model: MUNet, variables: Any, state: VideoState, frame: FrameBatch, given: Given | None = None
) -> tuple[VideoState, Output]:
    """Segment the next frame and put it into memory.

    Args:
      model: the network.
      variables: its parameters and statistics.
      state: after the frame before.
      frame: [b, h, w, 3], uint8 or f32 in [0, 1].
      given: masks that are known of this frame; None, or no object named, where there are none.

    Returns:
      The state after it, and its masks with what the MU-Layer and MSAM saw.
    """
    output, remembered, bank = predict(model, variables, state, frame)
    state, objects = state._replace(bank=bank), state.objects
    new, corrected = jnp.zeros_like(objects), jnp.bool_(False)
    if given is not None:
        output = output._replace(probabilities=overwrite_with_given(output.probabilities, given))
        new, corrected = given.named & ~objects, jnp.any(given.named)
    state = remember(
        model,
        variables,
        state,
        remembered,
        frame,
        output.probabilities,
        objects=objects | new,
        new=new,
        given=corrected,
    )
    return state, output


def predict(model: MUNet, variables: Any, state: VideoState, frame: FrameBatch) -> tuple[Output, Remembered, Bank]:
    """The first half of a step: the frame's masks, what to remember of it, and the memory after it was read."""

    def run(net: MUNet) -> tuple[Output, Remembered, Bank]:
        encoded, query = observe(net, frame, state.reduced, is_first=state.frame == 0)
        channels, bank = net.read_and_decode(query, state.bank, state.masks)
        masks = aggregated_probabilities(channels, state.objects)
        output = Output(masks, query.motion.uncertainty, query.attention)
        return output, Remembered(encoded.reduced, query.key, query.semantic), bank

    return model.apply(variables, method=run)


def remember(
    model: MUNet,
    variables: Any,
    state: VideoState,
    remembered: Remembered,
    frame: FrameBatch,
    masks: ObjectMasks,
    *,
    objects: ObjectValid,
    new: ObjectValid,
    given: Bool[Array, ""] | bool,
) -> VideoState:
    """The second half of a step: put the frame with its masks into memory.

    Args:
      model: the network.
      variables: its parameters and statistics.
      state: before the frame, with the memory that `predict` gave.
      remembered: what `predict` gave.
      frame: as `predict` took it.
      masks: of the frame, [b, n, h, w].
      objects: the slots that hold an object, those of this frame included.
      new: the objects that this frame gives for the first time.
      given: whether a mask is given in this frame, which then stays in memory.
    """
    shown = (frame, masks, remembered.key, remembered.semantic, objects)
    key, value = model.apply(variables, *shown, method="memorise")
    bank = state.bank.write(NewFrame(key, value, objects, new, state.frame, given))
    return VideoState(bank, remembered.reduced, masks, objects, state.frame + 1)


def observe(
    net: MUNet, frame: FrameBatch, previous: AnyMap, *, is_first: Bool[Array, ""] | bool
) -> tuple[Encoded, Query]:
    """Enc-Q, MU-Layer and fusion of a frame; `previous` is the reduced feature before it. A first frame is its own neighbour."""
    encoded = net.encode(frame)
    return encoded, net.query(encoded, jnp.where(is_first, encoded.reduced, previous))


def overwrite_with_given(probabilities: ObjectMasks, given: Given) -> ObjectMasks:
    """Put given masks over the prediction; what they cover belongs to nobody else."""
    labels, named = given.labels[:, None], given.named[:, :, None, None]
    slots = jnp.arange(1, probabilities.shape[1] + 1)[None, :, None, None]
    truth = (labels == slots) & named
    # Unknown pixels keep the prediction; of the rest, a named object has exactly its mask.
    known = labels != UNKNOWN
    kept = jnp.where(named & known, 0.0, jnp.where(jnp.any(truth, axis=1, keepdims=True), 0.0, probabilities))
    return jnp.where(truth, 1.0, kept)


def with_slots(state: VideoState, objects: int) -> VideoState:
    """The same state with room for `objects` objects."""
    new = objects - state.objects.shape[1]
    return state._replace(
        bank=more_objects(state.bank, objects),
        masks=jnp.pad(state.masks, ((0, 0), (0, new), (0, 0), (0, 0))),
        objects=jnp.pad(state.objects, ((0, 0), (0, new))),
    )


def without_objects(state: VideoState, removed: Bool[Array, " n"]) -> VideoState:
    """The same state in which the named slots are empty."""
    return state._replace(
        bank=forget_objects(state.bank, removed),
        masks=jnp.where(removed[None, :, None, None], 0.0, state.masks),
        objects=state.objects & ~removed[None],
    )
