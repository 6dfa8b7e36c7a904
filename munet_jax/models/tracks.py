"""Where each object should be in a frame, to tell apart those that look alike (not in the paper).

Memory is read by looks, so an object takes parts of another one that looks like it, most of all where the two cross. Here the
MU-Layer's displacement gives each object a velocity, relative to the camera's, and its mask of the frame before is moved on by
it. Where objects that look alike claim a pixel, those that are expected there get more of what they have there together; what
that is stays as the network says, and so does an object that looks like no other. One that is mostly hidden may come back
anywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from munet_jax.array_types import Array, Bool, ClassLogits, Float, ObjectMasks
from munet_jax.models.motion_prior import PRIOR_STRIDE, cell_means, stride_4_means
from munet_jax.models.padding import STRIDE, crop_padding
from munet_jax.models.upsampling import upsample

HIGHEST = jax.lax.Precision.HIGHEST
TINY = 1e-30

# Chosen on composed videos (docs/results.md).
UNEXPECTED = 0.004  # what a place counts for an object that is not expected there, where its expected places count 1
HIDDEN = 0.7  # an object is hidden where it shows less than this part of its usual area
ALIKE = 0.7  # cosine of the mean semantic features of objects that look alike
FORGET = 0.995  # what is left of the usual area from one frame to the next, where less shows
SPREAD = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)  # over neighbouring places of stride 4: a velocity is not exact
NEWEST = 0.4  # the newest frame's share in a velocity


class Tracks(NamedTuple):
    """What is known of each object's way.

    Attributes:
      areas: usual area in pixels, f32 [b, n]; 0 of an object that was not seen yet.
      velocity: (x, y) of the object less the camera's, in pixels a frame, f32 [b, n, 2].
      frames: number of frames that the velocity was averaged over, f32 [b, n].
      looks: mean of the semantic feature F_s over its mask in the last frame that gave one, f32 [b, n, d].
    """

    areas: Any
    velocity: Any
    frames: Any
    looks: Any


def no_tracks(videos: int, objects: int, channels: int) -> Tracks:
    """Before the first frame; F_s has that many channels."""
    shape = (videos, objects)
    return Tracks(jnp.zeros(shape), jnp.zeros((*shape, 2)), jnp.zeros(shape), jnp.zeros((*shape, channels)))


def forget_tracks(tracks: Tracks, removed: Bool[Array, " n"]) -> Tracks:
    """The same, in which some objects were not seen yet."""
    return jax.tree.map(lambda x: jnp.where(jnp.expand_dims(removed, range(1, x.ndim - 1))[None], 0.0, x), tracks)


def expected_places(
    tracks: Tracks, displacement: Float[Array, "b hc wc 2"], masks: ObjectMasks
) -> Float[Array, "b n hp wp"]:
    """Each object's places in a frame at stride 4: 1 where it is expected, and everywhere for one that is hidden.

    Args:
      tracks: after the frame before.
      displacement: the MU-Layer's, of the frame against the one before, [b, h', w', 2].
      masks: of the frame before, [b, n, h, w].
    """
    before = stride_4_means(masks)
    hidden = (tracks.areas > 0) & (area(before) < HIDDEN * tracks.areas)
    places = moved(before, tracks.velocity + camera(displacement, before))
    return jnp.where(hidden[:, :, None, None], 1.0, places)


def told_apart(logits: ClassLogits, places: Float[Array, "b n hp wp"], twins: Bool[Array, "b n n"]) -> ClassLogits:
    """Logits in which objects that are expected at a pixel have more of what they and their look-alikes have there together.

    Args:
      logits: [b, h, w, n + 1], background first.
      places: `expected_places`.
      twins: which objects look alike; each looks like itself.
    """
    _, height, width, _ = logits.shape
    likely = crop_padding(upsample(jnp.moveaxis(places, 1, -1), PRIOR_STRIDE), (height, width), height_axis=1)
    objects, weights = logits[..., 1:], likely + UNEXPECTED
    shares, together = jax.nn.softmax(objects, axis=-1), twins.astype(jnp.float32)
    before, after = (jnp.einsum("bnm,byxm->byxn", together, x, precision=HIGHEST) for x in (shares, shares * weights))
    changed = objects + jnp.log(weights * (before + TINY) / (after + TINY))
    # Where looks are not transitive, groups overlap; what all objects have together stays in any case.
    total = [jax.nn.logsumexp(x, axis=-1, keepdims=True) for x in (objects, changed)]
    return jnp.concatenate([logits[..., :1], changed + total[0] - total[1]], axis=-1)


def look_alikes(tracks: Tracks) -> Bool[Array, "b n n"]:
    """Which objects look alike; each looks like itself, and one that was not seen yet like no other."""
    unit = tracks.looks / jnp.maximum(jnp.linalg.norm(tracks.looks, axis=-1, keepdims=True), TINY)
    cosine = jnp.einsum("bnd,bmd->bnm", unit, unit, precision=HIGHEST)
    return (cosine > ALIKE) | jnp.eye(cosine.shape[-1], dtype=jnp.bool_)[None]


def followed(
    tracks: Tracks,
    displacement: Float[Array, "b hc wc 2"],
    semantic: Float[Array, "b hc wc d"],
    masks: ObjectMasks,
    *,
    given: Bool[Array, ""] | bool,
) -> Tracks:
    """The tracks after a frame.

    Args:
      tracks: before it.
      displacement: the MU-Layer's, of the frame against the one before, [b, h', w', 2].
      semantic: F_s of the frame, [b, h', w', d].
      masks: of the frame, [b, n, h, w].
      given: whether masks were given in it: they may say that an object is elsewhere, or smaller, than it was taken for.
    """
    now = stride_4_means(masks)
    size = area(now)
    shows = size >= HIDDEN * tracks.areas
    usual = jnp.where(jnp.asarray(given) & (size > 0), size, jnp.maximum(size, FORGET * tracks.areas))
    # The first frame has no frame before it.
    counts = shows & (tracks.areas > 0) & ~jnp.asarray(given)
    frames = tracks.frames + counts.astype(jnp.float32)
    share = jnp.where(counts, jnp.maximum(NEWEST, 1 / jnp.maximum(frames, 1.0)), 0.0)[..., None]
    own = velocity(displacement, now) - camera(displacement, now)
    seen = (jnp.asarray(given) & (size > 0))[..., None]
    looks = jnp.where(seen, mean_over(semantic, now), tracks.looks)
    return Tracks(usual, (1 - share) * tracks.velocity + share * own, frames, looks)


def area(places: Float[Array, "b n hp wp"]) -> Float[Array, "b n"]:
    """In pixels."""
    return PRIOR_STRIDE**2 * jnp.sum(places, axis=(2, 3))


def velocity(displacement: Float[Array, "b hc wc 2"], places: Float[Array, "b n hp wp"]) -> Float[Array, "b n 2"]:
    """Mean over an object's places, (x, y) in pixels a frame; 0 of an object that does not show."""
    return -STRIDE * mean_over(displacement, places)  # the displacement says where a place was


