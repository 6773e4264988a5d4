"""Transposed convolution: the input spread out by the strides, then convolved.

It undoes the shapes of a convolution with the same kernel, strides and padding (p before, q after), and with the kernel
flipped and its channels swapped (`transpose_kernel`) it is that convolution's gradient by its input. Tap k of the
convolution takes input s to output (s + p - k) / stride; so here input s reaches outputs stride * s - p + k, which is a
convolution of the spread-out input by the flipped kernel. With K the extent of the dilated kernel its padding is

    K - 1 - p  before,    K - 1 - q + output_padding  after.

Several output sizes go with one input size n, as the convolution drops what is left over by its strides. lax takes
stride * n for "SAME" and stride * (n - 1) + max(K, stride) for "VALID", which makes (q is negative where the last
outputs are reached by no tap)

    "SAME":   p = max(K - stride, 0) // 2,    q = K - stride - p
    "VALID":  p = 0,                          q = min(K - stride, 0)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from .._conv import conv_general_dilated
from .._geometry import dilated
from .._layout import channels_last
from .._parameters import check_operands
from .axes import Axes, Padding, pairs, per_axis


def conv_transpose(
    lhs: ArrayLike,
    rhs: ArrayLike,
    strides: Axes,
    padding: Padding,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    use_consistent_padding: bool = False,
    *,
    output_padding: Axes = 0,
    feature_group_count: int = 1,
    algorithm: str | None = None,
    accuracy: str | None = None,
    max_workspace_bytes: int | None = None,
) -> jax.Array:
    """`lax.conv_transpose` with groups, PyTorch's output padding and a choice of algorithm.

    PyTorch's `conv_transpose2d(lhs, rhs, bias, stride, p, output_padding, groups, dilation)` is
    `conv_transpose(lhs, rhs, strides, p, rhs_dilation, ("NCHW", "OIHW", "NCHW"), transpose_kernel=True,
    use_consistent_padding=True, output_padding=output_padding, feature_group_count=groups)` plus the bias.

    Args:
      lhs: input, rank n + 2.
      rhs: kernel, rank n + 2, of the same dtype: that of the convolution of the spread-out input, in the default layout
        (*taps, C / groups, O); with `transpose_kernel` that of the convolution to transpose, (*taps, O / groups, C).
      strides: positive integer, or one for each axis: how far the inputs are spread out.
      padding: "SAME" (for each input as many results as the stride), "VALID" (all results that an input reaches, and at
        least as many as that), one integer for all sides, or for each axis an integer or a pair (low, high): zeros to
        put around the spread-out input, or with `use_consistent_padding` the padding of the convolution to transpose.
        Other names mean, for strides of 1 only and without `use_consistent_padding`, what they mean to
        `conv_general_dilated`.
      rhs_dilation: n positive integers, the spacing of the taps.
      dimension_numbers: as in `conv_general_dilated`, but channels last by default.
      transpose_kernel: whether to flip the kernel and swap its input and output channels.
      precision, preferred_element_type: as in `conv_general_dilated`.
      use_consistent_padding: see padding.
      output_padding: further results at the end of each axis: an integer below the stride or the dilation, or one for
        each axis; not with "SAME" and "VALID", which say how many results there are.
      feature_group_count: groups of input and output channels that do not mix.
      algorithm, accuracy, max_workspace_bytes: as in `conv_general_dilated`.

    Returns:
      The transposed convolution, with the dtype that `conv_general_dilated` gives it.

    Raises:
      ValueError: for ranks that differ, and for strides, groups and output padding other than said above.
      TypeError, ValueError: as `conv_general_dilated`.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, kernel = jnp.ones((8, 16, 16, 32)), jnp.ones((4, 4, 32, 3))
    >>> jaxconv.conv_transpose(image, kernel, (2, 2), "SAME").shape
    (8, 32, 32, 3)
    >>> jaxconv.conv_transpose(image, kernel, 2, 3, output_padding=1).shape
    (8, 35, 35, 3)
    """
    check_operands(lhs, rhs, "conv_transpose")
    ndim = np.ndim(lhs) - 2
    if ndim < 0 or np.ndim(rhs) != np.ndim(lhs):
        raise ValueError(
            "conv_transpose takes lhs and rhs of the same rank, 2 or more, got the shapes "
            f"{np.shape(lhs)} and {np.shape(rhs)}"
        )
    strides = per_axis("conv_transpose", "strides", strides, ndim)
    gaps = (1,) * ndim if rhs_dilation is None else per_axis("conv_transpose", "rhs_dilation", rhs_dilation, ndim)
    extra = read_output_padding("conv_transpose", output_padding, padding, strides, gaps)
    layout = channels_last(ndim) if dimension_numbers is None else dimension_numbers
    numbers = lax.conv_dimension_numbers(np.shape(lhs), np.shape(rhs), layout)
    extent = [dilated(np.shape(rhs)[axis], gap) for axis, gap in zip(numbers.rhs_spec[2:], gaps, strict=True)]
    if transpose_kernel:
        rhs = transposed_kernel(rhs, numbers.rhs_spec, feature_group_count)
    return conv_general_dilated(
        lhs,
        rhs,
        (1,) * ndim,
        _around(padding, use_consistent_padding, extent, strides, extra),
        strides,
        gaps,
        numbers,
        feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        algorithm=algorithm,
        accuracy=accuracy,
        max_workspace_bytes=max_workspace_bytes,
    )


def read_output_padding(
    function: str, output_padding: Axes, padding: Padding, strides: tuple[int, ...], gaps: tuple[int, ...]
) -> tuple[int, ...]:
    """Further results along each axis; TypeError or ValueError, naming the function, for what the rest forbids."""
    extra = per_axis(function, "output_padding", output_padding, len(strides), least=0)
    if isinstance(padding, str) and any(extra):
        raise ValueError(f"{function} output_padding does not go with padding {padding!r}, got {extra}")
    if any(more >= max(stride, gap) for more, stride, gap in zip(extra, strides, gaps, strict=True)):
        raise ValueError(
            f"{function} output_padding must be less than the stride or the dilation, got {extra} with strides "
            f"{strides} and dilation {gaps}"
        )
    return extra


def _around(
    padding: Padding, consistent: bool, extent: list[int], strides: tuple[int, ...], extra: tuple[int, ...]
) -> str | tuple[tuple[int, int], ...]:
    """Padding for the spread-out input; see above."""
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            if not consistent:
                return padding
            if extent:  # of no axes any name says all that there is to say
                raise ValueError(
                    f"conv_transpose padding must be 'SAME', 'VALID' or pairs (low, high), got {padding!r}"
                )
        forward = [_by_name(padding, size, stride) for size, stride in zip(extent, strides, strict=True)]
    else:
        forward = pairs("conv_transpose", padding, len(extent))
        if not consistent:
            return tuple((low, high + more) for (low, high), more in zip(forward, extra, strict=True))
    return tuple((size - 1 - p, size - 1 - q + more) for size, (p, q), more in zip(extent, forward, extra, strict=True))


def _by_name(padding: str, size: int, stride: int) -> tuple[int, int]:
    """p and q along one axis."""
    if padding == "VALID":
        return 0, min(size - stride, 0)
    before = max(size - stride, 0) // 2
    return before, size - stride - before


def transposed_kernel(rhs: ArrayLike, spec: Sequence[int], groups: int) -> jax.Array:
    """The kernel (G * I, O / G, *taps) of a convolution as that, (O, I, *taps), of the transposed one, flipped.

    Groups of output channels become groups of input channels, within which alone the two kinds change places. Done
    twice, it changes nothing.
    """
    kernel = jnp.asarray(rhs).transpose(spec)
    flipped = jnp.flip(kernel, range(2, kernel.ndim))
    channels, outputs, *taps = kernel.shape
    if groups < 1 or channels % groups:
        raise ValueError(f"conv_transpose feature_group_count must divide lhs's channels, got {groups} for {channels}")
    grouped = flipped.reshape(groups, channels // groups, outputs, *taps).swapaxes(1, 2)
    return grouped.reshape(groups * outputs, channels // groups, *taps).transpose(np.argsort(spec))
