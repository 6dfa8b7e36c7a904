"""One view of a video: how it lies in what the network sees (resized, mirrored), and its state on the device."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from munet_jax.array_types import AnyMap, Array, Float
from munet_jax.inference.cpu import prepared_layers
from munet_jax.inference.options import SIZES
from munet_jax.inference.resize import resize
from munet_jax.inference.working_size import Size, working_size
from munet_jax.models import MUNet, video
from munet_jax.models.decoder import upsample
from munet_jax.models.memory import Bank, Policy
from munet_jax.models.padding import STRIDE, padding, positions_of
from munet_jax.models.shown_motion import shown_motion
from munet_jax.models.video import Output, Remembered, VideoState
from munet_jax.runtime.jit import device_jit


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How one view of a video lies in what the network sees.

    Attributes:
      size: of the user's frames.
      work: at which they are worked on.
      flip: whether the view is mirrored from left to right.
    """

    size: Size
    work: Size
    flip: bool = False

    @property
    def offset(self) -> Size:
        """Rows and columns that the network puts before the picture."""
        return padding(self.work[0])[0], padding(self.work[1])[0]

    @property
    def positions(self) -> int:
        """Stride-16 positions of a frame."""
        rows, columns = positions_of(self.work)
        return rows * columns


def create_geometry(size: Size, *, scale: float = 1.0, flip: bool = False, **sizes: Any) -> Geometry:
    """The view of frames of `size`, of which `working_size`, with its arguments `sizes`, is multiplied by `scale`."""
    work = working_size(size, **sizes)
    if scale != 1.0:
        work = max(1, round(work[0] * scale)), max(1, round(work[1] * scale))
    return Geometry(size, work, flip)


def geometry_for(
    options: ConfigDict, size: Size, objects: float = 0.0, *, scale: float = 1.0, flip: bool = False
) -> Geometry:
    """`create_geometry` with the sizes of `config.inference`."""
    sizes = {name: options[name] for name in SIZES}
    return create_geometry(size, **sizes, objects=objects, scale=scale, flip=flip)


@functools.partial(jax.jit, static_argnums=1)
def fit_frame(frame: Array, geometry: Geometry) -> Array:
    """A frame [h, w, 3], uint8 or f32 in [0, 1] -> [1, H, W, 3]; f32 and averaged where it shrinks."""
    if geometry.work != geometry.size:
        if frame.dtype == jnp.uint8:
            frame = frame.astype(jnp.float32) / 255.0
        frame = resize(frame, geometry.work, height_axis=0)
    return (frame[:, ::-1] if geometry.flip else frame)[None]


@functools.partial(jax.jit, static_argnums=1)
def fit_masks(masks: Float[Array, "1 n h w"], geometry: Geometry) -> Array:
    """Soft masks of the user's size -> [1, n, H, W]; averaged where they shrink, so that small objects do not vanish."""
    masks = resize(masks, geometry.work, height_axis=2)
    return masks[..., ::-1] if geometry.flip else masks


@functools.partial(jax.jit, static_argnums=1)
def masks_to_source(masks: Float[Array, "1 n h w"], geometry: Geometry) -> Array:
    """Undo `fit_masks`."""
    masks = masks[..., ::-1] if geometry.flip else masks
    return resize(masks, geometry.size, height_axis=2)


@functools.partial(jax.jit, static_argnums=1)
def map_to_source(x: AnyMap, geometry: Geometry) -> Array:
    """A stride-16 map [1, H/16, W/16, c] of a view that is not mirrored -> [h, w, c]."""
    (top, left), (height, width) = geometry.offset, geometry.work
    shown = upsample(x, STRIDE)[0, top : top + height, left : left + width]
    return resize(shown, geometry.size, height_axis=0)


def displacement_to_source(displacement: AnyMap, geometry: Geometry) -> Float[np.ndarray, "h w 2"]:
    """(dx, dy) in pixels of the view, at stride 16 -> (dx, dy) in image pixels, [h, w, 2]."""
    enlarged = np.array(geometry.size[::-1], np.float32) / np.array(geometry.work[::-1], np.float32)
    return np.asarray(map_to_source(displacement, geometry)) * enlarged


