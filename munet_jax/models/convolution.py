"""Convolutions whose weight gradient is fast on a CPU too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from munet_jax.array_types import AnyMap, Array, FeatureMap, Float

# Channels from which matrix products give the weight gradient; with fewer, the light network's step takes as long either way.
PRODUCTS = 16
# Channels from which a 1x1 convolution is quicker as a product of matrices.
POINTWISE = 32

_LAYOUT = ("NHWC", "HWIO", "NHWC")
Kernel = Float[Array, "kh kw i o"]


class Conv(nn.Module):
    """A square 2-D convolution with symmetric zero padding size // 2, as PyTorch pads, whatever the stride.

    Attributes:
      features: channels that come out.
      size: the side of its kernel.
      stride: of both axes.
      use_bias: whether it has one.
      dtype: compute dtype; parameters stay f32.
      kernel_init: what the kernel starts from.
    """

    features: int
    size: int
    stride: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: FeatureMap) -> AnyMap:
        """[b, h, w, i] -> [b, h / stride, w / stride, features]."""
        x = x.astype(self.dtype)
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = jnp.asarray(parameter(self, "kernel", self.kernel_init, shape), self.dtype)
        y = convolve(x, kernel, self.stride)
        if not self.use_bias:
            return y
        bias = parameter(self, "bias", nn.initializers.zeros_init(), (self.features,))
        return y + jnp.asarray(bias, self.dtype)[None, None, None]


def parameter(module: nn.Module, name: str, start: Callable[..., Array], shape: tuple[int, ...]) -> Any:
    """What `module.param(name, start, shape)` gives.

    That traces `start` at each call only to learn its shape, which was nearly half of the time that tracing
    took (the light network, profiled).
    """
    value = module.get_variable("params", name)
    return value if value is not None and value.shape == shape else module.param(name, start, shape)


def convolve(x: FeatureMap, kernel: Kernel, stride: int) -> AnyMap:
    """Zero padding of half the kernel; 1x1 and others of stride 1 with enough channels in the form that is fastest on a CPU."""
    if kernel.shape[:2] == (1, 1) and stride == 1 and kernel.shape[2] >= POINTWISE:
        return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])
    if min(kernel.shape[2:]) >= PRODUCTS and stride == 1:
        return same_convolution(x, kernel)
    return _lax_convolution(x, kernel, stride)


def _lax_convolution(x: Array, kernel: Array, stride: int = 1) -> Array:
    padding = [(size // 2, size // 2) for size in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT)


@jax.custom_vjp
def same_convolution(x: Float[Array, "b h w i"], kernel: Kernel) -> AnyMap:
    """Stride 1, odd kernel, output of the input's size: [b, h, w, i] -> [b, h, w, o].

    XLA's CPU weight gradient is slow: 1.4 s for [2, 100, 100, 256] -> 256 channels, where one matrix product per
    kernel position takes 0.3 s. Other devices keep XLA's own.
    """
    return _lax_convolution(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _lax_convolution(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (to_input,) = jax.linear_transpose(lambda v: _lax_convolution(v, kernel), x)(gradient)

    def by_products(x: Array, gradient: Array) -> Array:
        return weight_gradient_by_products(x, gradient, (kernel.shape[0], kernel.shape[1])).astype(kernel.dtype)

    def by_library(x: Array, gradient: Array) -> Array:
        return jax.linear_transpose(lambda v: _lax_convolution(x, v), kernel)(gradient)[0]

    return to_input, jax.lax.platform_dependent(x, gradient, cpu=by_products, default=by_library)


same_convolution.defvjp(_forward, _backward)


def weight_gradient_by_products(
    x: Float[Array, "b h w i"], gradient: Float[Array, "b h w o"], size: tuple[int, int]
) -> Kernel:
    """Gradient of a same-size convolution's kernel: for each kernel position, shifted input^T @ output gradient."""
    b, h, w, i = x.shape
    kh, kw = size
    padded = jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    flat = gradient.reshape(b * h * w, -1)

    def at(dy: int, dx: int) -> Array:
        shifted = padded[:, dy : dy + h, dx : dx + w].reshape(b * h * w, i)
        return jax.lax.dot_general(shifted, flat, (((0,), (0,)), ((), ())))

    return jnp.stack([jnp.stack([at(dy, dx) for dx in range(kw)]) for dy in range(kh)])
