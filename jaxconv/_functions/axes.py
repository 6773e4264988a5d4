"""Arguments given once for all spatial axes, or for each: checked, and in the one form that lax reads."""

from collections.abc import Sequence
from operator import index

import numpy as np

Axes = int | Sequence[int]
Padding = str | int | Sequence[int | tuple[int, int]]

NAMED_PADDINGS = ("SAME", "SAME_LOWER", "VALID", "CAUSAL")


def per_axis(function: str, name: str, value: Axes, ndim: int, least: int = 1) -> tuple[int, ...]:
    """One integer, `least` or more, for each of `ndim` axes.

    Raises:
      TypeError, ValueError: for anything else, naming the function and the argument.

    >>> per_axis("conv2d", "window_strides", 2, ndim=2)
    (2, 2)
    """
    wanted = f"{function} {name} must be an integer or one for each of {ndim} axes, {least} or more, got {value!r}"
    try:
        numbers = tuple(map(index, value if np.iterable(value) else (value,) * ndim))
    except TypeError:
        raise TypeError(wanted) from None
    if len(numbers) != ndim or min(numbers, default=least) < least:
        raise ValueError(wanted)
    return numbers


def pads(function: str, padding: Padding, ndim: int) -> str | tuple[tuple[int, int], ...]:
    """A name in capitals, or a pair (low, high) for each of `ndim` axes.

    Raises:
      TypeError, ValueError: for anything else, naming the function.

    >>> pads("conv2d", [1, (0, 2)], ndim=2)
    ((1, 1), (0, 2))
    """
    wanted = (
        f"{function} padding must be one of {', '.join(map(repr, NAMED_PADDINGS))}, an integer, "
        f"or for each of {ndim} axes an integer or a pair (low, high), got {padding!r}"
    )
    if isinstance(padding, str):
        if padding.upper() not in NAMED_PADDINGS:
            raise ValueError(wanted)
        return padding.upper()
    sides = padding if np.iterable(padding) else (padding,) * ndim
    try:
        pairs = tuple((index(low), index(high)) for low, high in (s if np.iterable(s) else (s, s) for s in sides))
    except (TypeError, ValueError) as error:  # no integers, no pairs
        raise type(error)(wanted) from None
    if len(pairs) != ndim:
        raise ValueError(wanted)
    return pairs
