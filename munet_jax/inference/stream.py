"""One view of a video on the device: the network's steps, compiled, and what a frame leaves for the next ones."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import AnyMap, Array, CostVolume, Displacement, Float, Inside
from munet_jax.inference.views import Geometry
from munet_jax.models import MUNet
from munet_jax.models.adaptive_memory import Adaptive, AdaptiveBank
from munet_jax.models.aggregation import STRIDE, inside_cells, inside_mask, object_probabilities
from munet_jax.models.memory import Bank, EveryK, MemoryBank, keep_objects, more_objects
from munet_jax.models.mu_layer import displacement, near_best
from munet_jax.models.munet import Encoded, Query
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.jit import device_jit

POLICIES = ("every_k", "adaptive")
Policy: TypeAlias = EveryK | Adaptive
# What users are shown as motion is softargmax this close to the single best match, whatever form feeds the network.
# Only cells next to that match count: where features have little contrast, the many others would pull to the frame's middle.
DISPLAY_TEMPERATURE, DISPLAY_REACH = 0.02, 1


class Settings(NamedTuple):
    """What the compiled steps depend on beside shapes."""

    policy: Policy
    read_chunk: int  # memory positions that are read together; 0: all
    object_chunk: int  # objects that are decoded and memorised together; 0: all


class Carried(NamedTuple):
    """What a frame leaves for later: its reduced feature for the next MU-Layer; its query key and, where Enc-R takes it, F_s
    for memory.
    """

    reduced: AnyMap
    key: AnyMap
    semantic: AnyMap | None


class Step(NamedTuple):
    """Device result of one query step, batch axis of 1 kept; maps are of the padded frame."""

    probabilities: Float[Array, "1 n h w"]
    carried: Carried
    uncertainty: Float[Array, "1 hs ws 1"]
    attention: Float[Array, "1 hs ws 1"]
    bank: Bank


# Inside the steps, so that Python goes through the network once for all of them; XLA compiles each step whole.
@functools.partial(jax.jit, static_argnums=0)
def _encode(model: MUNet, variables: Any, frame: Array, inside: Inside) -> Encoded:
    return model.apply(variables, frame, inside, method="encode")


@functools.partial(jax.jit, static_argnums=0)
def _query(model: MUNet, variables: Any, encoded: Encoded, previous: AnyMap, inside: Inside) -> Query:
    return model.apply(variables, encoded, previous, inside, method="query")


@device_jit(static_argnums=0)
def first_step(model: MUNet, variables: Any, frame: Array, inside: Inside) -> Carried:
    """Enc-Q for a frame that nothing is asked about."""
    encoded = _encode(model, variables, frame, inside)
    query = _query(model, variables, encoded, encoded.reduced, inside)  # it is its own neighbour
    return Carried(encoded.reduced, query.key, query.semantic)


@device_jit(static_argnums=(0, 1), donate_argnums=7)
def query_step(
    model: MUNet,
    settings: Settings,
    variables: Any,
    frame: Array,
    inside: Inside,
    previous: AnyMap,
    masks: Array,
    bank: Bank,
    objects: Array,
) -> Step:
    """Enc-Q once, MU-Layer, memory read, decoder, aggregation."""
    encoded = _encode(model, variables, frame, inside)
    query = _query(model, variables, encoded, previous, inside)

    def run(module: MUNet) -> Step:
        matched, after = module.read(query, bank, chunk=settings.read_chunk)
        logits = module.decode(query, matched, objects, masks, chunk=settings.object_chunk)
        shown = inside_mask(inside, *logits.shape[1:3])[None, None]
        probabilities = jnp.where(shown, object_probabilities(logits), 0.0)
        carried = Carried(encoded.reduced, query.key, query.semantic)
        return Step(probabilities, carried, query.motion.uncertainty, query.attention, after)

    return model.apply(variables, method=run)


@device_jit(static_argnums=(0, 1), donate_argnums=8)
def memorise_step(
    model: MUNet,
    settings: Settings,
    variables: Any,
    frame: Array,
    inside: Inside,
    masks: Array,
    query_key: AnyMap,
    semantic: AnyMap | None,
    bank: Bank,
    objects: Array,
    pin: Array,
    slot: Array,
) -> Bank:
    """Enc-R and the policy's write; `pin` are the objects that this frame gives, `slot` is where a frame goes."""
    key, value = model.apply(
        variables, frame, masks, query_key, semantic, inside=inside, chunk=settings.object_chunk, method="memorise"
    )
    cells = inside_cells(inside, frame.shape[1] // STRIDE, frame.shape[2] // STRIDE).reshape(-1)
    if isinstance(settings.policy, Adaptive):
        assert isinstance(bank, AdaptiveBank)
        return settings.policy.write(bank, key, value, objects, pin, cells)
    assert isinstance(bank, MemoryBank)
    return settings.policy.write(bank, key, value, objects, slot, cells)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def empty_bank(policy: Policy, objects: int, positions: int, key_dim: int, value_dim: int, dtype: Any) -> Bank:
    """A memory before its first frame, in one program."""
    return policy.init(objects, positions, key_dim=key_dim, value_dim=value_dim, dtype=dtype)


@device_jit(static_argnums=0)
def shown_displacement(model: MUNet, variables: Any, inside: Inside, reduced: AnyMap, previous: AnyMap) -> Array:
    """Motion as users see it: softargmax in pixels of the worked-on frame, [1, h', w', 2]."""

    def run(module: MUNet) -> Array:
        cost, _ = module.mu_layer.cost(reduced, previous, inside)
        return motion_of(module, cost)

    return model.apply(variables, method=run)


def motion_of(module: MUNet, cost: CostVolume) -> Displacement:
    """What users are shown of a cost volume, whatever form feeds the network: pixels of the worked-on frame, [1, h', w', 2]."""
    radius = module.mu_layer.radius
    near = near_best(cost, radius=radius, reach=DISPLAY_REACH)
    return STRIDE * displacement(
        cost, radius=radius, matching="softargmax", temperature=DISPLAY_TEMPERATURE, valid=near
    )


class Stream:
    """The state of one view: memory, the frame before, and its masks. Its size never depends on the number of frames."""

    def __init__(self, model: MUNet, variables: Any, settings: Settings, geometry: Geometry) -> None:
        """A stream that has seen no frame."""
        self.model, self.variables, self.settings, self.geometry = model, variables, settings, geometry
        self.inside = jnp.asarray(geometry.inside)
        self.bank: Bank | None = None
        self.carried: Carried | None = None
        self.masks: Array | None = None  # [1, n, H, W], of the frame before
        self.kept = 0  # frames that went to memory to stay

    def query(self, frame: Array, known: np.ndarray) -> Step | None:
        """Predict the objects that `known`, bool [n], names in a frame [1, H, W, 3]; None where nothing can be predicted.

        Call `remember` with the result before the next frame.
        """
        if self.bank is None or self.carried is None or not known.any():
            return None
        bank, self.bank = self.bank, None  # its memory is given up to the bank after the step
        step = query_step(
            self.model, self.settings, self.variables, frame, self.inside, self.carried.reduced, self.masks, bank,
            jnp.asarray(known[None]),
        )  # fmt: skip
        self.bank = step.bank
        return step

    def remember(
        self, frame: Array, step: Step | None, masks: Array, objects: np.ndarray, given: np.ndarray, *, stays: bool
    ) -> None:
        """Put a frame with its masks [1, n, H, W] into memory.

        Args:
          frame: as `query` got it.
          step: what `query` gave.
          masks: of the frame.
          objects: bool [n], the slots that hold an object.
          given: bool [n], those that this frame gives for the first time.
          stays: whether the frame stays in memory longer than the next one.
        """
        if step is None:
            self.carried = first_step(self.model, self.variables, frame, self.inside)
        else:
            self.carried = step.carried
        policy, bank = self.settings.policy, self.bank
        if bank is None:
            embedding = self.model.query_embedding
            assert embedding.key_dim is not None
            bank = empty_bank(
                policy, objects.size, self.geometry.positions, embedding.key_dim, embedding.value_dim, embedding.dtype
            )
        slot = 0
        if isinstance(policy, EveryK):
            assert isinstance(bank, MemoryBank)
            slot = policy.slot(self.kept, stays=stays)
            self.kept += int(stays)
            bank = policy.make_room(bank, self.kept)
        self.bank = None
        self.bank = memorise_step(
            self.model, self.settings, self.variables, frame, self.inside, masks, self.carried.key,
            self.carried.semantic, bank,
            jnp.asarray(objects[None]), jnp.asarray(given[None]), jnp.int32(slot),
        )  # fmt: skip
        self.masks = masks

    @property
    def held_bytes(self) -> int:
        """Of its memory now."""
        return sum(x.nbytes for x in jax.tree.leaves(self.bank))

    def make_slots(self, objects: int) -> None:
        """Room for more objects."""
        if self.bank is not None and self.masks is not None:
            self.bank = more_objects(self.bank, objects)
            self.masks = jnp.pad(self.masks, ((0, 0), (0, objects - self.masks.shape[1]), (0, 0), (0, 0)))

    def keep(self, objects: np.ndarray) -> None:
        """Forget the objects that `objects`, bool [n], does not name."""
        if self.bank is not None and self.masks is not None:
            self.bank = keep_objects(self.bank, jnp.asarray(objects))
            self.masks = jnp.where(objects[None, :, None, None], self.masks, 0.0)

    def displacement(self, step: Step, previous: AnyMap) -> Array:
        """Of the frame of `step` against the one before, whose reduced feature is `previous`."""
        return shown_displacement(self.model, self.variables, self.inside, step.carried.reduced, previous)


def create_settings(config: ConfigDict) -> Settings:
    """What `config.inference` says about memory and chunks.

    Raises:
      InputError: a value that cannot be.
    """
    if config.memory_policy not in POLICIES:
        raise InputError(
            f"config.inference.memory_policy is {config.memory_policy!r}; choose one of {', '.join(POLICIES)}"
        )
    for name in ("read_chunk", "object_chunk"):
        if config[name] < 0:
            raise InputError(f"config.inference.{name} is {config[name]}; give a number of at least 1, or 0 for all")
    try:
        if config.memory_policy == "every_k":
            policy: Policy = EveryK(config.memory_interval, config.memory_capacity)
        else:
            policy = Adaptive(**config.adaptive)
    except ValueError as error:
        raise InputError(f"config.inference: {error}") from error
    return Settings(policy, config.read_chunk, config.object_chunk)
