"""Winograd's form of a 3x3 convolution, for kernels that were transformed beforehand: fewer multiplications.

F(m x m, 3x3) of Lavin and Gray (2016), m = 4 or 2: the map is cut into tiles of m + 2 by m + 2 that overlap by two; a tile is
transformed to as many numbers per channel, each of which is one matrix product over the channels, and transformed back to
m x m outputs. That is a quarter (m = 4) or 4/9 (m = 2) of the multiplications. The result is that of the direct convolution up
to rounding, about 10 times as large with m = 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float

COLLECTION, NAME = "winograd", "kernel"  # of the variables where a convolution looks for its transformed kernel
# Below that many channels, in or out, the transforms cost more than the products save.
LEAST_CHANNELS = 48
# With fewer tiles its products are too flat for two cores, unless they are this wide.
LEAST_TILES, WIDE = 300, 256

Rows = tuple[tuple[float, ...], ...]


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


def transform_kernel(kernel: Float[Array, "3 3 i o"], form: Form = F4) -> Transformed:
    """What `winograd_convolution` takes."""
    both = np.kron(form.to_kernel, form.to_kernel).astype(np.float32)  # along rows and along columns: [s * s, 9]
    flat = jnp.dot(both, kernel.astype(jnp.float32).reshape(9, -1), precision="highest")
    side = len(form.to_input)
    return flat.reshape(side, side, *kernel.shape[2:])


def winograd_convolution(x: FeatureMap, kernel: Transformed) -> AnyMap:
    """Stride 1, zero padding, output of the input's size: [b, h, w, i] -> [b, h, w, o]."""
    b, h, w, _ = x.shape
    form = FORMS[kernel.shape[0]]
    tile, (rows, columns) = form.tile, tiles_of(x, form)
    padded = jnp.pad(x, ((0, 0), (1, rows * tile + 1 - h), (1, columns * tile + 1 - w), (0, 0)))
    products = [
        [_product(part, kernel[i, j]) for j, part in enumerate(parts)]
        for i, parts in enumerate(_input_tiles(padded, rows, columns, form))
    ]
    halfway = [[combine(row, column) for column in zip(*products, strict=True)] for row in form.to_output]
    outputs = [jnp.stack([combine(row, tiles) for row in form.to_output], axis=3) for tiles in halfway]
    # [b, rows, m, columns, m, o]: the tiles side by side again. As a map of its own: whoever uses it would else find out for
    # each entry which of the m * m outputs it is.
    joined = jax.lax.optimization_barrier(jnp.stack(outputs, axis=2))
    return joined.reshape(b, rows * tile, columns * tile, -1)[:, :h, :w]


def tiles_of(x: FeatureMap, form: Form) -> tuple[int, int]:
    """Rows and columns of tiles that cover a map."""
    return -(-x.shape[1] // form.tile), -(-x.shape[2] // form.tile)


def pays(x: FeatureMap, kernel: Transformed) -> bool:
    """Whether a map is large enough for a transformed kernel to be the quicker way."""
    rows, columns = tiles_of(x, FORMS[kernel.shape[0]])
    return x.shape[0] * rows * columns >= LEAST_TILES or min(kernel.shape[2:]) >= WIDE


def _input_tiles(padded: Array, rows: int, columns: int, form: Form) -> list[list[Array]]:
    """The s * s transformed maps [b, rows, columns, i]; entry (k, l) of all tiles is every m-th row and column from k and l."""
    tile = form.tile

    def entries(x: Array, axis: int, count: int) -> list[Array]:
        last = (count - 1) * tile + 1
        return [jax.lax.slice_in_dim(x, k, k + last, tile, axis) for k in range(tile + 2)]

    by_rows = entries(padded, 1, rows)
    return [
        [combine(row, entries(combine(across, by_rows), 2, columns)) for row in form.to_input]
        for across in form.to_input
    ]


def _product(x: Array, kernel: Array) -> Array:
    """As a plain product of matrices: XLA's CPU compiler is slower with one that has more axes, or with all in one."""
    flat = jnp.dot(x.reshape(-1, x.shape[-1]), kernel)
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])


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
