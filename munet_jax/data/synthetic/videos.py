"""Synthetic videos with exact label maps and exact motion, drawn from a seed: nothing to download, nothing on disk.

Textured and flat shapes move, turn, stretch, cross and hide one another over a textured background under a moving
camera. Distractors carry the texture of a labelled object but are background, so that colour alone does not decide.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from munet_jax.data.clips import Video
from munet_jax.data.synthetic.rendering import (
    Body,
    Layers,
    Scene,
    Stage,
    backward_motion,
    count_surfaces,
    label_map,
    render,
)
from munet_jax.data.synthetic.sensor import expose
from munet_jax.data.synthetic.shapes import Course, Track, Wave, draw_shape
from munet_jax.data.synthetic.textures import draw_background, draw_palette, draw_texture, flat_texture
from munet_jax.host_types import BinaryMask, Float, Image, LabelMap
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import field_of

_LAYOUTS = 300  # tried for a video before its config is called impossible
_LEAST_AREA = 0.01  # of the frame, for every object in frame 0
_PARTLY_HIDDEN = 0.05  # of an object's surface inside the frame; less is hardly seen
_CAMERA_REACH = 0.08  # of the short side, the camera's largest shift along one axis
_CAMERA_ZOOM = 0.06
_CAMERA_TURN = 0.07  # radians


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Videos that are made from a seed. Shares of the short side are of min(height, width)."""

    videos: int = field_of(8, "number of videos")
    frames: int = field_of(24, "length of every video, in frames")
    height: int = field_of(128, "height of a frame in pixels, at least 32")
    width: int = field_of(128, "width of a frame in pixels, at least 32")
    seed: int = field_of(0, "video i follows from seed, i and the fields below, not from `videos`")
    min_objects: int = field_of(2, "labelled objects per video, at least")
    max_objects: int = field_of(3, "labelled objects per video, at most; 254 is the limit of a label map")
    distractors: int = field_of(2, "unlabelled shapes per video, each with the texture of a labelled object")
    min_size: float = field_of(0.2, "smallest diameter of an object, as a share of the short side")
    max_size: float = field_of(0.45, "largest diameter of an object, as a share of the short side")
    speed: float = field_of(
        0.035, "mean way of an object per frame, as a share of the short side; the peak is about three times that"
    )
    camera: float = field_of(
        0.01, "mean way of the camera per frame along each axis, likewise; it turns and zooms a little along with it"
    )
    spin: float = field_of(5.0, "largest rotation of an object per frame, in degrees")
    stretch: float = field_of(0.2, "largest change of an object's width and height over time, as a share, below 0.5")
    flat: float = field_of(0.15, "chance that an object has one plain colour")
    leaving: float = field_of(
        0.3, "chance that an object's path leads out of the frame (and back, if the video is long enough)"
    )
    min_occlusion: float = field_of(
        0.2, "least share of a video's frames in which a labelled object is partly hidden by another shape"
    )
    noise: float = field_of(0.0, "standard deviation of the sensor's noise, in 8-bit steps")
    flicker: float = field_of(0.0, "largest change of each colour's brightness from frame to frame, as a share")

    def __post_init__(self) -> None:
        """Raises InputError for the first field that makes no sense."""
        for field, least in {"videos": 1, "frames": 1, "height": 32, "width": 32, "seed": 0, "distractors": 0}.items():
            self._require(field, getattr(self, field) >= least, f"give {least} or more")
        self._require("min_objects", 1 <= self.min_objects <= self.max_objects, "give 1 to max_objects")
        self._require("max_objects", self.max_objects <= 254, "a label map holds at most 254 objects")
        self._require("min_size", 0 < self.min_size <= self.max_size, "give more than 0 and at most max_size")
        self._require("max_size", self.max_size <= 1, "give at most 1, the whole short side")
        for field, most in {
            "speed": 0.5,
            "camera": 0.1,
            "spin": 45,
            "stretch": 0.49,
            "noise": 64,
            "flicker": 0.5,
        }.items():
            self._require(field, 0 <= getattr(self, field) <= most, f"give 0 to {most}")
        for field in ("flat", "leaving", "min_occlusion"):
            self._require(field, 0 <= getattr(self, field) <= 1, "give 0 to 1")
        self._require(
            "distractors", self.max_objects + self.distractors <= 254, "254 shapes is the limit, with objects"
        )
        others = self.min_objects + self.distractors - 1
        self._require("min_occlusion", self.min_occlusion == 0 or others > 0, "one shape alone hides nothing; give 0")

    def _require(self, field: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise InputError(f"SyntheticConfig.{field} is {getattr(self, field)}: {remedy}")


def draw_scene(config: SyntheticConfig, index: int) -> Scene:
    """The scene of video `index`. Raises InputError where no layout satisfies the config."""
    rng = np.random.default_rng([config.seed, index])
    for _ in range(_LAYOUTS):
        stage = Stage(config.height, config.width, _draw_camera(rng, config), _draw_bodies(rng, config))
        if _is_well_posed(config, stage):
            return _dress(rng, config, stage)
    raise InputError(
        f"SyntheticConfig.min_occlusion is {config.min_occlusion}: none of {_LAYOUTS} layouts of video {index} reached"
        f" it with every object at {_LEAST_AREA:.0%} of frame 0; lower it, or raise distractors, max_size or speed"
    )


def _draw_camera(rng: np.random.Generator, config: SyntheticConfig) -> Course:
    reach = _CAMERA_REACH * min(config.height, config.width)
    rate = math.pi / 2 * config.camera / _CAMERA_REACH  # a wave's mean speed is 2 / pi * amplitude * rate

    def sway(middle: float, amplitude: float) -> Track:
        wave = Wave(amplitude, rate * rng.uniform(0.7, 1.3), rng.uniform(0.0, 2 * math.pi))
        return Track(middle, waves=(wave,))

    zoom = sway(1.0, _CAMERA_ZOOM)
    return Course(sway(0.0, reach), sway(0.0, reach), sway(0.0, _CAMERA_TURN), zoom, zoom)


def _draw_bodies(rng: np.random.Generator, config: SyntheticConfig) -> tuple[Body, ...]:
    """Objects and distractors in random depth order."""
    objects = int(rng.integers(config.min_objects, config.max_objects + 1))
    bodies: list[Body] = []
    for number in range(objects + config.distractors):
        diameter = rng.uniform(config.min_size, config.max_size) * min(config.height, config.width)
        shape, label, texture = draw_shape(rng), number + 1, number
        if number >= objects:
            texture, label = (number - objects) % objects, 0
            if rng.uniform() < 0.5:  # the same outline as well: only the motion tells it from the object
                shape = bodies[texture].shape
        bodies.append(Body(label, texture, shape, diameter / 2, _draw_course(rng, config, diameter / 2)))
    return tuple(bodies[k] for k in rng.permutation(len(bodies)))


def _draw_course(rng: np.random.Generator, config: SyntheticConfig, radius: float) -> Course:
    short = min(config.height, config.width)
    speed = config.speed * short * rng.uniform(0.6, 1.4)
    heading = rng.uniform(0.0, math.pi / 2)
    halves = (config.width / 2, config.height / 2)
    speeds = (speed * math.cos(heading), speed * math.sin(heading))
    tracks = [_draw_roaming(rng, half, along) for half, along in zip(halves, speeds, strict=True)]
    if rng.uniform() < config.leaving:
        axis = int(rng.integers(2))
        tracks[axis] = _draw_leaving(rng, halves[axis], radius + _CAMERA_REACH * short, speed)
    spin = math.radians(config.spin) * rng.uniform(-1.0, 1.0)
    return Course(
        tracks[0],
        tracks[1],
        Track(rng.uniform(0.0, 2 * math.pi), spin),
        _draw_stretch(rng, config),
        _draw_stretch(rng, config),
    )


def _draw_roaming(rng: np.random.Generator, half: float, speed: float) -> Track:
    """A coordinate whose centre stays within -half..half, at a mean speed in pixels per frame."""
    amplitude = half * rng.uniform(0.5, 0.9)
    rate = math.pi / 2 * speed / amplitude
    wave = Wave(amplitude, rate, rng.uniform(0.0, 2 * math.pi), bounces=bool(rng.uniform() < 0.4))
    wobble = Wave(0.1 * amplitude, rate * rng.uniform(2.0, 4.0), rng.uniform(0.0, 2 * math.pi))
    return Track((half - amplitude) * rng.uniform(-1.0, 1.0), waves=(wave, wobble))


def _draw_leaving(rng: np.random.Generator, half: float, margin: float, speed: float) -> Track:
    """A coordinate that starts inside, is soon farther out than half + margin, and comes back."""
    amplitude = half + margin * rng.uniform(1.05, 1.3)
    start = rng.uniform(0.3, 0.6) * half / amplitude
    side = math.pi if rng.uniform() < 0.5 else 0.0  # half a turn later the wave runs to the other edge
    bounces = bool(rng.uniform() < 0.6)
    phase = start * math.pi / 2 if bounces else math.asin(start)
    return Track(0.0, waves=(Wave(amplitude, math.pi / 2 * speed / amplitude, phase + side, bounces),))


def _draw_stretch(rng: np.random.Generator, config: SyntheticConfig) -> Track:
    wave = Wave(config.stretch * rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.3), rng.uniform(0.0, 2 * math.pi))
    return Track(1.0, waves=(wave,))


