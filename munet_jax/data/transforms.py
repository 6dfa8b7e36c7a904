"""The augmentation of training clips, on the host, with Pillow.

Flip and crop are drawn once per clip; each query frame (every frame but the first) gets a small affine and a colour
jitter of its own on top (paper Sec. 4). Everything geometric is one 3 x 3 matrix that maps output to source positions,
so each frame is resampled once: bilinear for colours, nearest neighbour for labels. Positions are in pixels, (x, y),
and the middle of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image as PILImage

from munet_jax.host_types import BinaryMask, Bool, Float, Image, LabelMap, UInt8
from munet_jax.runtime.errors import InputError
from munet_jax.runtime.fields import field_of

Matrix = Float[np.ndarray, "3 3"]
ColourMatrix = Float[np.ndarray, "3 4"]
# What comes out has another size than what goes in: the argument `size`.
WarpedImage = UInt8[np.ndarray, "{size[0]} {size[1]} 3"]
WarpedLabels = UInt8[np.ndarray, "{size[0]} {size[1]}"]
WarpedValid = Bool[np.ndarray, "{size[0]} {size[1]}"]

OUTSIDE_COLOUR = (124, 116, 104)  # the mean of ImageNet: zero once normalised, as the padding in the encoders
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training clips are changed: a clip is flipped and cropped as a whole, each query frame moved and coloured a little.

    A strength of s means uniform in [-s, s], or in [1 - s, 1 + s] for factors.
    """

    flip: float = field_of(0.5, "chance of mirroring the whole clip left to right")
    random_crop: bool = field_of(True, "crop anywhere in the image; if not, in its middle")
    crop_scale_min: float = field_of(
        0.8, "smallest side of the crop, as a part of the largest crop that has the output's aspect ratio"
    )
    crop_scale_max: float = field_of(1.0, "largest side of the crop, likewise")
    rotation: float = field_of(3.0, "strength of the rotation, in degrees")
    shift: float = field_of(0.02, "strength of the shift, as a part of the output's height and width")
    scale: float = field_of(0.02, "strength of the factor of size")
    shear: float = field_of(2.0, "strength of the shear along x, in degrees")
    brightness: float = field_of(0.1, "strength of a factor on all colours")
    contrast: float = field_of(0.1, "strength of a factor around the frame's mean grey")
    saturation: float = field_of(0.1, "strength of a factor around each pixel's grey")
    hue: float = field_of(0.02, "strength of the turn around the grey axis, in full turns")

    def __post_init__(self) -> None:
        """Raises InputError for strengths that make no sense."""
        if not 0.0 <= self.flip <= 1.0:
            raise InputError(f"augmentation.flip is a probability between 0 and 1, not {self.flip}")
        if not 0.0 < self.crop_scale_min <= self.crop_scale_max <= 1.0:
            found = f"{self.crop_scale_min} and {self.crop_scale_max}"
            raise InputError(f"augmentation needs 0 < crop_scale_min <= crop_scale_max <= 1, not {found}")
        for name, limit in [("rotation", 180.0), ("shear", 45.0), ("shift", 1.0), ("scale", 0.9), ("brightness", 1.0),
                            ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)]:  # fmt: skip
            if not 0.0 <= getattr(self, name) <= limit:
                raise InputError(f"augmentation.{name} lies between 0 and {limit}, not {getattr(self, name)}")

    @classmethod
    def none(cls) -> AugmentationConfig:
        """No augmentation: the largest crop in the middle, resized."""
        return cls(
            flip=0.0, random_crop=False, crop_scale_min=1.0, rotation=0.0, shift=0.0, scale=0.0, shear=0.0,
            brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0,
        )  # fmt: skip

    @property
    def moves_queries(self) -> bool:
        """Whether query frames get an affine of their own."""
        return any((self.rotation, self.shift, self.scale, self.shear))

    @property
    def changes_colours(self) -> bool:
        """Whether query frames get a colour jitter."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


def draw_crop(
    rng: np.random.Generator, config: AugmentationConfig, source_size: tuple[int, int], size: tuple[int, int]
) -> Matrix:
    """Draws the crop and flip of a clip.

    The crop has the aspect ratio of the output, so nothing is stretched.

    Args:
      rng: random numbers.
      config: strengths.
      source_size: (height, width) of the frames as read.
      size: (height, width) of the output.

    Returns:
      The matrix from output to source positions.
    """
    (source_height, source_width), (height, width) = source_size, size
    zoom = min(source_height / height, source_width / width) * rng.uniform(config.crop_scale_min, config.crop_scale_max)
    at_y, at_x = rng.uniform(size=2) if config.random_crop else (0.5, 0.5)
    left, top = at_x * (source_width - width * zoom), at_y * (source_height - height * zoom)
    crop = np.array([[zoom, 0.0, left], [0.0, zoom, top], [0.0, 0.0, 1.0]])
    if rng.uniform() < config.flip:
        crop = crop @ np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return crop


def draw_affine(rng: np.random.Generator, config: AugmentationConfig, size: tuple[int, int]) -> Matrix:
    """Draws the small affine of a query frame around the middle of the output; maps output to output positions."""
    height, width = size
    angle, shear = np.deg2rad(rng.uniform(-1, 1, size=2) * (config.rotation, config.shear))
    move_y, move_x = rng.uniform(-1, 1, size=2) * config.shift * (height, width)
    factor = 1.0 + rng.uniform(-1, 1) * config.scale
    return affine(
        np.array([width / 2, height / 2]), angle=angle, shear=shear, factor=factor, move=(float(move_x), float(move_y))
    )


def affine(
    middle: Float[np.ndarray, " 2"], *, angle: float, shear: float, factor: float, move: tuple[float, float]
) -> Matrix:
    """The matrix that shears along x, turns and scales around `middle` (x, y), then moves; angles in radians."""
    cos, sin = math.cos(angle) * factor, math.sin(angle) * factor
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, math.tan(shear)], [0.0, 1.0]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = middle + move - turn @ middle
    return matrix


def draw_colours(rng: np.random.Generator, config: AugmentationConfig, mean_grey: float) -> ColourMatrix:
    """Draws a colour jitter; brightness, contrast, saturation and hue, in this order, folded into one matrix.

    Args:
      rng: random numbers.
      config: strengths.
      mean_grey: mean grey of the frame in [0, 255], the fixed point of the contrast.

    Returns:
      [3, 4]: new RGB = matrix[:, :3] @ RGB + matrix[:, 3], colours in [0, 255].
    """
    strengths = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = 1.0 + rng.uniform(-1, 1, size=3) * strengths
    turn = 2 * math.pi * rng.uniform(-1, 1) * config.hue
    saturate = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    # Rodrigues' rotation around (1, 1, 1) / sqrt(3), which leaves grey as it is.
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    rotate = math.cos(turn) * np.eye(3) + (1 - math.cos(turn)) / 3 + math.sin(turn) * cross
    mix = rotate @ saturate
    offset = mix @ np.full(3, (1 - contrast) * mean_grey * brightness)
    return np.concatenate([mix * (contrast * brightness), offset[:, None]], axis=1)


def warp_image(image: Image, matrix: Matrix, size: tuple[int, int]) -> WarpedImage:
    """Samples an RGB frame [h, w, 3] bilinearly at the positions that `matrix` gives; returns uint8 [size, 3].

    Frames that shrink by two or more are first averaged over blocks, since two samples per axis would alias. Positions
    outside the image get `OUTSIDE_COLOUR`.
    """
    return _warp_smooth(PILImage.fromarray(image), matrix, size, OUTSIDE_COLOUR)


def warp_mask(mask: BinaryMask, matrix: Matrix, size: tuple[int, int]) -> WarpedLabels:
    """How much of each output pixel a mask [h, w] covers, 0 to 255: sampled as `warp_image` samples colours."""
    return _warp_smooth(PILImage.fromarray(mask.astype(np.uint8) * 255), matrix, size, 0)


def warp_labels(labels: LabelMap, matrix: Matrix, size: tuple[int, int]) -> tuple[WarpedLabels, WarpedValid]:
    """Samples a label map by nearest neighbour: (labels, valid), uint8 and bool of `size`.

    Pixels from outside the map have label 0 and are not valid.
    """
    warped = np.asarray(_transform(PILImage.fromarray(labels), matrix, size, PILImage.Resampling.NEAREST, 0))
    return warped, warp_coverage(labels.shape, matrix, size)


def warp_coverage(source_size: tuple[int, ...], matrix: Matrix, size: tuple[int, int]) -> WarpedValid:
    """Which output pixels come from inside an image of `source_size` (height, width): bool of `size`."""
    if _covers(source_size, matrix, size):
        return np.ones(size, bool)
    everywhere = PILImage.new("L", (source_size[1], source_size[0]), 255)
    return np.asarray(_transform(everywhere, matrix, size, PILImage.Resampling.NEAREST, 0)) > 0


def jitter_colours(image: Image, rng: np.random.Generator, config: AugmentationConfig) -> Image:
    """A frame [h, w, 3] with its colours changed at random."""
    return recolour(image[None], rng, config)[0]


def recolour(
    frames: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator, config: AugmentationConfig
) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames with their colours changed at random, all alike."""
    pictures = [PILImage.fromarray(frame) for frame in frames]
    # By Pillow's histogram: with numpy's mean over colours the whole jitter took 2.5 ms at 400 x 400, so it takes 0.7.
    counts = np.array(pictures[0].convert("L").histogram())
    matrix = draw_colours(rng, config, float(counts @ np.arange(256) / counts.sum()))
    return np.stack([np.asarray(picture.convert("RGB", tuple(matrix.ravel().tolist()))) for picture in pictures])


