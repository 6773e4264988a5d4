"""Convolution with other weights at each output position: locally connected layers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .arrays import as_array
from .patches import conv_general_dilated_patches


def conv_general_dilated_local(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    filter_shape: Sequence[int],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
) -> jax.Array:
    """Convolution with unshared weights: `lax.conv_general_dilated_local`.

    Args:
      lhs: image, rank n + 2.
      rhs: weights, rank n + 2: in place of a kernel's spatial axes those of the output, and as input channels those of
        `conv_general_dilated_patches`, C * prod(filter_shape).
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, precision: as in `conv_general_dilated`.
      filter_shape: n positive integers, the window's taps, in the order of the spatial axes of a kernel.

    Returns:
      Rank n + 2, in the layout of a convolution's output, of the dtype that `lax.dot_general` gives the operands.

    Raises:
      ValueError: if the shape of `rhs` is not that of such weights.
      TypeError, ValueError: whatever lax's convolution raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, weights = jnp.ones((1, 2, 6, 6)), jnp.ones((5, 2 * 3 * 3, 4, 4))
    >>> jaxconv.conv_general_dilated_local(image, weights, (1, 1), "VALID", (3, 3)).shape
    (1, 5, 4, 4)
    """
    lhs = as_array("conv_general_dilated_local lhs", lhs)
    rhs = as_array("conv_general_dilated_local rhs", rhs)
    windows = (window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers)
    patches = conv_general_dilated_patches(lhs, filter_shape, *windows)
    numbers = lax.conv_dimension_numbers(lhs.shape, (1, 1, *filter_shape), dimension_numbers)
    image, kernel = numbers.out_spec, numbers.rhs_spec
    needed = {axis: patches.shape[at] for axis, at in zip(kernel[1:], image[1:], strict=True)}
    if rhs.ndim != lhs.ndim or any(rhs.shape[axis] != size for axis, size in needed.items()):
        shape = ", ".join(str(needed.get(axis, "any")) for axis in range(lhs.ndim))
        raise ValueError(f"conv_general_dilated_local rhs must have shape ({shape}), got {rhs.shape}")

    # Each position has weights of its own, which is as many groups as there are positions in a convolution of patches
    # with a kernel of one tap. Algorithms for convolutions have nothing to add to that: no element of rhs is used for
    # two positions. It is one product of matrices [N, C * K] and [C * K, O] for each position.
    dimensions = ((image[1:2], kernel[1:2]), (image[2:], kernel[2:]))
    out = lax.dot_general(patches, rhs, dimensions, precision=precision)  # [*S', N, O]
    return jnp.moveaxis(out, range(out.ndim), (*image[2:], *image[:2]))
