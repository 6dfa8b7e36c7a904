"""What makes inference faster on CPUs: wide 3x3 convolutions in Winograd's form, with kernels that were transformed beforehand.

The network itself knows nothing of it: `with_transformed_kernels` adds a collection to its variables, and inside
`winograd_convolutions()` every convolution that finds its kernel there is computed in that form.

F(m x m, 3x3) of Lavin and Gray (2016), m = 4 or 2: the map is cut into tiles of m + 2 by m + 2 that overlap by two; a tile is
transformed to as many numbers per channel, each of which is one matrix product over the channels, and transformed back to
m x m outputs. That is a quarter (m = 4) or 4/9 (m = 2) of the multiplications. The result is that of the direct convolution up
to rounding, about 10 times as large with m = 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float
from munet_jax.models import MUNet
from munet_jax.models.convolution import Conv

COLLECTION, NAME = "winograd", "kernel"  # of the variables where a convolution's transformed kernel is
# Below that many channels, in or out, the transforms cost more than the products save.
LEAST_CHANNELS = 128
# With fewer tiles its products have too few rows for two cores, unless there are this many channels.
LEAST_TILES, MANY_CHANNELS = 300, 256

Rows = tuple[tuple[float | int, ...], ...]


class Form(NamedTuple):
    """Rows of the transforms of the input, the kernel and the output."""

    to_input: Rows
    to_kernel: Rows
    to_output: Rows

    @property
    def tile(self) -> int:
        """Outputs of a tile, along each axis."""
        return len(self.to_output)


F4 = Form(
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)
F2 = Form(
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
)
# By the side of a transformed kernel.
FORMS = {len(form.to_input): form for form in (F2, F4)}
# Beginnings of the names of what works at stride 16, where maps are too small for F4.
STRIDE_16 = ("query_embedding", "memory_embedding", "entry", "res4_", "mix")

Transformed = Float[Array, "s s i o"]


def with_transformed_kernels(model: MUNet, variables: Mapping[str, Any]) -> dict[str, Any]:
    """`variables` with the transformed kernels of wide 3x3 convolutions; as they are unless the network computes in f32."""
    if model.decoder.dtype != jnp.float32:
        return dict(variables)
    return {**variables, COLLECTION: _transform_all(variables["params"])}


def winograd_convolutions() -> Any:
    """A context in which convolutions of stride 1 whose transformed kernel is among the variables take Winograd's form."""
    return nn.intercept_methods(_intercept)


def _intercept(call: Callable[..., Any], arguments: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
    layer = context.module
    if type(layer) is not Conv or context.method_name != "__call__" or layer.stride != 1:
        return call(*arguments, **options)
    transformed = layer.get_variable(COLLECTION, NAME)
    x = arguments[0]
    if transformed is None or not pays(x, transformed):
        return call(*arguments, **options)
    y = winograd_convolution(x.astype(layer.dtype), transformed)
    return y + layer.get_variable("params", "bias")[None, None, None] if layer.use_bias else y


def transform_kernel(kernel: Float[Array, "3 3 i o"], form: Form = F4) -> Transformed:
    """What `winograd_convolution` takes: entry (k, l) is of the k-th number along columns and the l-th along rows."""
    both = np.kron(form.to_kernel, form.to_kernel).astype(np.float32)  # along columns and along rows: [s * s, 9]
    turned = jnp.swapaxes(kernel, 0, 1).astype(jnp.float32)
    side = len(form.to_input)
    return jnp.dot(both, turned.reshape(9, -1), precision="highest").reshape(side, side, *kernel.shape[2:])


def winograd_convolution(x: FeatureMap, kernel: Transformed) -> AnyMap:
    """Stride 1, zero padding, output of the input's size: [b, h, w, i] -> [b, h, w, o].

    One axis at a time, and each stage as a map of its own: fused, every number would be computed from up to 36 others in programs
    that take XLA's CPU compiler seconds each.
    """
    b, h, w, _ = x.shape
    form = FORMS[kernel.shape[0]]
    tile, (rows, columns) = form.tile, tiles_of(x, form)
    padded = jnp.pad(x, ((0, 0), (1, rows * tile + 1 - h), (1, columns * tile + 1 - w), (0, 0)))
    by_rows = _transform(_every(padded, tile, axis=1, count=rows), form.to_input, axis=0)
    # [s, s, b, rows, columns, i]
    parts = _transform(_every(by_rows, tile, axis=3, count=columns), form.to_input, axis=0)
    products = jnp.einsum("klpi,klio->klpo", parts.reshape(*parts.shape[:2], -1, parts.shape[-1]), kernel)
    outputs = list(products.reshape(*parts.shape[:-1], -1))
    by_columns = _transform(outputs, form.to_output, axis=4)  # [s, b, rows, columns, m, o]
    joined = _transform(list(by_columns), form.to_output, axis=2)  # [b, rows, m, columns, m, o]
    return joined.reshape(b, rows * tile, columns * tile, -1)[:, :h, :w]


def _every(x: Array, tile: int, *, axis: int, count: int) -> list[Array]:
    """The k-th entry of all tiles along an axis, for each k: every m-th from k on."""
    last = (count - 1) * tile + 1
    return [jax.lax.slice_in_dim(x, k, k + last, tile, axis) for k in range(tile + 2)]


def _transform(terms: Sequence[Array], rows: Rows, *, axis: int) -> Array:
    """One weighted sum of the terms for each row, on a new axis; computed once, whatever uses it."""
    return jax.lax.optimization_barrier(jnp.stack([combine(row, terms) for row in rows], axis=axis))


def tiles_of(x: FeatureMap, form: Form) -> tuple[int, int]:
    """Rows and columns of tiles that cover a map."""
    return -(-x.shape[1] // form.tile), -(-x.shape[2] // form.tile)


def pays(x: FeatureMap, kernel: Transformed) -> bool:
    """Whether a map is large enough for a transformed kernel to be the quicker way."""
    rows, columns = tiles_of(x, FORMS[kernel.shape[0]])
    return x.shape[0] * rows * columns >= LEAST_TILES or min(kernel.shape[2:]) >= MANY_CHANNELS


def combine(factors: Sequence[float | int], terms: Sequence[Array]) -> Array:
    """Their weighted sum, without what is multiplied by 0."""
    kept = [(np.float32(factor), term) for factor, term in zip(factors, terms, strict=True) if factor]
    parts = [term if factor == 1 else term * jnp.asarray(factor, term.dtype) for factor, term in kept]
    return sum(parts[1:], parts[0])


def transformed_kernels(params: Mapping[str, Any], form: Form = F4) -> dict[str, Any]:
    """A collection of variables: the transformed kernel of every convolution of `params` that can use one.

    A convolution of stride 2 has one too, and leaves it unused: strides are not in the parameters.
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            inner = transformed_kernels(value, F2 if name.startswith(STRIDE_16) else form)
            if inner:
                found[name] = inner
        elif name == NAME and value.ndim == 4 and is_suited(value.shape):
            found[name] = transform_kernel(value, form)
    return found


def is_suited(shape: Sequence[int]) -> bool:
    """Whether a kernel [kh, kw, i, o] is 3x3 and wide."""
    return tuple(shape[:2]) == (3, 3) and min(shape[2:]) >= LEAST_CHANNELS


_transform_all = jax.jit(transformed_kernels)
