"""MUNet (paper Fig. 2): one query frame, its neighbour, and a memory of frames with their masks."""

from __future__ import annotations

from flax import linen as nn

from munet_jax.array_types import (
    AnyMap,
    Array,
    ClassLogits,
    Float,
    FrameBatch,
    ObjectMasks,
    ObjectValid,
)
from munet_jax.models.aggregation import soft_aggregation
from munet_jax.models.clip import segment_and_match, segment_clip
from munet_jax.models.decoder import Decoder, per_object
from munet_jax.models.encoders import LightReferenceEncoder, QueryEncoder, ReferenceEncoder, other_objects
from munet_jax.models.fusion import Fusion
from munet_jax.models.matcher import KeyValue, Matcher
from munet_jax.models.memory import Bank, MemoryFormat
from munet_jax.models.motion_prior import motion_prior
from munet_jax.models.mu_layer import MULayer
from munet_jax.models.object_chunks import over_objects
from munet_jax.models.padding import crop_padding
from munet_jax.models.query import Encoded, Query


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
      decoder: masks from the readout.
      object_chunk: objects that are decoded and memorised at a time; 0: all.
    """

    query_encoder: QueryEncoder
    reference_encoder: ReferenceEncoder | LightReferenceEncoder
    mu_layer: MULayer
    fusion: Fusion
    query_embedding: KeyValue
    memory_embedding: KeyValue
    matcher: Matcher
    decoder: Decoder
    object_chunk: int = 0

    @property
    def memory_format(self) -> MemoryFormat:
        """Channels and types of the keys and values that memory keeps."""
        embedding = self.query_embedding
        assert embedding.key_dim is not None
        key_dim = embedding.key_dim + (self.matcher.similarity == "l2")
        return MemoryFormat(key_dim, embedding.value_dim, embedding.key_dtype, embedding.dtype)

    def encode(self, frames: FrameBatch) -> Encoded:
        """Enc-Q, once per frame: [b, h, w, 3] of any size, padded to a multiple of 16."""
        features = self.query_encoder(frames)
        return Encoded(features, self.mu_layer.reduce(features.res4))

    def query(self, frame: Encoded, previous: AnyMap) -> Query:
        """Motion against the previous frame (its reduced feature), fusion, key and value, decoder skips."""
        motion = self.mu_layer(frame.reduced, previous)  # Eq. 1, Eq. 2, Sec. 3.2
        fused, attention = self.fusion(frame.features.res4, motion.feature)  # Eq. 3
        key, value = self.query_embedding(fused)
        semantic = frame.features.res4 if self.reference_encoder.takes_semantic else None
        return Query(key, value, self.decoder.skips(frame.features), motion, attention, semantic)

    def match(
        self, query: Query, bank: Bank, objects: ObjectValid, previous_masks: ObjectMasks
    ) -> tuple[ClassLogits, Bank]:
        """Read the memory, decode each object, aggregate: logits [b, h, w, n + 1], and the memory after the read.

        `objects` says which slots hold an object; the other arguments are those of `read_and_decode`.
        """
        channels, bank = self.read_and_decode(query, bank, previous_masks)
        return soft_aggregation(channels, objects), bank

    def read_and_decode(
        self, query: Query, bank: Bank, previous_masks: ObjectMasks
    ) -> tuple[Float[Array, "b n h w 2"], Bank]:
        """Read the memory and decode each object, as if there were no other.

        Args:
          query: one query frame.
          bank: the memory.
          previous_masks: of the previous frame, [b, n, h, w] at the frame's size; used where the decoder has a motion prior.

        Returns:
          Background and object channel of each slot, and the memory after the read.
        """
        matched, bank = self.matcher(bank, query.key, query.value)
        prior = motion_prior(query.motion.weights, previous_masks) if self.decoder.motion_prior else None
        channels = over_objects(self.object_chunk, lambda x, hint: self.decoder(x, query.skips, hint), matched, prior)
        height, width = previous_masks.shape[2:]
        return crop_padding(channels, (height, width), height_axis=2), bank

    def memorise(
        self,
        frames: FrameBatch,
        masks: ObjectMasks,
        query_key: Float[Array, "b h2 w2 k"],
        semantic: AnyMap | None = None,
        objects: ObjectValid | None = None,
    ) -> tuple[Float[Array, "b n p e"], Float[Array, "b n p v"]]:
        """Enc-R and memory embedding: a frame, its masks, query key and F_s -> keys and values of p = h' * w' positions.

        `objects` says which slots hold an object, for an Enc-R that is shown the others' masks; None: all.
        """
        # Of all objects, before they are worked on by parts.
        others = other_objects(masks, objects) if self.reference_encoder.others else None

        def embed(masks: ObjectMasks, others: ObjectMasks | None) -> tuple[Array, Array]:
            b, n = masks.shape[:2]
            key, value = self.memory_embedding(self.reference_encoder(frames, masks, semantic, others))
            key = per_object(query_key, n) if key is None else key
            key = self.matcher.remembered(key)
            return key.reshape(b, n, -1, key.shape[-1]), value.reshape(b, n, -1, value.shape[-1])

        return over_objects(self.object_chunk, embed, masks, others)

    __call__ = segment_clip  # training: frames 1.. of a clip, given frame 0's masks
    segment_and_match = segment_and_match  # the same where the motion is trained too
