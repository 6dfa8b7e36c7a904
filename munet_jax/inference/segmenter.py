"""Streaming inference: frames go in one by one, label maps come out (paper Sec. 3.1, H_theta)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import Array
from munet_jax.data.masks import IGNORE
from munet_jax.inference.budget import check_budget
from munet_jax.inference.checks import check_frame, check_mask, check_options
from munet_jax.inference.options import MOST_OBJECTS
from munet_jax.inference.prediction import OUTPUTS, Prediction, impose, label_dtype, winner
from munet_jax.inference.saved_state import pack_stream, unpack_stream
from munet_jax.inference.stream import Step, Stream, create_settings
from munet_jax.inference.views import Geometry, create_geometry, fit_frame, fit_masks, map_to_source, masks_to_source
from munet_jax.models import MUNet
from munet_jax.models.memory import FRAME_BUCKETS, EveryK
from munet_jax.models.prepare import prepare
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.runtime.malloc import trim_malloc

# Object slots are padded up to these, above the last to its multiples, so that a new object seldom compiles anything.
OBJECT_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)
NOBODY = 0  # in a slot

LOG = logging.getLogger("munet_jax")


class VideoSegmenter:
    """Segments one video at a time; holds a bounded memory, however long the video."""

    def __init__(self, model: MUNet, variables: Any, config: ConfigDict) -> None:
        """Take a network, its variables, and a config of configs/ (its section `inference` is read).

        Raises:
          InputError: a field of `config.inference` has a value that cannot be.
        """
        check_options(config.inference)
        self.settings = create_settings(config.inference)
        self.model, self.config = model, config
        # Where `jax.default_device` says, also if they are on another device already.
        self.variables = jax.device_put(variables, jax.config.jax_default_device)  # type: ignore[attr-defined]
        transform = config.inference.winograd and jax.default_backend() == "cpu"
        self._prepared = prepare(model, self.variables, transform=transform)
        self.max_objects = config.inference.max_objects
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame starts a new one."""
        self.frame_index = -1
        self._slots: tuple[int, ...] = ()  # the id in each, or NOBODY
        self._size: tuple[int, int] | None = None
        self._streams: list[Stream] = []
        self._whole = True  # False after a step that was interrupted: its memory is gone

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The ids that are followed, ascending."""
        return tuple(sorted(i for i in self._slots if i != NOBODY))

    @property
    def shapes(self) -> dict[str, Any]:
        """What decides whether the next step compiles."""
        bank = self._streams[0].bank if self._streams else None
        return {
            "frames of": self._size,
            "object slots": len(self._slots),
            "memory": 0 if bank is None else bank.occupied.shape[2],
        }

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
          InputError: first frame without a mask, sizes that differ, frames or masks of another kind, more objects than
            `inference.max_objects`, too little memory. The segmenter is then as it was before the call.
        """
        self._check_whole()
        self._check(frame, mask, outputs)
        given = () if mask is None else self._given_ids(mask, object_ids)
        compiled, start, before = COMPILES.count, time.perf_counter(), self.shapes
        known = np.array([i != NOBODY for i in self._slots], bool)
        new = tuple(i for i in sorted(set(given)) if i not in self._slots)
        self._open(frame.shape[:2], new)
        known = np.pad(known, (0, len(self._slots) - known.size))
        self._whole = False
        prediction = self._step(frame, mask, given, known, new, outputs)
        self._whole = True
        if COMPILES.count > compiled:
            trim_malloc()
            self._log_compilation(COMPILES.count - compiled, time.perf_counter() - start, before)
        return prediction

    def remove(self, object_ids: Sequence[int]) -> None:
        """Stop following objects; their memory is forgotten, and an id may come back later as a new object.

        Raises:
          InputError: an id that is not followed.
        """
        self._check_whole()
        unknown = sorted(set(map(int, object_ids)) - set(self.object_ids))
        if unknown:
            raise InputError(f"there is no object {unknown[0]} to remove; followed are {list(self.object_ids)}")
        self._slots = tuple(NOBODY if i in object_ids else i for i in self._slots)
        for stream in self._streams:
            stream.keep(np.array([i != NOBODY for i in self._slots]))

    def warmup(self, size: tuple[int, int], objects: int = 1) -> None:
        """Compile what a video of uint8 frames of `size` (height, width) with that many objects will need for its labels.

        Afterwards the segmenter is as after `reset()`.
        """
        frame = np.zeros((*size, 3), np.uint8)
        mask = (np.arange(size[0] * size[1]) % (objects + 1)).reshape(size).astype(np.uint8)
        self.reset()
        self.step(frame, mask)
        self.step(frame)
        policy = self.settings.policy
        if isinstance(policy, EveryK):
            for room in FRAME_BUCKETS:
                if room < policy.capacity:
                    for stream in self._streams:
                        stream.kept = room  # one more than fits beside the previous frame
                    self.step(frame, mask)
                    self.step(frame)
        self.reset()

    def save_state(self) -> dict[str, np.ndarray]:
        """Everything that the next frame depends on, as named arrays for `np.savez`; the network is not in it."""
        self._check_whole()
        state = {
            "config": np.array(self._fingerprint),
            "size": np.array(self._size or (), np.int64),
            "slots": np.array(self._slots, np.int64),
            "frame_index": np.array(self.frame_index),
        }
        for number, stream in enumerate(self._streams):
            state |= {f"{number}/{name}": array for name, array in pack_stream(stream).items()}
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `save_state` was called, with a segmenter of the same config and weights.

        Raises:
          InputError: the state is of a segmenter with another model or other inference settings.
        """
        if str(state["config"]) != self._fingerprint:
            raise InputError(
                "the saved state is of another config.model or config.inference; use the one it was saved with"
            )
        self.reset()
        self.frame_index = int(state["frame_index"])
        self._slots = tuple(map(int, state["slots"]))
        if state["size"].size:
            height, width = map(int, state["size"])
            self._size = (height, width)
            self._streams = self._create_streams()
        for number, stream in enumerate(self._streams):
            prefix = f"{number}/"
            unpack_stream(stream, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    def _check_whole(self) -> None:
        if not self._whole:
            raise InputError("the last step was interrupted and its memory is gone; call reset() or load_state()")

    @property
    def _fingerprint(self) -> str:
        described = {"model": self.config.model.to_dict(), "inference": self.config.inference.to_dict()}
        return json.dumps(described, sort_keys=True)

    def _geometries(self, size: tuple[int, int]) -> list[Geometry]:
        """One view for each scale, and mirrored ones; the first is not mirrored, and its maps are shown."""
        options = self.config.inference
        return [
            create_geometry(size, max_size=options.max_size, scale=scale, flip=flip, multiple=options.size_multiple)
            for flip in ((False, True) if options.flip else (False,))
            for scale in options.scales
        ]

    def _create_streams(self) -> list[Stream]:
        assert self._size is not None
        return [Stream(self.model, self._prepared, self.settings, g) for g in self._geometries(self._size)]

    def _open(self, size: tuple[int, ...], new: Sequence[int]) -> None:
        """Give new ids empty slots and make more where there are too few; a first frame opens the streams."""
        slots = list(self._slots)
        slots += [NOBODY] * (slot_bucket(len(self.object_ids) + len(new)) - len(slots))
        free = [number for number, i in enumerate(slots) if i == NOBODY]
        for number, i in zip(free, new, strict=False):
            slots[number] = i
        if not self._streams or len(slots) > len(self._slots):
            geometries = self._geometries((size[0], size[1]))
            held = sum(stream.held_bytes for stream in self._streams)
            check_budget(self.model, self.settings, geometries, len(slots), self.config.inference, held=held)
        if not self._streams:
            self._size = (size[0], size[1])
            self._streams = self._create_streams()
        elif len(slots) > len(self._slots):
            for stream in self._streams:
                stream.make_slots(len(slots))
        self._slots = tuple(slots)

    def _step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None,
        given: Sequence[int],
        known: np.ndarray,
        new: Sequence[int],
        outputs: Sequence[str],
    ) -> Prediction:
        """One frame through all views, whose masks are averaged."""
        source = jnp.asarray(frame)
        fitted = [fit_frame(source, stream.geometry) for stream in self._streams]
        previous = self._streams[0].carried
        steps = [stream.query(view, known) for stream, view in zip(self._streams, fitted, strict=True)]
        probabilities = self._together(steps)
        if mask is not None:
            ids, named = (
                np.array(self._slots, np.int32),
                np.isin(self._slots, given) & (np.array(self._slots) != NOBODY),
            )
            probabilities = impose(probabilities, mask.astype(np.int32), ids, named)
        alone = len(steps) == 1 and mask is None
        objects = np.array([i != NOBODY for i in self._slots])
        self.frame_index += 1
        policy = self.settings.policy
        stays = mask is not None or (isinstance(policy, EveryK) and policy.stays(self.frame_index))
        for stream, view, step in zip(self._streams, fitted, steps, strict=True):
            masks = step.probabilities if alone and step else fit_masks(probabilities, stream.geometry)
            stream.remember(view, step, masks, objects, np.isin(self._slots, new), stays=stays)
        return self._prediction(probabilities, steps[0], previous, outputs)

    def _together(self, steps: Sequence[Step | None]) -> Array:
        """The views' masks at the frame's size, averaged; zeros where nothing was predicted."""
        assert self._size is not None
        shown = [
            masks_to_source(step.probabilities, stream.geometry)
            for stream, step in zip(self._streams, steps, strict=True)
            if step is not None
        ]
        if not shown:
            return jnp.asarray(np.zeros((1, len(self._slots), *self._size), np.float32))  # jnp.zeros would be compiled
        return shown[0] if len(shown) == 1 else sum(shown[1:], shown[0]) / len(shown)

    def _prediction(self, probabilities: Array, step: Step | None, previous: Any, outputs: Sequence[str]) -> Prediction:
        result: dict[str, Any] = {}
        if "probabilities" in outputs:
            channels = [self._slots.index(i) for i in self.object_ids]
            objects = np.moveaxis(np.asarray(probabilities)[0, channels], 0, -1)
            background = np.clip(1.0 - objects.sum(axis=-1, keepdims=True), 0.0, 1.0)
            result["probabilities"] = np.concatenate([background, objects], axis=-1)
        if step is not None and previous is not None:
            stream = self._streams[0]
            geometry = stream.geometry
            if "uncertainty" in outputs:
                result["uncertainty"] = np.asarray(map_to_source(step.uncertainty, geometry))[..., 0]
            if "attention" in outputs:
                result["attention"] = np.asarray(map_to_source(step.attention, geometry))[..., 0]
            if "displacement" in outputs:
                moved = map_to_source(stream.displacement(step, previous.reduced), geometry)
                enlarged = np.array(geometry.size[::-1], np.float32) / geometry.work[::-1]
                result["displacement"] = np.asarray(moved) * enlarged
        ids = np.array([0, *self._slots], label_dtype(self._slots))
        return Prediction(ids[np.asarray(winner(probabilities))], self.object_ids, self.frame_index, **result)

    def _check(self, frame: np.ndarray, mask: np.ndarray | None, outputs: Sequence[str]) -> None:
        unknown = set(outputs) - set(OUTPUTS)
        if unknown:
            raise InputError(f"outputs has {', '.join(sorted(unknown))}; choose of {', '.join(OUTPUTS)}")
        number = self.frame_index + 1
        check_frame(frame, number)
        height, width = frame.shape[:2]
        if self._size not in (None, (height, width)):
            raise InputError(
                f"frame {number} is {width} x {height} but the video began with "
                f"{self._size[1]} x {self._size[0]}; resize it, or call reset() to start another video"
            )
        if mask is None and not self.object_ids:
            raise InputError(f"frame {number} needs a mask: nothing says yet what to follow")
        if mask is not None:
            check_mask(mask, (height, width), number)

    def _given_ids(self, mask: np.ndarray, object_ids: Sequence[int] | None) -> tuple[int, ...]:
        shown = [int(i) for i in np.unique(mask) if i not in (0, IGNORE)]
        given = tuple(shown if object_ids is None else map(int, object_ids))
        if not given and not self.object_ids:
            raise InputError("the first mask shows no object: every pixel is 0 (background) or 255 (not known)")
        wrong = [i for i in given if i <= 0 or i == IGNORE]
        if wrong:
            raise InputError(f"{wrong[0]} cannot be an object's id: ids are positive, and 255 is 'not known'")
        count = len(set(self.object_ids) | set(given))
        if count > self.max_objects:
            raise InputError(
                f"the mask brings the video to {count} objects and inference.max_objects is {self.max_objects}; "
                "raise it (munet segment --max-objects), or merge objects in the mask"
            )
        return given

    def _log_compilation(self, programs: int, seconds: float, before: Mapping[str, Any]) -> None:
        after = self.shapes
        changed = [f"{name} {before[name]} -> {after[name]}" for name in after if after[name] != before[name]]
        same = ", ".join(f"{name} {after[name]}" for name in after)
        reason = ", ".join(changed) or f"asked for the first time with {same}"
        LOG.info("frame %d: compiled %d programs in %.1f s (%s)", self.frame_index, programs, seconds, reason)


def slot_bucket(count: int) -> int:
    """Slots for that many objects."""
    largest = OBJECT_BUCKETS[-1]
    if count > largest:
        return min(-(-count // largest) * largest, MOST_OBJECTS)
    return next(size for size in OBJECT_BUCKETS if size >= count)
