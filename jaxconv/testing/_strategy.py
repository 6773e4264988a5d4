"""A hypothesis strategy for convolution problems."""

from collections.abc import Sequence
from math import prod

import jax
from hypothesis import assume
from hypothesis import strategies as st

from ._problem import Problem, is_enabled

DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
"""Types of operands to try a convolution on. lax also takes bool, the integers of 4 bits and the floats of 8."""

WIDER = {
    "float16": ["float32"],
    "bfloat16": ["float32"],
    "float32": ["float64"],
    "int8": ["int16", "int32", "float32"],
    "int16": ["int32", "float32"],
    "int32": ["int64", "float32", "float64"],
    "int64": ["float64"],
    "uint8": ["uint16", "int32", "float32"],
    "uint16": ["uint32", "float32"],
    "uint32": ["uint64", "float32"],
}
"""What lax accepts as `preferred_element_type` for operands of each type.

It also accepts complex128 for complex64, but forms complex products by three real ones and so rounds sums of real and
imaginary parts to the operands' type. That result is no more exact than a complex64 one, by which nobody should be
judged.
"""


def problems(
    ndim: int | None = None,
    dtypes: tuple[str, ...] = ("float32",),
    groups: bool = True,
    max_macs: int = 20_000,
    *,
    empty: bool = True,
    strides: bool = True,
    lhs_dilation: bool = True,
    rhs_dilation: bool = True,
    preferred_element_type: bool = True,
    layouts: tuple[tuple[str, str, str], ...] | None = None,
    taps: Sequence[int] | None = None,
) -> st.SearchStrategy[Problem]:
    """Valid convolution problems over the arguments of `lax.conv_general_dilated`. They shrink to small ones.

    Images, and channels of each group, are up to 3, or channels 4, 8 or 12, as code for vectors has them; axes up to 8.

    A convolution that takes less than lax's says so here, and is tried on what it takes.

    Args:
      ndim: spatial dimensions; None draws 0 to 3.
      dtypes: to draw the operands' type from. 64-bit ones need `jax_enable_x64`.
      groups: whether to draw feature groups and batch groups.
      max_macs: no problem needs more multiply-adds than this.
      empty: whether sizes of zero may be drawn.
      strides: whether strides above 1 may be drawn.
      lhs_dilation: whether to dilate the input, as transposed convolutions do.
      rhs_dilation: whether to dilate the kernel.
      preferred_element_type: whether to ask for wider results.
      layouts: to draw `dimension_numbers` from, for a fixed `ndim`; None draws any order of the axes.
      taps: to draw the taps along each axis from; None draws 1 to 4.

    >>> import hypothesis
    >>> from jaxconv.testing import problems
    >>> channels_last = problems(ndim=2, layouts=(("NHWC", "HWIO", "NHWC"),))
    >>> hypothesis.find(channels_last, lambda problem: problem.feature_group_count > 1)
    Problem(lhs_shape=(1, 1, 1, 2), rhs_shape=(1, 1, 1, 2), window_strides=(1, 1), padding='VALID', ...)
    """
    switches = {
        "groups": groups,
        "empty": empty,
        "strides": strides,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "preferred_element_type": preferred_element_type,
    }
    some_taps = tuple(range(1, 5) if taps is None else taps)
    if not some_taps or min(some_taps) < 1:
        raise ValueError(f"problems taps must be positive integers, one at least, got {some_taps}")
    if missing := [dtype for dtype in dtypes if not is_enabled(dtype)]:
        raise ValueError(f"problems dtypes of 64 bits need jax_enable_x64 to be switched on, got {missing}")
    _refuse_layouts(layouts or (), ndim)
    return _problems(ndim, dtypes, max_macs, layouts, some_taps, switches)


