"""A convolution to trust: NumPy only, float64, complex128 or exact integers, nothing shared with what it judges.

It reads the arguments by itself (layout strings, padding strings, dilations, groups), so that an error in the library's
geometry cannot hide by being made twice. Speed is not a goal: it does one small product for each tap and group.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def oracle(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
) -> NDArray:
    """The value of `lax.conv_general_dilated` for these arguments, as nearly as NumPy gives it.

    Args:
      lhs: rank n + 2. rhs: rank n + 2. Any real, integer, bool or complex type.
      The rest as in lax.

    Returns:
      An array in the output layout: float64 for real, complex128 for complex operands; for integers and bools an array
      of Python integers, which neither wrap nor round. `in_dtype` brings those to a machine type.

    >>> from jaxconv.testing import oracle
    >>> oracle([[[1, 2, 3, 4]]], [[[1, 0, -1]]], (1,), "VALID")
    array([[[-2, -2]]], dtype=object)
    """
    image, kernel = _exact(lhs), _exact(rhs)
    spatial = image.ndim - 2
    image_axes, kernel_axes, out_axes = _axes(dimension_numbers, image.ndim)
    image = image.transpose(image_axes)  # N, C, spatial
    kernel = kernel.transpose(kernel_axes)  # O, I, spatial

    if isinstance(padding, str):
        spread = [
            (taps - 1) * gap + 1 for taps, gap in zip(kernel.shape[2:], rhs_dilation or (1,) * spatial, strict=True)
        ]
        padding = [
            _pad_by_name(padding, size, taps, stride)
            for size, taps, stride in zip(image.shape[2:], spread, window_strides, strict=True)
        ]
    for axis in range(spatial):
        image = _stretch(image, 2 + axis, lhs_dilation[axis] if lhs_dilation else 1)
        kernel = _stretch(kernel, 2 + axis, rhs_dilation[axis] if rhs_dilation else 1)
        image = _grow(image, 2 + axis, *padding[axis])

    extent = [
        max(0, (size - taps) // stride + 1)
        for size, taps, stride in zip(image.shape[2:], kernel.shape[2:], window_strides, strict=True)
    ]
    images, outs = image.shape[0] // batch_group_count, kernel.shape[0]
    result = np.zeros((images, outs, *extent), image.dtype)
    groups = feature_group_count * batch_group_count
    for group in range(groups):
        members = slice(group * (outs // groups), (group + 1) * (outs // groups))
        if batch_group_count > 1:
            part = image[group * images : (group + 1) * images]
        else:
            inputs = kernel.shape[1]
            part = image[:, group * inputs : (group + 1) * inputs]
        for tap in np.ndindex(*kernel.shape[2:]):
            reach = (
                slice(start, start + stride * count, stride)
                for start, stride, count in zip(tap, window_strides, extent, strict=True)
            )
            window = part[(slice(None), slice(None), *reach)]
            if 0 in window.shape[2:]:
                continue
            product = np.tensordot(window, kernel[(members, slice(None), *tap)], axes=([1], [1]))
            result[:, members] += np.moveaxis(product, -1, 1)
    return result.transpose(np.argsort(out_axes))


def in_dtype(exact: NDArray, dtype: Any) -> NDArray:
    """An oracle's result in a machine type: integers reduced modulo its range as hardware does, floats rounded."""
    dtype = np.dtype(dtype)
    if exact.dtype != object:
        return exact.astype(dtype)
    if dtype.kind == "b":
        return exact != 0
    if dtype.kind in "fc" or dtype.kind == "V":  # "V": NumPy's word for float types it does not know
        return exact.astype(np.float64).astype(dtype)
    bits = 8 * dtype.itemsize
    return np.vectorize(lambda value: value % 2**bits, otypes=[np.uint64])(exact).astype(f"uint{bits}").view(dtype)


def _exact(array: ArrayLike) -> NDArray:
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.astype(object) + 0  # `+ 0` makes Python integers of bools
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _axes(dimension_numbers: Any, rank: int) -> tuple[list[int], list[int], list[int]]:
    """For each operand and the output: where its N, C and spatial axes stand (for the kernel O, I and spatial)."""
    if dimension_numbers is None:
        return list(range(rank)), list(range(rank)), list(range(rank))
    image, kernel, out = dimension_numbers
    if not isinstance(image, str):
        return list(image), list(kernel), list(out)
    spatial = [letter for letter in kernel if letter not in "OI"]
    return (
        [image.index(letter) for letter in ["N", "C", *spatial]],
        [kernel.index(letter) for letter in ["O", "I", *spatial]],
        [out.index(letter) for letter in ["N", "C", *spatial]],
    )


def _pad_by_name(name: str, size: int, taps: int, stride: int) -> tuple[int, int]:
    if name.upper() == "VALID":
        return 0, 0
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + taps - size)
    small, large = total // 2, total - total // 2
    return {"SAME": (small, large), "SAME_LOWER": (large, small)}[name.upper()]


def _stretch(array: NDArray, axis: int, gap: int) -> NDArray:
    """Zeros between neighbours, so that they stand `gap` apart."""
    shape = list(array.shape)
    shape[axis] = max(0, (shape[axis] - 1) * gap + 1) if shape[axis] else 0
    wide = np.zeros(shape, array.dtype)
    where = [slice(None)] * array.ndim
    where[axis] = slice(None, None, gap)
    wide[tuple(where)] = array
    return wide


def _grow(array: NDArray, axis: int, low: int, high: int) -> NDArray:
    """Zeros added (or, where negative, elements removed) at both ends. Both removals may reach past the middle."""
    shape = list(array.shape)
    size = shape[axis]
    shape[axis] = size + low + high
    wide = np.zeros(shape, array.dtype)
    source, target = [slice(None)] * array.ndim, [slice(None)] * array.ndim
    begin, end = max(0, -low), min(size, size + high)
    if begin < end:
        source[axis], target[axis] = slice(begin, end), slice(begin + low, end + low)
        wide[tuple(target)] = array[tuple(source)]
    return wide
