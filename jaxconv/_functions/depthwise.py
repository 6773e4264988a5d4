"""Convolutions that keep channels apart, and those that mix them afterwards."""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._parameters import check_array
from .axes import Axes, Padding
from .forms import convolve, dimension_numbers
from .options import Options


def depthwise_conv(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Axes = 1,
    padding: Padding = "VALID",
    *,
    rhs_dilation: Axes = 1,
    layout: str | None = None,
    bias: ArrayLike | None = None,
    padding_mode: str = "zeros",
    **options: Unpack[Options],
) -> jax.Array:
    """Convolution of each channel by itself, along one to three axes.

    Args:
      lhs: (N, *spatial, C), or one image without N.
      rhs: (*taps, 1, C * multiplier), the kernel that lax, flax and (as (C * multiplier, 1, *taps) with channels first)
        PyTorch use: results c * multiplier to (c + 1) * multiplier - 1 are those of channel c. TensorFlow's
        (*taps, C, multiplier) is `rhs.reshape(*taps, 1, C * multiplier)`.
      layout: as in `conv1d`, `conv2d`, `conv3d`, by the rank of rhs; None is channels last.
      The rest as in `conv2d`.

    Returns:
      (N, *spatial_out, C * multiplier) in the layout of lhs, without N where lhs had none.

    Raises:
      ValueError: for a kernel of another shape.
      TypeError, ValueError: as `conv2d`.

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.depthwise_conv(jnp.ones((8, 32, 32, 16)), jnp.ones((3, 3, 1, 32)), 2, "SAME").shape
    (8, 16, 16, 32)
    """
    function = "depthwise_conv"
    ndim, layout = _ndim_and_layout(function, "rhs", rhs, layout)
    groups = _channels(function, "rhs", ndim, layout, lhs, rhs)
    return convolve(
        ndim, lhs, rhs, window_strides, padding, rhs_dilation, groups, layout, bias, padding_mode, options, function
    )


def separable_conv(
    lhs: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    window_strides: Axes = 1,
    padding: Padding = "VALID",
    *,
    rhs_dilation: Axes = 1,
    layout: str | None = None,
    bias: ArrayLike | None = None,
    padding_mode: str = "zeros",
    **options: Unpack[Options],
) -> jax.Array:
    """Convolution of each channel by itself, then of all channels at each position (F. Chollet, Xception, CVPR 2017).

    Args:
      lhs: (N, *spatial, C), or one image without N.
      depthwise: (*taps, 1, C * multiplier), as in `depthwise_conv`.
      pointwise: (1, .., 1, C * multiplier, O), or (O, C * multiplier, 1, .., 1) with channels first, same dtype.
      bias: (O,).
      options: of both convolutions: an algorithm has to be one that can do both. With a preferred_element_type, the
        result of the first is of that type and pointwise is converted to it, so that nothing is rounded in between.
      The rest as in `depthwise_conv`, for the first convolution.

    Returns:
      (N, *spatial_out, O) in the layout of lhs, without N where lhs had none.

    Raises:
      ValueError: for kernels of other shapes.
      TypeError, ValueError: as `conv2d`.

    >>> import jax.numpy as jnp, jaxconv
    >>> depthwise, pointwise = jnp.ones((3, 3, 1, 16)), jnp.ones((1, 1, 16, 24))
    >>> jaxconv.separable_conv(jnp.ones((8, 32, 32, 16)), depthwise, pointwise, padding="SAME").shape
    (8, 32, 32, 24)
    """
    function = "separable_conv"
    ndim, layout = _ndim_and_layout(function, "depthwise", depthwise, layout)
    groups = _channels(function, "depthwise", ndim, layout, lhs, depthwise)
    _, kernel, _ = dimension_numbers(function, ndim, layout, lhs, pointwise, "pointwise")
    if any(size != 1 for size, letter in zip(np.shape(pointwise), kernel, strict=True) if letter not in "IO"):
        raise ValueError(
            f"separable_conv pointwise ({kernel}) must have one tap along each axis, got {np.shape(pointwise)}"
        )
    apart = convolve(
        ndim, lhs, depthwise, window_strides, padding, rhs_dilation, groups, layout, None, padding_mode, options,
        function,
    )  # fmt: skip
    given = jnp.result_type(pointwise)
    # A type other than that of depthwise is an error, which lax words; the same one may be weak and stays so.
    if given == jnp.result_type(depthwise) and given != apart.dtype:
        pointwise = jnp.asarray(pointwise, apart.dtype)
    return convolve(ndim, apart, pointwise, 1, "VALID", 1, 1, layout, bias, "zeros", options, function)


def _channels(function: str, name: str, ndim: int, layout: str, lhs: ArrayLike, rhs: ArrayLike) -> int:
    """Channels of lhs, checked that rhs, the argument of this name, is a kernel that keeps them apart."""
    _, kernel, _ = dimension_numbers(function, ndim, layout, lhs, rhs, name)
    channels = np.shape(lhs)[layout.index("C") - len(layout)]  # counted from the end: N may not be there
    inputs, outputs = (np.shape(rhs)[kernel.index(letter)] for letter in "IO")
    if inputs != 1 or channels == 0 or outputs % channels:
        raise ValueError(
            f"{function} {name} ({kernel}) must have I = 1 and O a multiple of the {channels} channels of lhs "
            f"({layout}), got the shapes {np.shape(rhs)} and {np.shape(lhs)}"
        )
    return channels


def _ndim_and_layout(function: str, name: str, rhs: ArrayLike, layout: str | None) -> tuple[int, str]:
    """Spatial axes by the rank of the kernel, and channels last unless the layout says otherwise."""
    check_array(f"{function} {name}", rhs)
    ndim = np.ndim(rhs) - 2
    if not 1 <= ndim <= 3:
        raise ValueError(f"{function} needs a kernel of rank 3, 4 or 5, got the shape {np.shape(rhs)}")
    return ndim, f"N{'DHW'[3 - ndim :]}C" if layout is None else layout
