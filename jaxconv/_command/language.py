"""Convolutions in words: what people type, read as a `Geometry` and written from one.

    conv LHS RHS [KEY=VALUE ...]

LHS and RHS are sizes with x between, in the order of the layout. Then comes what is not the usual, as `KEYS` has it;
values that differ between the spatial axes have commas between:

    conv 8x56x56x64 3x3x64x128 stride=2 pad=SAME
    conv 8x144x56x56 144x1x3x3 layout=NCHW groups=144 pad=1 dtype=bfloat16
    conv 1x4096x64 2x64x128 dilation=4 pad=4:0
"""

from collections.abc import Iterable
from typing import Any

import jax
from jax import lax

from .._bench.layer import LAYOUTS, dimension_numbers
from .._geometry import Geometry
from .._geometry_json import precision_name
from .._parameters import geometry_of
from .command import UsageError
from .keys import DEFAULTS, KEYS, size

FORM = "a convolution is 'conv LHS RHS key=value ...', as in 'conv 8x56x56x64 3x3x64x128 stride=2 pad=SAME'"


def split(text: str) -> tuple[list[str], dict[str, str]]:
    """Its words, and those of the form key=value. UsageError if one is there twice."""
    words: list[str] = []
    options: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            words.append(word)
        elif key in options:
            raise UsageError(f"{text!r} says {key} twice")
        else:
            options[key] = value
    return words, options


def check_keys(text: str, options: dict[str, str], keys: Iterable[str]) -> None:
    """UsageError for a key that is none of these."""
    for key in options:
        if key not in keys:
            raise UsageError(f"{key!r} in {text!r} is no key here; there are {', '.join(keys)}")


def value_of(text: str, key: str, value: str, rank: int) -> Any:
    """The value of a key. UsageError if that does not accept it."""
    try:
        return KEYS[key].read(value, rank)
    except ValueError:
        raise UsageError(f"'{key}={value}' in {text!r} must be {KEYS[key].accepts}") from None


def read(text: str) -> Geometry:
    """The convolution that `text` says.

    Raises:
      UsageError: for anything else. It names what is wrong and says what is accepted.

    >>> read("conv 8x56x56x64 3x3x64x128 stride=2 pad=SAME").padding
    ((0, 1), (0, 1))
    """
    words, options = split(text)
    if words[:1] != ["conv"] or len(words) != 3:
        raise UsageError(f"{text!r} is not conv and two operands; {FORM}")
    _, lhs, rhs = words
    shapes = [_shape(text, word) for word in (lhs, rhs)]
    rank = len(shapes[0]) - 2
    if not 0 <= rank <= 3:
        raise UsageError(f"{lhs!r} in {text!r} must have from 2 to 5 axes, images and channels among them")
    if len(shapes[1]) != rank + 2:
        raise UsageError(f"{rhs!r} in {text!r} must have {rank + 2} axes, as {lhs!r} has")
    check_keys(text, options, KEYS)
    given = {KEYS[key].parameter: value_of(text, key, value, rank) for key, value in {**DEFAULTS, **options}.items()}
    dtype = given.pop("dtype")
    try:
        with jax.enable_x64(True):  # or else lax would take 64-bit types for narrower ones
            return geometry_of(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes), **given)
    except (TypeError, ValueError) as error:  # lax's, or those in place of lax's
        raise UsageError(f"{text!r}: {' '.join(str(error).split())}") from None


def _shape(text: str, word: str) -> tuple[int, ...]:
    try:
        return tuple(map(size, word.split("x")))
    except ValueError:
        raise UsageError(f"{word!r} in {text!r} must be sizes with x between, as in 8x56x56x64") from None


def written(geometry: Geometry) -> str:
    """What `read` reads as this geometry, which must have 3 spatial axes at most.

    >>> written(read("conv 8x56x56x64 3x3x64x128 stride=2 pad=SAME"))
    'conv 8x56x56x64 3x3x64x128 stride=2 pad=0:1'
    """
    g = geometry
    precision = precision_name(g.precision)
    values = {
        "stride": _joined(g.strides),
        "pad": _joined(low if low == high else f"{low}:{high}" for low, high in g.padding),
        "dilation": _joined(g.rhs_dilation),
        "lhs_dilation": _joined(g.lhs_dilation),
        "groups": "1" if g.batch_grouped else str(g.groups),
        "batch_groups": str(g.groups) if g.batch_grouped else "1",
        "dtype": g.dtype,
        "layout": _layout(g),
        "precision": _joined(precision) if isinstance(precision, list) else precision,
        "preferred_element_type": g.preferred_element_type,
    }
    sizes = ("x".join(map(str, layout.shape)) for layout in (g.lhs_layout, g.rhs_layout))
    said = (f"{key}={value}" for key, value in values.items() if value and value != KEYS[key].default)
    return " ".join(["conv", *sizes, *said])


def _joined(values: Iterable[Any]) -> str:
    words = list(map(str, values))
    return words[0] if len(set(words)) == 1 else ",".join(words)


def _layout(geometry: Geometry) -> str:
    """A name, or the letters of each operand's axes in the order of the axes."""
    shapes = geometry.lhs_layout.shape, geometry.rhs_layout.shape
    for name in LAYOUTS:
        if geometry.dimension_numbers == lax.conv_dimension_numbers(*shapes, dimension_numbers(name, geometry.ndim)):
            return name
    images, kernel, _ = dimension_numbers("NCHW", geometry.ndim)  # in the order that lax's specs have
    letters = zip((images, kernel, images), geometry.dimension_numbers, strict=True)
    return ",".join("".join(word[spec.index(axis)] for axis in range(len(spec))) for word, spec in letters)