def mean_over(features: Float[Array, "b hc wc d"], places: Float[Array, "b n hp wp"]) -> Float[Array, "b n d"]:
    """Mean of stride-16 features over each object's places; 0 of an object that does not show."""
    weights, features = cell_means(places), features.astype(jnp.float32)
    total = jnp.einsum("bnyx,byxd->bnd", weights, features, precision=HIGHEST)
    return total / jnp.maximum(jnp.sum(weights, axis=(2, 3)), 1e-3)[..., None]


def camera(displacement: Float[Array, "b hc wc 2"], places: Float[Array, "b n hp wp"]) -> Float[Array, "b 1 2"]:
    """The velocity of what is no object."""
    return velocity(displacement, 1 - jnp.clip(jnp.sum(places, axis=1, keepdims=True), 0.0, 1.0))


def moved(places: Float[Array, "b n hp wp"], by: Float[Array, "b n 2"]) -> Float[Array, "b n hp wp"]:
    """Each object's places, moved by (x, y) pixels, and spread a little; bilinear, 0 from outside the frame."""
    rows, columns = places.shape[2:]
    along_y, along_x = (
        weights_of_shift(size, by[..., axis] / PRIOR_STRIDE) for size, axis in ((rows, 1), (columns, 0))
    )
    return jnp.einsum("bnYy,bnyx,bnXx->bnYX", along_y, places, along_x, precision=HIGHEST)


def weights_of_shift(size: int, by: Float[Array, "b n"]) -> Float[Array, "b n s s"]:
    """out[..., i, j]: how much place j of an axis gives to place i, where all move by `by` places and are spread."""
    places = jnp.arange(size, dtype=jnp.float32)
    distance = (places[:, None] - places[None])[None, None] - by[..., None, None]
    steps = jnp.arange(len(SPREAD), dtype=jnp.float32) - len(SPREAD) // 2
    bilinear = jnp.maximum(1 - jnp.abs(distance[..., None] - steps[None, None, None, None]), 0.0)
    return jnp.sum(jnp.array(SPREAD)[None, None, None, None] * bilinear, axis=-1)