def _is_well_posed(config: SyntheticConfig, stage: Stage) -> bool:
    """Whether frame 0 shows every object, none is gone for long, few frames are empty and enough have an occlusion."""
    least = _LEAST_AREA * config.height * config.width
    inside, seen = count_surfaces(stage, 0)
    if (seen < np.maximum(least, 0.5 * inside)).any():
        return False
    step = _grid_step(config)
    counts = [count_surfaces(stage, frame, step) for frame in range(config.frames)]
    present = np.stack([seen for _, seen in counts]) > 0.2 * least / step**2
    if present.mean(axis=0).min() < 0.6 or present.any(axis=1).mean() < 0.9:
        return False
    occluded = [(inside - seen > _PARTLY_HIDDEN * inside).any() for inside, seen in counts]
    return bool(np.mean(occluded) >= config.min_occlusion)


def _grid_step(config: SyntheticConfig) -> int:
    """Pixels between samples where surfaces are only counted: 64 samples along the short side are enough."""
    return max(1, min(config.height, config.width) // 64)


def _dress(rng: np.random.Generator, config: SyntheticConfig, stage: Stage) -> Scene:
    """Textures for a stage. Objects and background draw their colours from one palette, so that they share some."""
    short = min(config.height, config.width)
    palette = draw_palette(rng, 6)

    def colours(count: int) -> list[tuple[int, int, int]]:
        return [palette[k] for k in rng.permutation(len(palette))[:count]]

    def period() -> float:
        return max(5.0, short * rng.uniform(0.05, 0.11))

    # The corners of the frame, as far as the camera can shift, turn and zoom out, still lie on the background.
    reach = math.hypot(config.height, config.width) / 2 + 1.5 * _CAMERA_REACH * short
    background = draw_background(rng, 2 * math.ceil(reach / (1 - _CAMERA_ZOOM)) + 4, period(), colours(3))
    side = 2 * math.ceil(config.max_size * short / 2 + 4)
    textures = []
    for _ in range(max(body.label for body in stage.bodies)):
        flat = rng.uniform() < config.flat
        textures.append(
            flat_texture(side, colours(1)[0])
            if flat
            else draw_texture(rng, side, period(), colours(int(rng.integers(2, 4))))
        )
    return Scene(stage, background, tuple(textures))


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Recent(Generic[_Key, _Value]):
    """The last few values of a function, safe to share between threads."""

    def __init__(self, make: Callable[[_Key], _Value], capacity: int) -> None:
        self._make = make
        self._capacity = capacity
        self._values: collections.OrderedDict[_Key, _Value] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: _Key) -> _Value:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = self._make(key)  # outside the lock: two threads may make the same value, none waits for another's
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value


