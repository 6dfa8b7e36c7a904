"""MUNet (paper Fig. 2): one query frame, its neighbour, and a memory of frames with their masks."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import (
    AnyMap,
    Array,
    Bool,
    ClassLogits,
    ClipBatch,
    Float,
    FrameBatch,
    Inside,
    ObjectMasks,
    ObjectValid,
)
from munet_jax.models.aggregation import crop_padding, object_probabilities, soft_aggregation
from munet_jax.models.decoder import Decoder, Skips, per_object
from munet_jax.models.encoders import LightReferenceEncoder, QueryEncoder, QueryFeatures, ReferenceEncoder
from munet_jax.models.fusion import Fusion
from munet_jax.models.memory import Bank, KeyValue, Matcher, MemoryBank, init_bank, write
from munet_jax.models.motion_prior import motion_prior
from munet_jax.models.mu_layer import Motion, MULayer


class Encoded(NamedTuple):
    """A frame after Enc-Q: its features, and the reduced feature that the next frame's MU-Layer will want."""

    features: QueryFeatures
    reduced: AnyMap


class Query(NamedTuple):
    """A query frame ready to be matched: everything that does not depend on the memory or on an object."""

    key: Float[Array, "b h w k"]
    value: Float[Array, "b h w v"]
    skips: Skips
    motion: Motion
    attention: Float[Array, "b h w 1"]
    semantic: AnyMap | None  # F_s, where Enc-R takes it


