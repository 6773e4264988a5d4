"""Convolutions in one, two and three dimensions as layers call them: one integer for all axes, a layout, a bias."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._conv import conv_general_dilated
from .._parameters import check_operands
from .axes import Axes, Padding, pads, per_axis
from .options import Options, check_options
from .padding_modes import extended


def conv1d(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Axes = 1,
    padding: Padding = "VALID",
    *,
    rhs_dilation: Axes = 1,
    feature_group_count: int = 1,
    layout: str = "NWC",
    bias: ArrayLike | None = None,
    padding_mode: str = "zeros",
    **options: Unpack[Options],
) -> jax.Array:
    """Convolution along one axis: `conv2d` with the layouts "NWC" (kernels WIO) and "NCW" (OIW).

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.conv1d(jnp.ones((2, 100, 3)), jnp.ones((5, 3, 4)), 2, "CAUSAL").shape
    (2, 50, 4)
    """
    return convolve(
        1, lhs, rhs, window_strides, padding, rhs_dilation, feature_group_count, layout, bias, padding_mode, options
    )


def conv2d(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Axes = 1,
    padding: Padding = "VALID",
    *,
    rhs_dilation: Axes = 1,
    feature_group_count: int = 1,
    layout: str = "NHWC",
    bias: ArrayLike | None = None,
    padding_mode: str = "zeros",
    **options: Unpack[Options],
) -> jax.Array:
    """Convolution along two axes.

    Args:
      lhs: images (N, H, W, C), or one image (H, W, C).
      rhs: kernel (kh, kw, C / feature_group_count, O), same dtype.
      window_strides: positive integer, or one for each axis.
      padding: "SAME", "SAME_LOWER", "VALID", "CAUSAL", one integer for all sides, or for each axis an integer or a pair
        (low, high); see `conv_with_padding_mode`.
      rhs_dilation: spacing of the taps: positive integer, or one for each axis.
      feature_group_count: groups of channels that do not mix.
      layout: "NHWC" or "NCHW"; with "NCHW", images are (N, C, H, W) and kernels (O, C / feature_group_count, kh, kw).
      bias: (O,), to add to the result, whose type is that of the convolution whatever the type of the bias.
      padding_mode: "zeros", "circular", "reflect" or "replicate"; see `conv_with_padding_mode`.
      options: precision, preferred_element_type, algorithm, accuracy, max_workspace_bytes; see `conv_general_dilated`.

    Returns:
      (N, H_out, W_out, O) in the layout of lhs, without N where lhs had none.

    Raises:
      ValueError: for ranks, layouts and a bias that do not fit.
      TypeError: for a bias of a wider type than the result's.
      TypeError, ValueError: as `conv_with_padding_mode`.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, kernel = jnp.ones((8, 32, 32, 3)), jnp.ones((3, 3, 3, 16))
    >>> jaxconv.conv2d(image, kernel, 2, "SAME", bias=jnp.zeros(16), algorithm="im2col").shape
    (8, 16, 16, 16)
    >>> jaxconv.conv2d(image[0], kernel, padding=1, padding_mode="reflect").shape
    (32, 32, 16)
    """
    return convolve(
        2, lhs, rhs, window_strides, padding, rhs_dilation, feature_group_count, layout, bias, padding_mode, options
    )


def conv3d(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Axes = 1,
    padding: Padding = "VALID",
    *,
    rhs_dilation: Axes = 1,
    feature_group_count: int = 1,
    layout: str = "NDHWC",
    bias: ArrayLike | None = None,
    padding_mode: str = "zeros",
    **options: Unpack[Options],
) -> jax.Array:
    """Convolution along three axes: `conv2d` with the layouts "NDHWC" (kernels DHWIO) and "NCDHW" (OIDHW).

    >>> import jax.numpy as jnp, jaxconv
    >>> volume, kernel = jnp.ones((1, 2, 8, 8, 8)), jnp.ones((4, 2, 3, 3, 3))
    >>> jaxconv.conv3d(volume, kernel, padding="SAME", layout="NCDHW").shape
    (1, 4, 8, 8, 8)
    """
    return convolve(
        3, lhs, rhs, window_strides, padding, rhs_dilation, feature_group_count, layout, bias, padding_mode, options
    )


def convolve(
    ndim: int,
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Axes,
    padding: Padding,
    rhs_dilation: Axes,
    feature_group_count: int,
    layout: str,
    bias: ArrayLike | None,
    padding_mode: str,
    options: Options,
    function: str = "",
) -> jax.Array:
    """What `conv1d`, `conv2d` and `conv3d` do alike. Errors name the function, if none is given one of these."""
    function = function or f"conv{ndim}d"
    check_options(function, options)
    numbers = dimension_numbers(function, ndim, layout, lhs, rhs)
    strides = per_axis(function, "window_strides", window_strides, ndim)
    pairs = pads(function, padding, ndim)
    arguments: dict[str, Any] = {
        "rhs_dilation": per_axis(function, "rhs_dilation", rhs_dilation, ndim),
        "dimension_numbers": numbers,
        "feature_group_count": feature_group_count,
    }

    def conv(lhs):
        lhs, left = extended(function, lhs, rhs, strides, pairs, padding_mode, **arguments)
        return conv_general_dilated(lhs, rhs, strides, left, **arguments, **options)

    return batched_with_bias(function, conv, lhs, layout, bias)


def batched_with_bias(
    function: str,
    conv: Callable[[ArrayLike], jax.Array],
    lhs: ArrayLike,
    layout: str,
    bias: ArrayLike | None,
    bias_layout: str = "C",
) -> jax.Array:
    """`conv` of lhs, with or without N, plus a bias for each output channel, or with the axes that its layout says."""
    batched = np.ndim(lhs) == len(layout)
    out = conv(lhs if batched else jnp.expand_dims(lhs, 0))
    if bias is not None:
        out += _broadcastable(function, jnp.asarray(bias), out, [layout.index(letter) for letter in bias_layout])
    return out if batched else out[0]


def dimension_numbers(
    function: str, ndim: int, layout: str, lhs: ArrayLike, rhs: ArrayLike, rhs_name: str = "rhs"
) -> tuple[str, str, str]:
    """Letters of lhs, rhs and result, as lax reads them, for arrays that have as many axes; lhs may lack N.

    >>> import jax.numpy as jnp
    >>> dimension_numbers("conv2d", 2, "NCHW", jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)))
    ('NCHW', 'OIHW', 'NCHW')
    """
    check_operands(lhs, rhs, function, rhs_name)
    space = "DHW"[3 - ndim :]
    kernels = {f"N{space}C": f"{space}IO", f"NC{space}": f"OI{space}"}
    if layout not in kernels:
        raise ValueError(f"{function} layout must be {' or '.join(map(repr, kernels))}, got {layout!r}")
    if np.ndim(lhs) not in (ndim + 1, ndim + 2) or np.ndim(rhs) != ndim + 2:
        raise ValueError(
            f"{function} takes lhs {layout}, with or without N, and {rhs_name} {kernels[layout]}, got the shapes "
            f"{np.shape(lhs)} and {np.shape(rhs)}"
        )
    return layout, kernels[layout], layout


def _broadcastable(function: str, bias: jax.Array, out: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The bias along these axes of the result, to be added without changing the result's type."""
    wanted = tuple(out.shape[axis] for axis in axes)
    if bias.shape != wanted:
        raise ValueError(f"{function} bias must have the shape {wanted}, got {bias.shape}")
    if jnp.result_type(out, bias) != out.dtype:
        if jnp.promote_types(out.dtype, bias.dtype) != out.dtype:
            raise TypeError(
                f"{function} bias must be of the result's type, {out.dtype}, or a narrower one, got {bias.dtype}"
            )
        bias = bias.astype(out.dtype)  # a weak type makes way for others, the result's is to stay
    return jnp.expand_dims(bias, [axis for axis in range(out.ndim) if axis not in axes])
