"""The keys of a problem in words: what each is to lax, and what it accepts.

Values that differ between the spatial axes have commas between: stride=2,1 or pad=1:2,0:1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .._bench.layer import LAYOUTS, dimension_numbers
from .._geometry_json import TYPES, named_precision


class Key(NamedTuple):
    """A key of the language.

    Attributes:
      parameter: what it is among the parameters of `lax.conv_general_dilated`, or "dtype".
      read: (value, number of spatial axes) -> argument. ValueError for what it does not accept.
      accepts: what that is, in words.
      default: the value that is meant where none is given.
    """

    parameter: str
    read: Callable[[str, int], Any]
    accepts: str
    default: str | None = None


def count(text: str) -> int:
    """A positive integer, or ValueError."""
    if (value := size(text)) < 1:
        raise ValueError(f"{text} is not positive")
    return value


def size(text: str) -> int:
    """A positive integer or 0, or ValueError."""
    if not text.isdecimal() or len(text) > 9:  # int() takes signs and underscores, lax 64 bits
        raise ValueError(f"{text!r} is no size")
    return int(text)


def _each(value: str, rank: int, read: Callable[[str], Any]) -> tuple:
    """One for all axes, or one for each."""
    values = value.split(",")
    if len(values) not in (1, rank):
        raise ValueError(f"{len(values)} values for {rank} axes")
    return tuple(map(read, values * rank if len(values) == 1 else values))


def _counts(value: str, rank: int) -> tuple[int, ...]:
    return _each(value, rank, count)


def _one_count(value: str, rank: int) -> int:
    return count(value)


def _padding(value: str, rank: int) -> str | tuple[tuple[int, int], ...]:
    def sides(text: str) -> tuple[int, int]:
        low, colon, high = text.partition(":")
        return side(low), side(high if colon else low)

    def side(text: str) -> int:
        return -size(text[1:]) if text[:1] == "-" else size(text)

    return value if value in ("SAME", "SAME_LOWER", "VALID") else _each(value, rank, sides)


def layout_numbers(value: str, rank: int) -> tuple[str, str, str]:
    """Dimension numbers of a layout: by its name, by how it calls images, or by its three parts. ValueError if none."""
    if not 0 <= rank <= 3:
        raise ValueError(f"{value!r} is for {rank} axes")
    named = {name: dimension_numbers(name, rank) for name in LAYOUTS}
    named |= {numbers[0]: numbers for numbers in named.values()}
    lhs, rhs, out = named[value] if value in named else value.split(",")
    if [*map(sorted, (lhs, rhs, out))] != [*map(sorted, named["NCHW"])]:
        raise ValueError(f"{value!r} has other letters")
    return lhs, rhs, out


def _type(value: str, rank: int) -> str:
    if value not in TYPES:
        raise ValueError(f"{value!r} is no type")
    return value


def _precision(value: str, rank: int) -> Any:
    first, *second = value.upper().split(",")
    return named_precision((first, *second) if second else first)


ONE_OR_EACH = "a positive integer, or one for each spatial axis, as in 2 or 2,1"
SIDES = "SAME, SAME_LOWER, VALID, a number, low:high, or one of these two for each spatial axis, as in 1, 1:2 or 0,1:-1"
ARRANGEMENTS = "NHWC (channels last), NCHW (channels first), or those of lhs, rhs and result, as in NHWC,OIHW,NHWC"
SOME_TYPE = f"one of {', '.join(sorted(TYPES))}"
KEYS = {
    "stride": Key("window_strides", _counts, ONE_OR_EACH, "1"),
    "pad": Key("padding", _padding, SIDES, "0"),
    "dilation": Key("rhs_dilation", _counts, ONE_OR_EACH, "1"),
    "lhs_dilation": Key("lhs_dilation", _counts, ONE_OR_EACH, "1"),
    "groups": Key("feature_group_count", _one_count, "a positive integer", "1"),
    "batch_groups": Key("batch_group_count", _one_count, "a positive integer", "1"),
    "dtype": Key("dtype", _type, SOME_TYPE, "float32"),
    "layout": Key("dimension_numbers", layout_numbers, ARRANGEMENTS, "NHWC"),
    "precision": Key("precision", _precision, "default, high, highest, two of these, or a preset of lax's"),
    "preferred_element_type": Key("preferred_element_type", _type, SOME_TYPE),
}
DEFAULTS = {name: key.default for name, key in KEYS.items() if key.default is not None}