def _warp_smooth(
    picture: PILImage.Image, matrix: Matrix, size: tuple[int, int], outside: int | tuple[int, int, int]
) -> UInt8[np.ndarray, "*shape"]:
    shrink = math.floor(math.sqrt(abs(np.linalg.det(matrix[:2, :2]))) + 1e-6)
    if shrink >= 2:
        picture = picture.reduce(shrink)
        matrix = np.diag([1 / shrink, 1 / shrink, 1.0]) @ matrix
    return np.asarray(_transform(picture, matrix, size, PILImage.Resampling.BILINEAR, outside))


def _transform(
    picture: PILImage.Image,
    matrix: Matrix,
    size: tuple[int, int],
    resample: PILImage.Resampling,
    outside: int | tuple[int, int, int],
) -> PILImage.Image:
    coefficients = tuple(matrix[:2].ravel().tolist())
    width_and_height = (size[1], size[0])
    return picture.transform(
        width_and_height, PILImage.Transform.AFFINE, coefficients, resample=resample, fillcolor=outside
    )


def _covers(shape: tuple[int, ...], matrix: Matrix, size: tuple[int, int]) -> bool:
    """Whether every output position comes from inside the source: its four corners do."""
    height, width = size
    corners = matrix[:2] @ np.array([[0.0, width, 0.0, width], [0.0, 0.0, height, height], [1.0, 1.0, 1.0, 1.0]])
    limits = np.array([[shape[1]], [shape[0]]])
    slack = 1e-6  # rounding; pixel middles are half a pixel away from the corners
    return bool((corners >= -slack).all() and (corners <= limits + slack).all())
