"""Streaming inference: frames go in one by one, label maps come out (paper Sec. 3.1, H_theta)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import AnyMap, Array, Float
from munet_jax.data.masks import IGNORE
from munet_jax.errors import InputError
from munet_jax.inference.resizing import resize_frame, resize_masks, to_frame, working_size
from munet_jax.models import MUNet
from munet_jax.models.aggregation import STRIDE, object_probabilities
from munet_jax.models.memory import PREVIOUS_SLOT, EveryK, MemoryBank, forget, init_bank, resize, write
from munet_jax.models.mu_layer import displacement

OUTPUTS = ("labels", "probabilities", "uncertainty", "displacement", "attention")
# Shapes are padded up to these, so that a new object or one more memory frame seldom compiles anything.
OBJECT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 255)
FRAME_BUCKETS = (2, 4, 8, 16, 24, 32, 64, 128, 256)
# What users are shown as motion is softargmax this close to the single best match, whatever form feeds the network.
DISPLAY_TEMPERATURE = 0.02


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one step says about its frame of h x w pixels. Parts that were not asked for are None.

    Attributes:
      labels: uint8 [h, w], the user's object ids, 0 = background.
      object_ids: ids of the objects known so far, in the order of the channels of `probabilities`.
      probabilities: f32 [h, w, 1 + objects], background first, adding up to 1.
      uncertainty: f32 [h, w], largest cosine with the frame before in [-1, 1]; high = sure match. None for the first frame.
      displacement: f32 [h, w, 2], (dx, dy) in image pixels, where the pixel was in the frame before. None for the first.
      attention: f32 [h, w] in [0, 1], the spatial attention of Eq. 3. None for the first frame.
    """

    labels: np.ndarray
    object_ids: tuple[int, ...]
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    displacement: np.ndarray | None = None
    attention: np.ndarray | None = None


class Carried(NamedTuple):
    """What a frame leaves for later: its reduced feature for the next MU-Layer, its query key for memory."""

    reduced: AnyMap
    key: AnyMap


class Step(NamedTuple):
    """Device result of one query step, batch axis of 1 kept."""

    probabilities: Float[Array, "1 n h w"]
    carried: Carried
    uncertainty: Float[Array, "1 hs ws 1"]
    attention: Float[Array, "1 hs ws 1"]


@functools.partial(jax.jit, static_argnums=0)
def _first(model: MUNet, variables: Any, frame: Array) -> Carried:
    """Enc-Q for a frame that nothing is asked about."""

    def run(module: MUNet) -> Carried:
        encoded = module.encode(frame)
        return Carried(encoded.reduced, module.first_key(encoded))

    return model.apply(variables, method=run)


@functools.partial(jax.jit, static_argnums=0)
def _segment(
    model: MUNet, variables: Any, frame: Array, previous: AnyMap, masks: Array, bank: MemoryBank, objects: Array
) -> Step:
    """Query step: Enc-Q once, MU-Layer, memory read, decoder, aggregation."""

    def run(module: MUNet) -> Step:
        encoded = module.encode(frame)
        query = module.query(encoded, previous)
        logits = module.match(query, bank, objects, masks)
        carried = Carried(encoded.reduced, query.key)
        return Step(object_probabilities(logits), carried, query.motion.uncertainty, query.attention)

    return model.apply(variables, method=run)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=5)
def _memorise(
    model: MUNet,
    variables: Any,
    frame: Array,
    masks: Array,
    query_key: AnyMap,
    bank: MemoryBank,
    objects: Array,
    slot: Array,
) -> MemoryBank:
    """Enc-R and write; a frame that stays takes the place of the previous frame, which is forgotten."""
    key, value = model.apply(variables, frame, masks, query_key, method="memorise")
    return write(forget(bank, PREVIOUS_SLOT), key, value, objects, slot)


@functools.partial(jax.jit, static_argnums=0)
def _display_displacement(model: MUNet, variables: Any, reduced: AnyMap, previous: AnyMap) -> Array:
    """Motion as users see it: softargmax in image pixels, [1, h', w', 2]."""

    def run(module: MUNet) -> Array:
        cost, _ = module.mu_layer.cost(reduced, previous)
        radius = module.mu_layer.radius
        return STRIDE * displacement(cost, radius=radius, matching="softargmax", temperature=DISPLAY_TEMPERATURE)

    return model.apply(variables, method=run)


