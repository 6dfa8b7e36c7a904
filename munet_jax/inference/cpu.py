"""What makes inference faster: frozen norms folded into convolutions, and on CPUs wide 3x3 convolutions in Winograd's form.

The network itself knows nothing of it: `prepare` changes its variables once, before the first frame, and inside
`prepared_layers()` every layer whose variables were changed is computed in that form.

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
from munet_jax.inference.half import cast_parameters
from munet_jax.models import MUNet, efficientnet, resnet
from munet_jax.models.convolution import Conv
from munet_jax.models.resnet import FrozenBatchNorm

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


def prepare(model: MUNet, variables: Mapping[str, Any], *, transform: bool) -> dict[str, Any]:
    """Variables as inference computes with them; they are not to be trained further.

    Args:
      model: the network; its parameters are cast to what it computes in, and kernels transformed for f32 alone.
      variables: its parameters and statistics; what does not change is shared with the result.
      transform: whether to add the transformed kernels of wide 3x3 convolutions.
    """
    # Where `jax.default_device` says, also if they are on another device already.
    params = cast_parameters(model, fold_norms(variables)["params"])
    params = jax.device_put(params, jax.config.jax_default_device)  # type: ignore[attr-defined]
    if transform and model.decoder.dtype == jnp.float32:
        return {"params": params, COLLECTION: _transform_all(params)}
    return {"params": params}


def prepared_layers() -> Any:
    """A context in which folded norms add their shift, and convolutions with a transformed kernel take Winograd's form."""
    return nn.intercept_methods(_intercept)


def _intercept(call: Callable[..., Any], arguments: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
    layer = context.module
    if context.method_name != "__call__":
        return call(*arguments, **options)
    if type(layer) is FrozenBatchNorm and not layer.has_variable("params", "scale"):
        return arguments[0] + layer.get_variable("params", "bias")[None, None, None].astype(layer.dtype)
    transformed = layer.get_variable(COLLECTION, NAME) if type(layer) is Conv and layer.stride == 1 else None
    if transformed is None or not pays(arguments[0], transformed):
        return call(*arguments, **options)
    y = winograd_convolution(arguments[0].astype(layer.dtype), transformed)
    return y + layer.get_variable("params", "bias")[None, None, None] if layer.use_bias else y


def fold_norms(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables with no frozen norm left: kernels times factor, and of each norm its shift alone, as 'bias'.

    Those of a network without frozen norms are as they were. What changed is on the host: compiling this would take longer than
    the first frame.
    """
    folded = dict(variables)
    statistics = folded.pop("batch_stats", {})
    if not statistics:
        return dict(variables)
    params = variables["params"]
    normed = jax.tree.map(np.asarray, {name: params[name] for name in statistics})
    folded["params"] = {**params, **_fold(normed, jax.tree.map(np.asarray, statistics))}
    return folded


def _fold(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """A level of the tree and all below it."""
    folded = dict(params)
    for name, inner in statistics.items():
        if "bn" in inner:  # as `resnet.Norm` nests it
            factor, shift = _factor_and_shift(params[name]["bn"], inner["bn"], resnet.EPSILON)
            folded[name] = {"bn": {"bias": shift}}
        elif "mean" in inner:  # of EfficientNet
            factor, shift = _factor_and_shift(params[name], inner, efficientnet.EPSILON)
            folded[name] = {"bias": shift}
        else:
            folded[name] = _fold(params[name], inner)
            continue
        for partner in partners(name):
            if partner in params:
                folded[partner] = _scale(params[partner], factor)
    return folded


def _factor_and_shift(
    norm: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    factor = norm["scale"] / np.sqrt(statistics["var"] + np.float32(epsilon))
    return factor, norm["bias"] - statistics["mean"] * factor


def partners(norm: str) -> list[str]:
    """Names of what a norm comes after: 'expand_norm' of 'expand', 'norm1' of 'conv1' and of the masks' parts of it."""
    if norm.endswith("_norm"):
        return [norm.removesuffix("_norm")]
    before = norm.replace("norm", "conv")
    return [before, f"{before}_mask", f"{before}_others"]


def _scale(kernel: Any, factor: np.ndarray) -> Any:
    """A convolution's parameters, or a bare kernel, whose last axis is the outputs; `factor` is [d]."""
    if isinstance(kernel, Mapping):
        return {**kernel, "kernel": _scale(kernel["kernel"], factor)}
    return kernel * factor.reshape(*[1] * (kernel.ndim - 1), -1)


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
