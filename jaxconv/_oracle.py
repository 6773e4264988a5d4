"""A convolution to trust: NumPy only, float64, complex128 or exact integers, nothing shared with what it judges.

It reads the arguments by itself (layout strings, padding strings, dilations, groups), so that an error in the library's
geometry cannot hide by being made twice. Speed is not a goal: it does one small product for each tap and group.
"""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def oracle(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Iterable[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Iterable[int] | None = None,
    rhs_dilation: Iterable[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
) -> NDArray:
    """The value of `lax.conv_general_dilated` for these arguments, as nearly as NumPy gives it.

    Args:
      lhs: rank n + 2. rhs: rank n + 2. Any real, integer, bool or complex type.
      The rest as in lax. ValueError for what is no convolution.

    Returns:
      An array in the output layout: float64 for real, complex128 for complex operands; for integers and bools an array
      of Python integers, which neither wrap nor round. `in_dtype` brings those to a machine type.

    >>> from jaxconv.testing import oracle
    >>> oracle([[[1, 2, 3, 4]]], [[[1, 0, -1]]], (1,), "VALID")
    array([[[-2, -2]]], dtype=object)
    """
    image, kernel = _exact(lhs), _exact(rhs)
    if image.ndim != kernel.ndim or image.ndim < 2:
        raise ValueError(f"oracle lhs and rhs must be of one rank, 2 or more, got {image.shape} and {kernel.shape}")
    spatial = image.ndim - 2
    window_strides = _along_axes("window_strides", window_strides, spatial)
    lhs_dilation = _along_axes("lhs_dilation", lhs_dilation, spatial)
    rhs_dilation = _along_axes("rhs_dilation", rhs_dilation, spatial)
    image_axes, kernel_axes, out_axes = _axes(dimension_numbers, image.ndim)
    image = image.transpose(image_axes)  # N, C, spatial
    kernel = kernel.transpose(kernel_axes)  # O, I, spatial
    _refuse_groups(image.shape, kernel.shape, feature_group_count, batch_group_count)

    for axis in range(spatial):
        kernel = _stretch(kernel, 2 + axis, rhs_dilation[axis])
    pairs = _pairs(padding, image.shape[2:], kernel.shape[2:], window_strides, lhs_dilation)
    for axis in range(spatial):
        image = _grow(_stretch(image, 2 + axis, lhs_dilation[axis]), 2 + axis, *pairs[axis])

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


def _along_axes(name: str, values: Iterable[int] | None, axes: int) -> tuple[int, ...]:
    """One for each spatial axis; 1 where nothing is said."""
    numbers = (1,) * axes if values is None else tuple(map(index, values))
    if len(numbers) != axes or min(numbers, default=1) < 1:
        raise ValueError(f"oracle {name} must be positive, for each of the {axes} spatial axes, got {numbers}")
    return numbers


def _refuse_groups(image: tuple[int, ...], kernel: tuple[int, ...], feature_groups: int, batch_groups: int) -> None:
    """ValueError unless the channels, outputs and images of these shapes, N and C or O and I first, can be grouped."""
    for name, count in ("feature_group_count", feature_groups), ("batch_group_count", batch_groups):
        if count < 1:
            raise ValueError(f"oracle {name} must be positive, got {count}")
    counts = f"feature_group_count {feature_groups} and batch_group_count {batch_groups}"
    if feature_groups > 1 and batch_groups > 1:
        raise ValueError(f"oracle cannot have groups of both kinds, got {counts}")
    if image[1] != kernel[1] * feature_groups:
        shapes = f"N, C and axes of lhs {image} and O, I and axes of rhs {kernel}"
        raise ValueError(f"oracle rhs must have as many channels as a group of lhs, got {shapes}, {counts}")
    if kernel[0] % (feature_groups * batch_groups):
        raise ValueError(f"oracle groups must divide the outputs, got {counts} for {kernel[0]}")
    if image[0] % batch_groups:
        raise ValueError(f"oracle batch_group_count must divide the images, got {batch_groups} for {image[0]}")


def _pairs(
    padding: str | Sequence[tuple[int, int]],
    sizes: tuple[int, ...],
    reaches: tuple[int, ...],
    strides: tuple[int, ...],
    lhs_dilation: tuple[int, ...],
) -> list[tuple[int, int]]:
    """Padding at both ends of each spatial axis. `reaches` are the sizes of the kernel with its dilation."""
    if isinstance(padding, str):
        if max(lhs_dilation, default=1) > 1:
            raise ValueError(f"oracle padding {padding!r} is for lhs_dilation of 1 only, got {lhs_dilation}")
        return [_pad_by_name(padding, *one) for one in zip(sizes, reaches, strides, strict=True)]
    pairs = [(index(low), index(high)) for low, high in padding]
    extents = [max(0, (size - 1) * gap + 1) for size, gap in zip(sizes, lhs_dilation, strict=True)]
    if len(pairs) != len(sizes) or any(sum(pair) < -extent for pair, extent in zip(pairs, extents, strict=True)):
        wanted = f"a pair for each of the {len(sizes)} spatial axes that cuts off no more than there is, {extents}"
        raise ValueError(f"oracle padding must be {wanted}, got {pairs}")
    return pairs


def _pad_by_name(name: str, size: int, taps: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + taps - size)
    small, large = total // 2, total - total // 2
    known = {"VALID": (0, 0), "SAME": (small, large), "SAME_LOWER": (large, small)}
    if name.upper() not in known:
        raise ValueError(f"oracle padding must be one of {', '.join(known)} or pairs, got {name!r}")
    return known[name.upper()]


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