class VideoSegmenter:
    """Segments one video at a time; holds a bounded memory, however long the video."""

    def __init__(self, model: MUNet, variables: Any, config: ConfigDict) -> None:
        """Take a network, its variables, and a config of configs/ (its section `inference` is read)."""
        settings = config.inference
        try:
            self.policy = EveryK(settings.memory_interval, settings.memory_capacity)
        except ValueError as error:
            raise InputError(f"config.inference: {error}") from error
        if settings.max_size < 0:
            raise InputError(
                f"config.inference.max_size is {settings.max_size}; give a short side in pixels, or 0 for any"
            )
        self.model, self.config = model, config
        self.variables = jax.device_put(variables)
        self.max_objects = settings.max_objects
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame starts a new one."""
        self.frame_index = -1
        self.object_ids: tuple[int, ...] = ()
        self._size: tuple[int, int] | None = None
        self._bank: MemoryBank | None = None
        self._carried: Carried | None = None
        self._masks: Array | None = None
        self._kept = 0

    def step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        object_ids: Sequence[int] | None = None,
        *,
        outputs: Sequence[str] = ("labels",),
    ) -> Prediction:
        """Segment the next frame.

        Args:
          frame: RGB [h, w, 3], uint8 or float in [0, 1]; every frame of a video has the same size.
          mask: label map [h, w] of this frame, where one is known (always for the first frame). Its objects are kept as
            given, new ones are added and cover what was predicted there, the others are predicted. 255 is 'not known'.
          object_ids: the objects that `mask` speaks about; default: those it shows. An id that is named and not shown is
            not in this frame.
          outputs: what to compute, of 'labels', 'probabilities', 'uncertainty', 'displacement', 'attention'.

        Raises:
          InputError: first frame without a mask, sizes that differ, more objects than `inference.max_objects`.
        """
        self._check(frame, mask, outputs)
        known = len(self.object_ids)
        given: tuple[int, ...] = ()
        if mask is not None:
            given = self._given_ids(mask, object_ids)
            self._add_objects(given)
        device_frame = jnp.asarray(frame)[None]
        if self._work != self._size:
            device_frame = resize_frame(device_frame, self._work)
        previous = self._carried
        step = self._query(device_frame, previous, known)
        if step is None:
            carried = _first(self.model, self.variables, device_frame)
            masks = jnp.zeros((1, self._slots, *self._work))
        else:
            carried, masks = step.carried, step.probabilities
        probabilities = self._resized(masks, self._size)
        if mask is not None:
            probabilities = self._impose(probabilities, mask, given)
            masks = self._resized(probabilities, self._work)
        self.frame_index += 1
        self._carried, self._masks = carried, masks
        self._remember(device_frame, self._masks, stays=mask is not None or self.policy.stays(self.frame_index))
        return self._prediction(probabilities, step, previous, outputs)

    @property
    def _work(self) -> tuple[int, int]:
        """The size at which the network sees the frames."""
        assert self._size is not None
        return working_size(self._size, self.config.inference.max_size)

    def _resized(self, masks: Array, size: tuple[int, int] | None) -> Array:
        assert size is not None
        return masks if masks.shape[2:] == size else resize_masks(masks, size)

    @property
    def _slots(self) -> int:
        return bucket(len(self.object_ids), OBJECT_BUCKETS)

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What decides whether the next step compiles: frame size, object slots, memory frames."""
        frames = 0 if self._bank is None else self._bank.occupied.shape[2]
        return self._size, self._slots, frames

    def _check(self, frame: np.ndarray, mask: np.ndarray | None, outputs: Sequence[str]) -> None:
        unknown = set(outputs) - set(OUTPUTS)
        if unknown:
            raise InputError(f"outputs has {', '.join(sorted(unknown))}; choose of {', '.join(OUTPUTS)}")
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(f"a frame must be RGB of shape [h, w, 3], not {list(frame.shape)}")
        height, width = frame.shape[:2]
        if self._size not in (None, (height, width)):
            raise InputError(
                f"frame {self.frame_index + 1} is {width} x {height} but the video began with "
                f"{self._size[1]} x {self._size[0]}; call reset() to start another video"
            )
        if mask is not None and mask.shape != (height, width):
            raise InputError(f"the mask is {mask.shape[1]} x {mask.shape[0]} but its frame is {width} x {height}")
        if mask is None and not self.object_ids:
            raise InputError("the first frame needs a mask: nothing says yet what to follow")
        self._size = (height, width)

    def _given_ids(self, mask: np.ndarray, object_ids: Sequence[int] | None) -> tuple[int, ...]:
        shown = [int(i) for i in np.unique(mask) if i not in (0, IGNORE)]
        given = tuple(shown if object_ids is None else map(int, object_ids))
        if not given and not self.object_ids:
            raise InputError("the first mask shows no object: every pixel is 0 (background) or 255 (not known)")
        return given

    def _add_objects(self, given: Sequence[int]) -> None:
        """Give new ids the next slots; make room for them in memory."""
        known = self.object_ids + tuple(i for i in given if i not in self.object_ids)
        if len(known) > self.max_objects:
            raise InputError(
                f"the mask brings the video to {len(known)} objects and inference.max_objects is {self.max_objects}; "
                "raise it (--config.inference.max_objects), or merge objects in the mask"
            )
        self.object_ids = known
        if self._bank is not None and self._masks is not None:
            self._bank = resize(self._bank, self._slots, self._bank.occupied.shape[2])
            new = self._slots - self._masks.shape[1]
            self._masks = jnp.pad(self._masks, ((0, 0), (0, new), (0, 0), (0, 0)))

    def _object_valid(self, known: int) -> Array:
        return jnp.arange(self._slots)[None] < known

    def _query(self, frame: Array, previous: Carried | None, known: int) -> Step | None:
        """Predict the objects that were known before this frame; None where there are none."""
        if not known or self._bank is None or previous is None:
            return None
        return _segment(
            self.model, self.variables, frame, previous.reduced, self._masks, self._bank, self._object_valid(known)
        )

    def _impose(self, probabilities: Array, mask: np.ndarray, given: Sequence[int]) -> Array:
        """Put the given objects' masks over the prediction; what they cover belongs to nobody else."""
        labels = jnp.asarray(mask)[None, None]
        ids = np.zeros((1, self._slots, 1, 1), np.int32)
        ids[0, : len(self.object_ids), 0, 0] = self.object_ids
        named = np.isin(ids, given)
        truth = (labels == ids.astype(mask.dtype)) & named
        # 'Not known' pixels keep the prediction; of the rest, a named object has exactly its mask.
        unknown = labels == IGNORE
        kept = jnp.where(named & ~unknown, 0.0, jnp.where(jnp.any(truth, axis=1, keepdims=True), 0.0, probabilities))
        return jnp.where(truth, 1.0, kept)

    def _remember(self, frame: Array, probabilities: Array, *, stays: bool) -> None:
        assert self._carried is not None
        slot = self.policy.slot(self._kept) if stays else PREVIOUS_SLOT
        self._kept += int(stays)
        self._make_room(self.policy.frames_needed(self._kept))
        objects = self._object_valid(len(self.object_ids))
        self._bank = _memorise(
            self.model, self.variables, frame, probabilities, self._carried.key, self._bank, objects, jnp.int32(slot)
        )

    def _make_room(self, frames: int) -> None:
        """Create the bank, or enlarge it to the next bucket."""
        frames = min(bucket(frames, FRAME_BUCKETS), self.policy.capacity)
        if self._bank is not None:
            if frames > self._bank.occupied.shape[2]:
                self._bank = resize(self._bank, self._slots, frames)
            return
        positions = int(np.prod([-(-length // STRIDE) for length in self._work]))
        embedding = self.model.query_embedding
        assert embedding.key_dim is not None
        self._bank = init_bank(
            1,
            self._slots,
            frames,
            positions,
            key_dim=embedding.key_dim,
            value_dim=embedding.value_dim,
            dtype=embedding.dtype,
        )

    def _prediction(
        self, probabilities: Array, step: Step | None, previous: Carried | None, outputs: Sequence[str]
    ) -> Prediction:
        count = len(self.object_ids)
        assert self._size is not None
        sizes = (self._work, self._size)
        result: dict[str, Any] = {}
        if "probabilities" in outputs:
            objects = np.moveaxis(np.asarray(probabilities)[0, :count], 0, -1)
            background = np.clip(1.0 - objects.sum(axis=-1, keepdims=True), 0.0, 1.0)
            result["probabilities"] = np.concatenate([background, objects], axis=-1)
        if step is not None and previous is not None:
            if "uncertainty" in outputs:
                result["uncertainty"] = np.asarray(to_frame(step.uncertainty, *sizes))[..., 0]
            if "attention" in outputs:
                result["attention"] = np.asarray(to_frame(step.attention, *sizes))[..., 0]
            if "displacement" in outputs:
                shown = _display_displacement(self.model, self.variables, step.carried.reduced, previous.reduced)
                enlarged = np.array(sizes[1][::-1], np.float32) / sizes[0][::-1]
                result["displacement"] = np.asarray(to_frame(shown, *sizes)) * enlarged
        ids = np.array([0, *self.object_ids], np.uint8)
        return Prediction(ids[np.asarray(_winner(probabilities))], self.object_ids, **result)


@jax.jit
def _winner(probabilities: Float[Array, "1 n h w"]) -> Array:
    """0 for background, else 1 + slot: the most probable of n + 1, background where equal."""
    background = 1.0 - jnp.sum(probabilities, axis=1, keepdims=True)
    return jnp.argmax(jnp.concatenate([background, probabilities], axis=1), axis=1)[0].astype(jnp.uint8)


def bucket(count: int, sizes: Sequence[int]) -> int:
    """The smallest of `sizes` that holds `count`."""
    return next(size for size in sizes if size >= count)