class Network(NamedTuple):
    """What every view of a video shares: the network, its variables as they are computed with, and the memory's policy."""

    model: MUNet
    variables: Any
    policy: Policy


# The bank is a field of its own in both halves, since its memory is given up to the bank that comes out.
@device_jit(static_argnums=0, donate_argnums=2)
def predict_step(
    model: MUNet, variables: Any, bank: Bank, state: VideoState, frame: Array
) -> tuple[Output, Remembered, Bank]:
    """`video.predict`, compiled."""
    with prepared_layers():
        return video.predict(model, variables, state._replace(bank=bank), frame)


@device_jit(static_argnums=0, donate_argnums=2)
def remember_step(
    model: MUNet,
    variables: Any,
    bank: Bank,
    state: VideoState,
    remembered: Remembered,
    frame: Array,
    masks: Array,
    objects: Array,
    new: Array,
    given: Array,
) -> VideoState:
    """`video.remember`, compiled."""
    with prepared_layers():
        return video.remember(
            model, variables, state._replace(bank=bank), remembered, frame, masks, objects=objects, new=new, given=given
        )


@device_jit(static_argnums=0)
def displacement_step(model: MUNet, variables: Any, reduced: AnyMap, previous: AnyMap) -> Array:
    """Motion as users see it between two frames' reduced features, in pixels of the view, [1, h', w', 2]."""

    def run(net: MUNet) -> Array:
        return shown_motion(net.mu_layer.cost(reduced, previous)[0], radius=net.mu_layer.radius).displacement

    return model.apply(variables, method=run)


@functools.partial(jax.jit, static_argnums=(0, 2, 3, 4))
def initial_state(model: MUNet, variables: Any, size: Size, objects: int, policy: Policy) -> VideoState:
    """`video.init_state` in one program."""
    with prepared_layers():
        return video.init_state(model, variables, size, objects, policy=policy)


class View:
    """A geometry and the state of the video in it."""

    def __init__(self, network: Network, geometry: Geometry, objects: int) -> None:
        """A view that has seen no frame, with room for that many objects."""
        model, variables, policy = self.network = network
        self.geometry = geometry
        self.state = initial_state(model, variables, geometry.work, objects, policy)

    def predict(self, frame: Array) -> tuple[Output, Remembered]:
        """The masks of a fitted frame; call `remember` before the next one."""
        model, variables, _ = self.network
        bank, rest = self._give_up_bank()
        output, remembered, bank = predict_step(model, variables, bank, rest, frame)
        self.state = rest._replace(bank=bank)
        return output, remembered

    def remember(
        self, remembered: Remembered, frame: Array, masks: Array, *, objects: np.ndarray, new: np.ndarray, given: bool
    ) -> None:
        """Put a fitted frame with its fitted masks into memory; see `video.remember`."""
        model, variables, _ = self.network
        bank, rest = self._give_up_bank()
        self.state = remember_step(
            model, variables, bank, rest, remembered, frame, masks, objects[None], new[None], np.bool_(given)
        )

    def grow(self, kept: int) -> None:
        """Make room in memory for that many frames that stay."""
        self.state = self.state._replace(bank=self.state.bank.grow(kept))

    def displacement(self, remembered: Remembered, previous: AnyMap) -> Float[np.ndarray, "h w 2"]:
        """(dx, dy) in image pixels, [h, w, 2], of a frame against the reduced feature of the one before."""
        model, variables, _ = self.network
        return displacement_to_source(displacement_step(model, variables, remembered.reduced, previous), self.geometry)

    @property
    def held_bytes(self) -> int:
        """Of its memory now."""
        return sum(x.nbytes for x in jax.tree.leaves(self.state.bank))

    def _give_up_bank(self) -> tuple[Bank, VideoState]:
        """The bank, whose memory the next step takes over, and the rest of the state."""
        bank, rest = self.state.bank, self.state._replace(bank=None)
        self.state = rest
        return bank, rest
