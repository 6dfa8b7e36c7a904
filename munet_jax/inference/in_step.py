"""Several videos on one device at a time: a single frame leaves most of a GPU idle."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from munet_jax.array_types import Array
from munet_jax.inference.budget import check_budget
from munet_jax.inference.cpu import prepared_layers
from munet_jax.inference.prediction import argmax_labels, label_dtype
from munet_jax.inference.segmenter import VideoSegmenter
from munet_jax.inference.slots import NOBODY, slot_bucket, slot_labels
from munet_jax.inference.views import Geometry, fit_frame, fit_masks, initial_state, masks_to_source
from munet_jax.models import MUNet, video
from munet_jax.models.video import Given, VideoState
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import device_jit

GivenMask = tuple[np.ndarray, tuple[int, ...]]
"""A label map [h, w], and the ids of it that count."""


@device_jit(static_argnums=(0, 1), donate_argnums=3)
def step_together(
    model: MUNet, geometry: Geometry, variables: object, states: VideoState, frames: Array, given: Given
) -> tuple[VideoState, Array]:
    """`video.step` of each video with frames at the user's size; every array has a leading axis of videos.

    Returns:
      The states after it, and label maps of slots [videos, h, w].
    """

    def one(state: VideoState, frame: Array, given: Given) -> tuple[VideoState, Array]:
        image = fit_frame(frame, geometry)
        output, remembered, bank = video.predict(model, variables, state, image)
        shown = video.overwrite_with_given(masks_to_source(output.probabilities, geometry), given)
        corrected, new = jnp.any(given.named), given.named & ~state.objects
        masks = jnp.where(corrected, fit_masks(shown, geometry), output.probabilities)
        roles = {"objects": state.objects | new, "new": new, "given": corrected}
        state = video.remember(model, variables, state._replace(bank=bank), remembered, image, masks, **roles)
        return state, argmax_labels(shown)

    with prepared_layers():
        return jax.vmap(one)(states, frames, given)


class VideosTogether:
    """Segments videos of one frame size in step; each gets the masks that it would get alone."""

    def __init__(self, segmenter: VideoSegmenter, geometry: Geometry, objects: Sequence[Sequence[int]]) -> None:
        """Room for the videos.

        Args:
          segmenter: gives the network, and is not used itself.
          geometry: of all videos.
          objects: for each video, the ids that it will ever be given.

        Raises:
          InputError: `config.inference` asks for several views, or there is too little memory.
        """
        options = segmenter.config.inference
        if options.flip or tuple(options.scales) != (1.0,):
            raise InputError(
                "config.inference.flip and scales look at each frame several times, which is for one video at a time: switch "
                "them off, or set config.evaluation.batch_videos to 1"
            )
        self._network, self._geometry = segmenter.network, geometry
        room = slot_bucket(max(map(len, objects)))
        self._slots = [(*ids, *[NOBODY] * (room - len(ids))) for ids in objects]
        check_budget(self._network, [self._geometry], room, videos=len(objects))
        model, variables, policy = self._network
        state = initial_state(model, variables, self._geometry.work, room, policy)
        self.states = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(objects), *x.shape)), state)
        self._frame, self._kept = 0, [0] * len(objects)

    def step(self, frames: Sequence[np.ndarray], given: Sequence[GivenMask | None]) -> list[np.ndarray]:
        """Label maps [h, w] of the user's ids for the next frame of each video, uint8 [h, w, 3]; `given` are masks of it."""
        model, variables, policy = self._network
        for number, mask in enumerate(given):
            self._kept[number] += int(policy.stays(self._frame, mask is not None))
        self._frame += 1
        bank = jax.vmap(lambda bank: bank.grow(max(self._kept)))(self.states.bank)
        labels, named = (
            jnp.asarray(np.stack(part)) for part in zip(*map(self._given, self._slots, given), strict=True)
        )
        self.states, shown = step_together(
            model, self._geometry, variables, self.states._replace(bank=bank), np.stack(frames), Given(labels, named)
        )
        found = zip(self._slots, np.asarray(shown), strict=True)
        return [np.array([NOBODY, *slots], label_dtype(slots))[labels] for slots, labels in found]

    def _given(self, slots: tuple[int, ...], mask: GivenMask | None) -> tuple[np.ndarray, np.ndarray]:
        """What `video.Given` holds for one video."""
        if mask is None:
            return np.zeros((1, *self._geometry.size), np.int32), np.zeros((1, len(slots)), bool)
        return slot_labels(slots, mask[0])[None], np.isin(slots, mask[1])[None]