@st.composite
def _problems(draw, ndim, dtypes, max_macs, layouts, some_taps, may) -> Problem:
    rank = draw(st.integers(0, 3), label="ndim") if ndim is None else ndim
    space = _letters(rank)
    least = draw(st.sampled_from([1, 1, 1, 0]), label="least size") if may["empty"] else 1

    def along(values):
        return dict(zip(space, draw(st.lists(values, min_size=rank, max_size=rank)), strict=True))

    def sizes(low, high):
        return along(st.integers(low, high))

    feature_groups = batch_groups = 1
    if may["groups"]:
        count = draw(st.integers(1, 3), label="groups")
        feature_groups, batch_groups = draw(st.sampled_from([(count, 1), (1, count)]), label="kind of groups")
    batch, inputs, outputs = (draw(st.integers(least, 3)) for _ in range(3))
    vectors = draw(st.sampled_from([1, 1, 4]), label="vectors of channels")  # there is code that is for these alone
    inputs, outputs = inputs * vectors, outputs * vectors
    size, taps = sizes(least, 8), along(st.sampled_from(some_taps))
    numbers = draw(_layouts(space) if layouts is None else st.sampled_from(layouts), label="layout")
    lhs_letters, rhs_letters, _ = numbers or ("NC" + space, "OI" + space, "")
    lhs = {"N": batch * batch_groups, "C": inputs * feature_groups, **size}
    rhs = {"O": outputs * feature_groups * batch_groups, "I": inputs, **taps}

    def ordered(values):
        """One value for each spatial axis, in the order of the letters in the kernel's layout."""
        return tuple(values[letter] for letter in rhs_letters if letter in space)

    padding = draw(st.sampled_from(["VALID", "SAME", "SAME_LOWER", "explicit"]), label="padding")
    grow = None
    if padding == "explicit":
        grow = sizes(1, 3) if may["lhs_dilation"] else dict.fromkeys(space, 1)
        # More than there is cannot be cut off.
        extent = {letter: max(0, (n - 1) * grow[letter] + 1) if n else 0 for letter, n in size.items()}
        low = {letter: draw(st.integers(-min(2, n), 4)) for letter, n in extent.items()}
        padding = ordered({a: (low[a], draw(st.integers(max(-2, -low[a] - n), 4))) for a, n in extent.items()})
    dtype = draw(st.sampled_from(dtypes), label="dtype")
    wider = [name for name in WIDER.get(dtype, []) if may["preferred_element_type"] and is_enabled(name)]
    problem = Problem(
        lhs_shape=tuple(lhs[letter] for letter in lhs_letters),
        rhs_shape=tuple(rhs[letter] for letter in rhs_letters),
        window_strides=ordered(sizes(1, 3 if may["strides"] else 1)),
        padding=padding,
        lhs_dilation=None if grow is None or set(grow.values()) <= {1} else ordered(grow),
        rhs_dilation=ordered(sizes(1, 3)) if may["rhs_dilation"] and draw(st.booleans(), label="dilate") else None,
        dimension_numbers=numbers,
        feature_group_count=feature_groups,
        batch_group_count=batch_groups,
        dtype=dtype,
        preferred_element_type=draw(st.sampled_from([None, *wider]), label="preferred_element_type"),
        seed=draw(st.integers(0, 2**16), label="seed"),
    )
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in (problem.lhs_shape, problem.rhs_shape)]
    assume(jax.eval_shape(problem.lax, *shapes).size * inputs * prod(taps.values()) <= max_macs)
    return problem


def _letters(rank: int) -> str:
    """Of the spatial axes."""
    return "DHW"[3 - rank :] if rank <= 3 else "".join(map(chr, range(ord("a"), ord("a") + rank)))


def _refuse_layouts(layouts: Sequence[tuple[str, str, str] | None], ndim: int | None) -> None:
    """ValueError for those that have other spatial axes than are drawn."""
    told = [layout for layout in layouts if layout is not None]
    if told and ndim is None:
        raise ValueError(f"problems layouts need ndim, the number of their spatial axes, got {told}")
    letters = ["NC" + _letters(ndim or 0), "OI" + _letters(ndim or 0), "NC" + _letters(ndim or 0)]
    if wrong := [layout for layout in told if list(map(sorted, layout)) != list(map(sorted, letters))]:
        raise ValueError(f"problems layouts must be {letters}, the letters of each in any order, got {wrong}")


def _layouts(space: str) -> st.SearchStrategy[tuple[str, str, str] | None]:
    """None, channels first, channels last, or any orders of the axes; simplest first."""
    first = ("NC" + space, "OI" + space, "NC" + space)
    last = ("N" + space + "C", space + "IO", "N" + space + "C")
    anyhow = st.tuples(*(st.permutations(letters).map("".join) for letters in first))
    return st.one_of(st.just(None), st.just(first), st.just(last), anyhow)
