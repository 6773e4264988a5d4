"""Arguments given once for all spatial axes, or for each: checked, and in the one form that lax reads."""

from collections.abc import Iterable, Sequence
from operator import index

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
        numbers = tuple(map(index, value if isinstance(value, Iterable) else (value,) * ndim))
    except TypeError:
        raise TypeError(wanted) from None
    if len(numbers) != ndim or min(numbers, default=least) < least:
        raise ValueError(wanted)
    return numbers


def pads(function: str, padding: Padding, ndim: int) -> str | tuple[tuple[int, int], ...]:
    """A name in capitals, or a pair (low, high) for each of `ndim` axes.

    Raises:
      TypeError, ValueError: for anything else, naming the function.

    >>> pads("conv2d", "same", ndim=2), pads("conv2d", 1, ndim=2)
    ('SAME', ((1, 1), (1, 1)))
    """
    if not isinstance(padding, str):
        return pairs(function, padding, ndim)
    if padding.upper() not in NAMED_PADDINGS:
        names = ", ".join(map(repr, NAMED_PADDINGS))
        raise ValueError(f"{function} padding must be one of {names}, an integer or pairs (low, high), got {padding!r}")
    return padding.upper()


def pairs(function: str, padding: int | Sequence[int | tuple[int, int]], ndim: int) -> tuple[tuple[int, int], ...]:
    """A pair (low, high) for each of `ndim` axes.

    Raises:
      TypeError, ValueError: for anything else, naming the function.

    >>> pairs("conv2d", [1, (0, 2)], ndim=2)
    ((1, 1), (0, 2))
    """
    wanted = (
        f"{function} padding must be an integer, for each of {ndim} axes an integer or a pair (low, high), or a name, "
        f"got {padding!r}"
    )
    try:
        sides = padding if isinstance(padding, Iterable) else (padding,) * ndim
        found = tuple((index(low), index(high)) for low, high in map(_both, sides))
    except (TypeError, ValueError) as error:  # no integers, no pairs
        raise type(error)(wanted) from None
    if len(found) != ndim:
        raise ValueError(wanted)
    return found


def _both(side: int | Iterable[int]) -> Iterable[int]:
    return side if isinstance(side, Iterable) else (side, side)
