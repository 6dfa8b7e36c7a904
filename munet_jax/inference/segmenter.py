"""Streaming inference: frames go in one by one, label maps come out (paper Sec. 3.1, H_theta)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import Array
from munet_jax.inference.arguments import (
    check_frame,
    check_ids,
    check_mask,
    check_options,
    check_outputs,
    check_similarity,
    check_size,
    given_ids,
)
from munet_jax.inference.budget import check_budget
from munet_jax.inference.cpu import COLLECTION, prepare
from munet_jax.inference.half import in_dtype
from munet_jax.inference.prediction import Prediction, argmax_labels, label_dtype
from munet_jax.inference.slots import NOBODY, slot_bucket, slot_labels
from munet_jax.inference.views import (
    Geometry,
    Network,
    View,
    fit_frame,
    fit_masks,
    geometry_for,
    map_to_source,
    masks_to_source,
)
from munet_jax.inference.working_size import typical_size
from munet_jax.models import MUNet
from munet_jax.models.memory import create_policy
from munet_jax.models.video import Given, Output, Remembered, overwrite_with_given, with_slots, without_objects
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import COMPILES
from munet_jax.runtime.malloc import trim_malloc

_overwrite = jax.jit(overwrite_with_given)

LOG = logging.getLogger("munet_jax")


class VideoSegmenter:
    """Segments one video at a time; holds a bounded memory, however long the video."""

    def __init__(self, model: MUNet, variables: Any, config: ConfigDict) -> None:
        """Take a network, its variables, and a config of configs/ (its section `inference` is read).

        Raises:
          InputError: a field of `config.inference` has a value that cannot be, or that the network cannot follow.
        """
        options = config.inference
        check_options(options)
        check_similarity(options, model.matcher.similarity)
        self.config, self.max_objects = config, options.max_objects
        model = in_dtype(model, options.dtype)
        variables = prepare(model, variables, transform=options.winograd and jax.default_backend() == "cpu")
        model = model.clone(object_chunk=options.object_chunk)
        self.network = Network(model, variables, create_policy(options))
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame starts a new one."""
        self.frame_index = -1
        self._slots: tuple[int, ...] = ()  # the id in each, or NOBODY
        self._size: tuple[int, int] | None = None
        self._objects = 0.0  # typical size of those of the first mask
        self._views: list[View] = []
        self._kept = 0  # frames that went to memory to stay
        self._whole = True  # False after a step that was interrupted: its memory is gone

    @property
    def model(self) -> MUNet:
        """The network."""
        return self.network.model

    @property
    def variables(self) -> dict[str, Any]:
        """Its parameters, with frozen norms folded in, in the type that inference computes in."""
        return {name: tree for name, tree in self.network.variables.items() if name != COLLECTION}

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The ids that are tracked, ascending."""
        return tuple(sorted(i for i in self._slots if i != NOBODY))

    @property
    def shapes(self) -> dict[str, Any]:
        """What decides whether the next step compiles."""
        return {
            "frames of": self._size and f"{self._size[1]} x {self._size[0]}",
            "object slots": len(self._slots),
            "memory": self._views[0].state.bank.occupied.shape[2] if self._views else 0,
        }

    def step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None = None,
        object_ids: Iterable[int] | None = None,
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
        given = () if mask is None else given_ids(mask, object_ids, self.object_ids, self.max_objects)
        compiled, start, before = COMPILES.count, time.perf_counter(), self.shapes
        new = tuple(i for i in sorted(set(given)) if i not in self._slots)
        if mask is not None and not self._views:
            self._objects = typical_size(mask, given)
        self._open((frame.shape[0], frame.shape[1]), new)
        self._whole = False
        prediction = self._step(frame, mask, given, new, outputs)
        self._whole = True
        if COMPILES.count > compiled:
            trim_malloc()
            self._log_compilation(COMPILES.count - compiled, time.perf_counter() - start, before)
        return prediction

    def remove(self, object_ids: Iterable[int]) -> None:
        """Stop tracking objects; their memory is forgotten, and an id may come back later as a new object.

        Raises:
          InputError: an id that is not tracked, or that is no whole number.
        """
        self._check_whole()
        removed = check_ids(object_ids)
        unknown = sorted(removed - set(self.object_ids))
        if unknown:
            raise InputError(f"object {unknown[0]} is not tracked; tracked ids: {list(self.object_ids)}")
        gone = np.isin(self._slots, list(removed))
        self._slots = tuple(NOBODY if i in removed else i for i in self._slots)
        for view in self._views:
            view.state = without_objects(view.state, jnp.asarray(gone))

    def warmup(self, size: tuple[int, int], objects: int = 1) -> None:
        """Compile what a video of uint8 frames of `size` (height, width) with that many objects will need for its labels.

        Its objects are large: nothing is enlarged for them. Afterwards the segmenter is as after `reset()`.
        """
        frame = np.zeros((*size, 3), np.uint8)
        mask = (np.arange(size[0] * size[1]) % (objects + 1)).reshape(size).astype(np.uint8)
        self.reset()
        self.step(frame, mask)
        self.step(frame)
        for kept in self.network.policy.growth:
            self._kept = kept  # one more than fits beside the previous frame
            self.step(frame, mask)
            self.step(frame)
        self.reset()

    def save_state(self) -> dict[str, np.ndarray]:
        """Everything that the next frame depends on, as named arrays for `np.savez`; the network is not in it."""
        self._check_whole()
        state = {
            "config": np.array(self._fingerprint),
            "size": np.array(self._size or (), np.int64),
            "objects": np.array(self._objects),
            "slots": np.array(self._slots, np.int64),
            "frame_index": np.array(self.frame_index),
            "kept": np.array(self._kept),
        }
        for number, view in enumerate(self._views):
            for path, leaf in jax.tree_util.tree_leaves_with_path(view.state):
                host = np.array(leaf)  # a copy: a view would keep the next step from using the memory again
                name = f"{number}{jax.tree_util.keystr(path)}"
                state[name] = host.view(np.uint16) if host.dtype == jnp.bfloat16 else host  # unknown to NumPy's files
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `save_state` was called, with a segmenter of the same config and weights.

        Raises:
          InputError: the state is of a segmenter with another model or other inference settings, or of another version.
        """
        if str(state["config"]) != self._fingerprint:
            raise InputError(
                "the saved state is of another config.model or config.inference; use the one it was saved with"
            )
        self.reset()
        self.frame_index, self._slots = int(state["frame_index"]), tuple(map(int, state["slots"]))
        try:
            self._kept, self._objects = int(state["kept"]), float(state["objects"])
            if state["size"].size:
                height, width = map(int, state["size"])
                self._size = (height, width)
                self._views = self._create_views()
            for number, view in enumerate(self._views):
                paths, structure = jax.tree_util.tree_flatten_with_path(view.state)
                saved = [(state[f"{number}{jax.tree_util.keystr(path)}"], leaf.dtype) for path, leaf in paths]
                leaves = [jnp.asarray(x.view(dtype) if dtype == jnp.bfloat16 else x) for x, dtype in saved]
                view.state = jax.tree.unflatten(structure, leaves)
        except KeyError as error:
            self.reset()
            raise InputError(
                f"the saved state is of another version of munet_jax (it has no {error}); begin anew"
            ) from error

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
            geometry_for(options, size, self._objects, scale=scale, flip=flip)
            for flip in ((False, True) if options.flip else (False,))
            for scale in options.scales
        ]

    def _create_views(self) -> list[View]:
        assert self._size is not None
        return [View(self.network, geometry, len(self._slots)) for geometry in self._geometries(self._size)]

    def _open(self, size: tuple[int, int], new: Sequence[int]) -> None:
        """Give new ids empty slots and make more where there are too few; a first frame opens the views."""
        slots = list(self._slots)
        slots += [NOBODY] * (slot_bucket(len(self.object_ids) + len(new)) - len(slots))
        free = [number for number, i in enumerate(slots) if i == NOBODY]
        for number, i in zip(free, new, strict=False):
            slots[number] = i
        if not self._views or len(slots) > len(self._slots):
            geometries, held = self._geometries(size), sum(view.held_bytes for view in self._views)
            check_budget(self.network, geometries, len(slots), held=held)
        more, self._slots = len(slots) > len(self._slots), tuple(slots)
        if not self._views:
            self._size = size
            self._views = self._create_views()
        elif more:
            for view in self._views:
                view.state = with_slots(view.state, len(slots))

    def _step(
        self,
        frame: np.ndarray,
        mask: np.ndarray | None,
        given: Sequence[int],
        new: Sequence[int],
        outputs: Sequence[str],
    ) -> Prediction:
        """One frame through all views, whose masks are averaged."""
        views, source, slots = self._views, jnp.asarray(frame), np.array(self._slots)
        previous = views[0].state.reduced
        fitted = [fit_frame(source, view.geometry) for view in views]
        seen = [view.predict(image) for view, image in zip(views, fitted, strict=True)]
        probabilities = self._average([output for output, _ in seen])
        if mask is not None:
            named = np.isin(slots, given) & (slots != NOBODY)
            known = jnp.asarray(slot_labels(self._slots, mask)[None])
            probabilities = _overwrite(probabilities, Given(known, jnp.asarray(named[None])))
        labels = argmax_labels(probabilities)
        self.frame_index += 1
        self._kept += int(self.network.policy.stays(self.frame_index, mask is not None))
        alone = len(views) == 1 and mask is None
        for view, image, (output, remembered) in zip(views, fitted, seen, strict=True):
            masks = output.probabilities if alone else fit_masks(probabilities, view.geometry)
            view.grow(self._kept)
            view.remember(
                remembered, image, masks, objects=slots != NOBODY, new=np.isin(slots, new), given=mask is not None
            )
        return self._prediction(probabilities, labels, *seen[0], previous, outputs)

    def _average(self, outputs: Sequence[Output]) -> Array:
        """The views' masks at the frame's size, averaged."""
        shown = [
            masks_to_source(output.probabilities, view.geometry)
            for view, output in zip(self._views, outputs, strict=True)
        ]
        return shown[0] if len(shown) == 1 else sum(shown[1:], shown[0]) / len(shown)

    def _prediction(
        self,
        probabilities: Array,
        labels: Array,
        output: Output,
        remembered: Remembered,
        previous: Array,
        outputs: Sequence[str],
    ) -> Prediction:
        result: dict[str, Any] = {}
        if "probabilities" in outputs:
            channels = [self._slots.index(i) for i in self.object_ids]
            objects = np.moveaxis(np.asarray(probabilities)[0, channels], 0, -1)
            background = np.clip(1.0 - objects.sum(axis=-1, keepdims=True), 0.0, 1.0)
            result["probabilities"] = np.concatenate([background, objects], axis=-1)
        view = self._views[0]
        if self.frame_index > 0:
            for name in {"uncertainty", "attention"} & set(outputs):
                result[name] = np.asarray(map_to_source(getattr(output, name), view.geometry))[..., 0]
            if "displacement" in outputs:
                result["displacement"] = view.displacement(remembered, previous)
        ids = np.array([0, *self._slots], label_dtype(self._slots))
        return Prediction(ids[np.asarray(labels)], self.object_ids, self.frame_index, **result)

    def _check(self, frame: np.ndarray, mask: np.ndarray | None, outputs: Sequence[str]) -> None:
        check_outputs(outputs)
        number = self.frame_index + 1
        check_frame(frame, number)
        height, width = frame.shape[:2]
        if self._size is not None:
            check_size((height, width), self._size, number)
        if mask is None and not self.object_ids:
            raise InputError(f"frame {number} needs a mask: nothing says yet what to track")
        if mask is not None:
            check_mask(mask, (height, width), number)

    def _log_compilation(self, programs: int, seconds: float, before: Mapping[str, Any]) -> None:
        after = self.shapes
        changed = [
            f"{name} {before[name]} -> {after[name]}" if before[name] else f"{name} {after[name]}"
            for name in after
            if after[name] != before[name]
        ]
        same = ", ".join(f"{name} {after[name]}" for name in after)
        reason = ", ".join(changed) or f"asked for the first time with {same}"
        count = "a program" if programs == 1 else f"{programs} programs"
        LOG.info("frame %d: compiled %s in %.1f s (%s)", self.frame_index, count, seconds, reason)