class MUNet(nn.Module):
    """The network, in the parts of the paper's figure.

    Attributes:
      query_encoder: Enc-Q.
      reference_encoder: Enc-R.
      mu_layer: cost volume, displacement, uncertainty, motion feature.
      fusion: MSAM or one of its alternatives.
      query_embedding: key and value of the fused query feature.
      memory_embedding: key and value of Enc-R's feature; without a key of its own, memory keeps the query's key.
      matcher: space-time memory read.
      decoder: masks from what was read.
    """

    query_encoder: QueryEncoder
    reference_encoder: ReferenceEncoder | LightReferenceEncoder
    mu_layer: MULayer
    fusion: Fusion
    query_embedding: KeyValue
    memory_embedding: KeyValue
    matcher: Matcher
    decoder: Decoder

    def encode(self, frames: FrameBatch, inside: Inside | None = None) -> Encoded:
        """Enc-Q, once per frame: [b, h, w, 3] of any size, padded to a multiple of 16.

        `inside` is where the picture lies in frames that were padded already: what is around it counts as padding.
        """
        features = self.query_encoder(frames, inside)
        return Encoded(features, self.mu_layer.reduce(features.res4))

    def query(self, frame: Encoded, previous: AnyMap, inside: Inside | None = None) -> Query:
        """Motion against the neighbouring frame (its reduced feature), fusion, key and value, decoder skips."""
        motion = self.mu_layer(frame.reduced, previous, inside)  # Sec. 3.2
        fused, attention = self.fusion(frame.features.res4, motion.feature)  # Eq. 3
        key, value = self.query_embedding(fused)
        return Query(key, value, self.decoder.skips(frame.features), motion, attention, self.semantic(frame))

    def semantic(self, frame: Encoded) -> AnyMap | None:
        """What a frame's memory will want of Enc-Q beside its key: F_s, or nothing (the paper's Enc-R)."""
        return frame.features.res4 if self.reference_encoder.takes_semantic else None

    def first_key(self, frame: Encoded) -> Float[Array, "b h w k"]:
        """Query key of a frame that has no frame before it: it is its own neighbour."""
        return self.query(frame, frame.reduced).key

    def match(self, query: Query, bank: Bank, objects: ObjectValid, previous_masks: ObjectMasks) -> ClassLogits:
        """Read the memory, decode each object, aggregate: `read` and `decode` in one.

        Args:
          query: one query frame.
          bank: the memory.
          objects: which slots hold an object.
          previous_masks: of the frame before, [b, n, h, w] at the frame's size; used where the decoder has a motion prior.

        Returns:
          logits [b, h, w, n + 1].
        """
        matched, _ = self.read(query, bank)
        return self.decode(query, matched, objects, previous_masks)

    def read(self, query: Query, bank: Bank, *, chunk: int = 0) -> tuple[Float[Array, "b n hs ws e"], Bank]:
        """What the memory has for each object, and the memory after the read; `chunk` positions at a time, 0 for all."""
        return self.matcher(bank, query.key, query.value, chunk=chunk)

    def decode(
        self,
        query: Query,
        matched: Float[Array, "b n hs ws e"],
        objects: ObjectValid,
        previous_masks: ObjectMasks,
        *,
        chunk: int = 0,
    ) -> ClassLogits:
        """Masks of all objects from what was read, `chunk` objects at a time (0 for all), and their aggregation."""
        n = matched.shape[1]
        prior = motion_prior(query.motion.weights, previous_masks) if self.decoder.motion_prior else None
        channels = [
            self.decoder(matched[:, part], query.skips, None if prior is None else prior[:, part])
            for part in parts_of(n, chunk)
        ]
        height, width = previous_masks.shape[2:]
        together = jnp.concatenate(channels, axis=1)
        return soft_aggregation(crop_padding(together, (height, width), height_axis=2), objects)

    def memorise(
        self,
        frames: FrameBatch,
        masks: ObjectMasks,
        query_key: Float[Array, "b h2 w2 k"],
        semantic: AnyMap | None = None,
        *,
        inside: Inside | None = None,
        chunk: int = 0,
    ) -> tuple[Float[Array, "b n p k"], Float[Array, "b n p v"]]:
        """Enc-R and memory embedding: a frame, its masks and its query key -> keys and values of p = h' * w' positions.

        `semantic` is what the method of that name gives; `inside` is as for `encode`; `chunk` objects at a time, 0 for all.
        """
        keys, values = [], []
        for part in parts_of(masks.shape[1], chunk):
            b, n = masks[:, part].shape[:2]
            key, value = self.memory_embedding(self.reference_encoder(frames, masks[:, part], inside, semantic))
            if key is None:
                key = per_object(query_key, n)
            keys.append(key.reshape(b, n, -1, key.shape[-1]))
            values.append(value.reshape(b, n, -1, value.shape[-1]))
        return jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1)

    def __call__(
        self,
        frames: ClipBatch,
        masks: ObjectMasks,
        objects: ObjectValid,
        *,
        memory: str = "reference",
        hinted: Bool[Array, "b s"] | None = None,
    ) -> Float[Array, "b s h w c"]:
        """Training: segment frames 1.. of a clip, given frame 0's masks.

        Args:
          frames: [b, t, h, w, 3].
          masks: frame 0's objects, one-hot [b, n, h, w].
          objects: which slots hold an object.
          memory: 'reference' remembers frame 0 only; 'sequential' also each predicted frame.
          hinted: which query frames are given the motion prior, where the decoder has one; the others get an empty one, so
            that the network learns to do without. None is all.

        Returns:
          logits [b, t - 1, h, w, n + 1].
        """
        b, t, h, w, _ = frames.shape
        encoded = self.encode(frames.reshape(b * t, h, w, 3))
        query = self.query(*clip_neighbours(encoded, b, t))
        room = 1 if memory == "reference" else t - 1
        bank = self._first_memory(frames[:, 0], masks, objects, first_of_clips(encoded, b, t), room)
        if memory == "reference":
            return self._match_together(query, bank, objects, masks)
        hinted = jnp.ones((b, t - 1), jnp.bool_) if hinted is None else hinted
        return self._match_in_turn(query, bank, objects, masks, frames[:, 1:], hinted)

    def _first_memory(
        self, frame: FrameBatch, masks: ObjectMasks, objects: ObjectValid, encoded: Encoded, room: int
    ) -> MemoryBank:
        key, value = self.memorise(frame, masks, self.first_key(encoded), self.semantic(encoded))
        b, n, p, k = key.shape
        bank = init_bank(b, n, room, p, key_dim=k, value_dim=value.shape[-1], dtype=key.dtype)
        return write(bank, key, value, objects, 0)

    def _match_together(
        self, query: Query, bank: MemoryBank, objects: ObjectValid, masks: ObjectMasks
    ) -> Float[Array, "b s h w c"]:
        """All query frames [b * s, ...] against the same memory: each clip's bank serves its s frames."""
        assert not self.decoder.motion_prior, "a motion prior needs the masks of the frame before: memory='sequential'"
        b = objects.shape[0]
        s = query.key.shape[0] // b
        per_query = MemoryBank(*[jnp.repeat(part, s, axis=0) for part in bank])
        logits = self.match(query, per_query, jnp.repeat(objects, s, axis=0), jnp.repeat(masks, s, axis=0))
        return logits.reshape(b, s, *logits.shape[1:])

    def _match_in_turn(
        self,
        query: Query,
        bank: MemoryBank,
        objects: ObjectValid,
        masks: ObjectMasks,
        frames: ClipBatch,
        hinted: Bool[Array, "b s"],
    ) -> Float[Array, "b s h w c"]:
        """Frame by frame: each predicted mask goes into memory before the next frame asks."""
        b, s = frames.shape[:2]
        Memory = tuple[MemoryBank, Array]

        def step(model: MUNet, memory: Memory, inputs: tuple[Query, Array, Array, Array]) -> tuple[Memory, Array]:
            (bank, masks), (frame_query, frame, index, hint) = memory, inputs
            logits = model.match(frame_query, bank, objects, jnp.where(hint[:, None, None, None], masks, 0.0))
            masks = object_probabilities(logits)
            key, value = model.memorise(frame, masks, frame_query.key, frame_query.semantic)
            # The last frame's memory has nobody to read it and no slot: it falls on the last slot, after its last use.
            slot = jnp.minimum(index + 1, s - 1)
            return (write(bank, key, value, objects, slot), masks), logits

        # Unrolled: a clip is short, and XLA's CPU convolutions are 6 times slower inside a while loop (measured).
        scan = nn.scan(
            step,
            variable_broadcast=("params", "batch_stats"),
            split_rngs={"params": False},
            in_axes=0,
            out_axes=1,
            unroll=s,
        )
        turns = (by_time(query, b, s), jnp.moveaxis(frames, 1, 0), jnp.arange(s), hinted.T)
        return scan(self, (bank, masks), turns)[1]


def parts_of(n: int, chunk: int) -> list[slice]:
    """Slices of at most `chunk` of n object slots; 0 is all in one."""
    size = chunk or n
    return [slice(first, first + size) for first in range(0, n, size)]


def first_of_clips(encoded: Encoded, b: int, t: int) -> Encoded:
    """Frame 0 of each clip, of [b * t, ...] maps."""
    return jax.tree.map(lambda x: x.reshape(b, t, *x.shape[1:])[:, 0], encoded)


def clip_neighbours(encoded: Encoded, b: int, t: int) -> tuple[Encoded, AnyMap]:
    """Frames 1..t-1 of each clip, and the reduced feature of the frame before each: [b * (t - 1), ...]."""

    def frames(x: Array, first: int, last: int) -> Array:
        return x.reshape(b, t, *x.shape[1:])[:, first:last].reshape(b * (t - 1), *x.shape[1:])

    return jax.tree.map(lambda x: frames(x, 1, t), encoded), frames(encoded.reduced, 0, t - 1)


def by_time(query: Query, b: int, s: int) -> Query:
    """[b * s, ...] maps -> [s, b, ...], the order of a scan over time."""

    def move(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(b, s, *x.shape[1:]), 1, 0)

    return jax.tree.map(move, query)
