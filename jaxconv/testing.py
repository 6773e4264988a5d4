"""Random convolution problems and a judge for the results. Needs hypothesis (`pip install jaxconv[tests]`).

>>> from jaxconv.testing import Problem
>>> problem = Problem((1, 2, 5, 5), (4, 2, 3, 3), window_strides=(2, 2), padding="SAME")
>>> lhs, rhs = problem.operands()
>>> problem.violation(problem.lax(lhs, rhs), lhs, rhs)
''
"""

from dataclasses import dataclass, fields
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from jax import lax
from numpy.typing import ArrayLike, NDArray

from ._accuracy import error_bound as error_bound
from ._oracle import in_dtype as in_dtype
from ._oracle import oracle as oracle

DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True)
class Problem:
    """Arguments of `lax.conv_general_dilated` with shapes for the operands, whose values come from `seed`."""

    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    window_strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...] | None = None
    rhs_dilation: tuple[int, ...] | None = None
    dimension_numbers: tuple[str, ...] | lax.ConvDimensionNumbers | None = None
    feature_group_count: int = 1
    batch_group_count: int = 1
    dtype: str = "float32"
    preferred_element_type: str | None = None
    seed: int = 0

    @property
    def exact_arguments(self) -> dict[str, Any]:
        """Those that decide the exact result: what the oracle takes."""
        left_out = ("lhs_shape", "rhs_shape", "dtype", "preferred_element_type", "seed")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}

    @property
    def arguments(self) -> dict[str, Any]:
        """All keyword arguments of `lax.conv_general_dilated`."""
        return {**self.exact_arguments, "preferred_element_type": self.preferred_element_type}

    @property
    def terms(self) -> int:
        """Products in the sum of one result: taps times input channels of a group."""
        numbers = lax.conv_dimension_numbers(self.lhs_shape, self.rhs_shape, self.dimension_numbers)
        return prod(self.rhs_shape[axis] for axis in numbers.rhs_spec[1:])

    def operands(self) -> tuple[jax.Array, jax.Array]:
        """Random lhs and rhs: normal for inexact types, the whole range for integers."""
        rng = np.random.default_rng(self.seed)
        return _random(rng, self.lhs_shape, self.dtype), _random(rng, self.rhs_shape, self.dtype)

    def lax(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """What `lax.conv_general_dilated` gives for this problem."""
        return lax.conv_general_dilated(lhs, rhs, **self.arguments)

    def violation(self, out: ArrayLike, lhs: ArrayLike, rhs: ArrayLike, algorithm: str = "xla") -> str:
        """Why `out` is not the convolution of `lhs` and `rhs`, or "" when it is, within the algorithm's bound."""
        expected = jax.eval_shape(self.lax, lhs, rhs)
        got = jnp.asarray(out)
        if got.dtype != expected.dtype or got.shape != expected.shape:
            return f"got {got.dtype}{list(got.shape)}, expected {expected.dtype}{list(expected.shape)}"
        exact = oracle(lhs, rhs, **self.exact_arguments)
        if not jnp.issubdtype(got.dtype, np.inexact):
            wrong = np.asarray(got) != in_dtype(exact, got.dtype)
            return _first_wrong(wrong, got, exact, 0 * exact)
        magnitude = oracle(np.abs(_wide(lhs)), np.abs(_wide(rhs)), **self.exact_arguments).astype(np.float64)
        exact = exact.astype(np.complex128 if exact.dtype == np.complex128 else np.float64)
        allowed = error_bound(algorithm, got.dtype, self.terms) * magnitude
        wrong = ~(np.abs(_wide(got) - exact) <= allowed)
        return _first_wrong(wrong, got, exact, allowed)


def _wide(array: ArrayLike) -> NDArray:
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.astype(object)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _first_wrong(wrong: NDArray, got: jax.Array, exact: NDArray, allowed: NDArray) -> str:
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} values are wrong; at {index} got {got[index]}, "
        f"expected {exact[index]} within {allowed[index]}"
    )


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> jax.Array:
    kind = jnp.dtype(dtype)
    if kind.kind == "b":
        return jnp.asarray(rng.random(shape) < 0.5)
    if jnp.issubdtype(kind, np.integer):
        info = jnp.iinfo(kind)
        wide = rng.integers(
            int(info.min), int(info.max), shape, np.uint64 if info.min == 0 else np.int64, endpoint=True
        )
        return jnp.asarray(wide.astype(kind))
    values = rng.standard_normal(shape)
    if jnp.issubdtype(kind, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return jnp.asarray(values.astype(kind))


def problems(
    ndim: int | None = None,
    dtypes: tuple[str, ...] = ("float32",),
    groups: bool = True,
    max_macs: int = 20_000,
    empty: bool = True,
) -> st.SearchStrategy[Problem]:
    """Valid convolution problems over every argument of `lax.conv_general_dilated`. They shrink to small ones.

    Args:
      ndim: spatial dimensions; None draws 0 to 3.
      dtypes: to draw the operands' type from.
      groups: whether to draw feature groups and batch groups.
      max_macs: no problem needs more multiply-adds than this.
      empty: whether sizes of zero may be drawn.
    """
    return _problems(ndim, dtypes, groups, max_macs, empty)


@st.composite
def _problems(draw, ndim, dtypes, groups, max_macs, empty) -> Problem:
    rank = draw(st.integers(0, 3), label="ndim") if ndim is None else ndim
    least = draw(st.sampled_from([1, 1, 1, 0]), label="least size") if empty else 1
    feature_groups = batch_groups = 1
    if groups:
        count = draw(st.integers(1, 3), label="groups")
        feature_groups, batch_groups = draw(st.sampled_from([(count, 1), (1, count)]), label="kind of groups")

    def sizes(low, high):
        return [draw(st.integers(low, high)) for _ in range(rank)]

    batch, inputs, outputs = (draw(st.integers(least, 3)) for _ in range(3))
    taps = sizes(1, 4)
    strides = sizes(1, 3)
    spread = sizes(1, 3)
    padding = draw(st.sampled_from(["VALID", "SAME", "SAME_LOWER", "explicit"]), label="padding")
    size = sizes(least, 8)
    grow = None
    if padding == "explicit":
        grow = sizes(1, 3)
        extent = [max(0, (n - 1) * gap + 1) if n else 0 for n, gap in zip(size, grow, strict=True)]
        low = [draw(st.integers(-2, 4)) for _ in range(rank)]
        # Removing more than there is, is an error: keep at least nothing.
        padding = tuple((a, draw(st.integers(max(-2, -a - n), 4))) for a, n in zip(low, extent, strict=True))
    letters = draw(st.sampled_from([None, "first", "last", "any"]), label="layout")
    numbers = None
    if letters is not None:
        space = "DHW"[3 - rank :]
        orders = [["NC" + space, "OI" + space, "NC" + space], ["N" + space + "C", space + "IO", "N" + space + "C"]]
        if letters == "any":
            numbers = tuple("".join(draw(st.permutations(order))) for order in orders[0])
        else:
            numbers = tuple(orders[letters == "last"])
    dtype = draw(st.sampled_from(dtypes), label="dtype")
    lhs = {"N": batch * batch_groups, "C": inputs * feature_groups}
    rhs = {"O": outputs * feature_groups * batch_groups, "I": inputs}
    names = numbers or ("NC" + "DHW"[3 - rank :], "OI" + "DHW"[3 - rank :], "")
    for letter, n, k in zip("DHW"[3 - rank :], size, taps, strict=True):
        lhs[letter], rhs[letter] = n, k
    # Strides, padding and dilations go by the order of the letters in the kernel's layout.
    order = ["DHW"[3 - rank :].index(letter) for letter in names[1] if letter not in "OI"]

    def ordered(values):
        return tuple(values[i] for i in order)

    problem = Problem(
        lhs_shape=tuple(lhs[letter] for letter in names[0]),
        rhs_shape=tuple(rhs[letter] for letter in names[1]),
        window_strides=ordered(strides),
        padding=padding if isinstance(padding, str) else ordered(padding),
        lhs_dilation=None if grow is None else ordered(grow),
        rhs_dilation=ordered(spread) if draw(st.booleans(), label="dilated kernel") else None,
        dimension_numbers=numbers,
        feature_group_count=feature_groups,
        batch_group_count=batch_groups,
        dtype=dtype,
        preferred_element_type=draw(st.sampled_from([None, *_wider(dtype)]), label="preferred_element_type"),
        seed=draw(st.integers(0, 2**16), label="seed"),
    )
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in (problem.lhs_shape, problem.rhs_shape)]
    out = jax.eval_shape(problem.lax, *shapes)
    assume(out.size * inputs * prod(taps) <= max_macs)
    return problem


def _wider(dtype: str) -> list[str]:
    """Types that lax accepts as `preferred_element_type` for operands of this one."""
    return {
        "float16": ["float32"],
        "bfloat16": ["float32"],
        "float32": ["float64"],
        "complex64": ["complex128"],
        "int8": ["int16", "int32", "float32"],
        "int16": ["int32", "float32"],
        "int32": ["int64", "float32", "float64"],
        "int64": ["float64"],
        "uint8": ["uint16", "int32", "float32"],
        "uint16": ["uint32", "float32"],
        "uint32": ["uint64", "float32"],
    }.get(dtype, [])