# Scenes kept for the next use, as pixels of their frames: drawing one costs as much as 20 of its frames.
CACHED_PIXELS = 4_000_000


class SyntheticSource:
    """A ClipSource of synthetic videos; every frame is annotated. Threads may share it; a pickle holds its config only.

    Attributes:
      name: "synthetic".
      config: what the videos are like.
    """

    name: str = "synthetic"

    def __init__(self, config: SyntheticConfig) -> None:
        """Draws nothing yet, however many videos there are."""
        self.config = config
        scenes = max(16, CACHED_PIXELS // (config.height * config.width))
        self._scene: _Recent[int, Scene] = _Recent(lambda index: draw_scene(config, index), capacity=scenes)
        # A few more than threads that read at once: frame, labels and motion of one time share the work.
        self._render: _Recent[tuple[int, int], tuple[Image, Layers]] = _Recent(
            lambda key: render(self._scene(key[0]), key[1]), capacity=32
        )

    def __reduce__(self) -> tuple[type[SyntheticSource], tuple[SyntheticConfig]]:
        """Pickles the config; the copy draws the same videos again."""
        return SyntheticSource, (self.config,)

    def __len__(self) -> int:
        """The number of videos."""
        return self.config.videos

    def video(self, index: int) -> Video:
        """Name, frame names ('00000', '00001', ...) and annotated frames (all) of video `index`."""
        self._check(index)
        frames = range(self.config.frames)
        names = tuple(f"{frame:05d}" for frame in frames)
        return Video(f"synthetic_{self.config.seed}_{index:04d}", names, tuple(frames))

    def frame(self, index: int, frame: int) -> Image:
        """Frame `frame` of video `index`: RGB uint8 [h, w, 3], the caller's to change."""
        self._check(index, frame)
        image = self._render((index, frame))[0]
        seeds = (self.config.seed, index, frame)
        return expose(image, noise=self.config.noise, flicker=self.config.flicker, seeds=seeds)

    def labels(self, index: int, frame: int) -> LabelMap:
        """Label map of a frame: uint8 [h, w], 0 for background and distractors, 1..n for the objects."""
        self._check(index, frame)
        return label_map(self._scene(index).stage, self._render((index, frame))[1])

    def motion(self, index: int, frame: int) -> tuple[Float[np.ndarray, "h w 2"], BinaryMask]:
        """Exact backward motion (paper, Eq. 1) of a frame from 1 on.

        Returns:
          displacement: float32 [h, w, 2], (dx, dy) in pixels; what is at x in `frame` was at x + displacement before.
          visible: bool [h, w]; whether it was seen in frame - 1, so inside the frame and hidden by nothing.

        Raises:
          InputError: for frame 0, which nothing comes before.
        """
        self._check(index, frame)
        if frame == 0:
            raise InputError("frame 0 of a synthetic video has no motion, nothing comes before it: ask from frame 1 on")
        return backward_motion(self._scene(index).stage, frame, self._render((index, frame))[1])

    def hidden(self, index: int, frame: int) -> tuple[float, ...]:
        """For objects 1..n, the share of the object inside the frame that other shapes hide; 0 where it is outside."""
        self._check(index, frame)
        inside, seen = count_surfaces(self._scene(index).stage, frame, _grid_step(self.config))
        return tuple(((inside - seen) / np.maximum(inside, 1)).tolist())

    def _check(self, index: int, frame: int = 0) -> None:
        if not 0 <= index < self.config.videos:
            raise InputError(f"synthetic video {index} does not exist: give 0 to {self.config.videos - 1}")
        if not 0 <= frame < self.config.frames:
            raise InputError(f"frame {frame} of a synthetic video does not exist: give 0 to {self.config.frames - 1}")
