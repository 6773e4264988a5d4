"""Kernels: where their axes stand, and their values from a PRNG key.

A layer keeps its kernel as `jaxconv.conv2d` takes it: (*taps, in, out) where the input has its channels last,
(out, in, *taps) where it has them first. What is said about kernels apart from a layer is said channels last.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from numpy.typing import NDArray

# What the functions of `jax.nn.initializers` return: (key, shape, dtype) -> array.
Initializer = Callable[..., jax.Array]
Array = TypeVar("Array", jax.Array, NDArray)

lecun_normal: Initializer = jax.nn.initializers.lecun_normal()
zeros: Initializer = jax.nn.initializers.zeros


def channels_are_first(layout: str) -> bool:
    """NCHW, not NHWC."""
    return layout[1] == "C"


def to_layout(kernel: Array, layout: str) -> Array:
    """(*taps, in, out) as a layer of this layout keeps it."""
    rank = kernel.ndim
    return kernel.transpose(rank - 1, rank - 2, *range(rank - 2)) if channels_are_first(layout) else kernel


def from_layout(kernel: Array, layout: str) -> Array:
    """(*taps, in, out) of a kernel as a layer of this layout keeps it."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0) if channels_are_first(layout) else kernel


def group_inputs(kernel: jax.Array, layout: str) -> int:
    """Input channels of one group, of a kernel as a layer of this layout keeps it."""
    return kernel.shape[1 if channels_are_first(layout) else -2]


def blocks(initializer: Initializer, key: jax.Array, count: int, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """(count, *shape): independent kernels (*taps, in, out), of groups or of positions.

    Each is a convolution of its own and is drawn as one, so that an initialiser sees the fans that it has:
    taps * in and taps * out of one group.
    """
    return jax.vmap(lambda key: initializer(key, shape, dtype))(jax.random.split(key, count))


def draw(
    initializer: Initializer,
    key: jax.Array,
    taps: tuple[int, ...],
    inputs: int,
    outputs: int,
    groups: int,
    dtype: DTypeLike,
) -> jax.Array:
    """(*taps, inputs / groups, outputs)."""
    shape = (*taps, inputs // groups, outputs // groups)
    if groups == 1:
        return initializer(key, shape, dtype)
    drawn = jnp.moveaxis(blocks(initializer, key, groups, shape, dtype), 0, -2)  # (*taps, in, groups, out)
    return drawn.reshape(*shape[:-1], outputs)
