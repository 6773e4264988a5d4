"""One convolution problem as a value: arguments, shapes and the seed of its random operands."""

from dataclasses import dataclass, fields
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike, NDArray

from .._accuracy import error_bound, largest
from .._oracle import in_dtype, oracle


@dataclass(frozen=True, repr=False)
class Problem:
    """Arguments of `lax.conv_general_dilated`, with shapes for the operands, whose values come from `seed`.

    >>> from jaxconv.testing import Problem
    >>> problem = Problem((1, 2, 5, 5), (4, 2, 3, 3), window_strides=(2, 2), padding="SAME")
    >>> lhs, rhs = problem.operands()
    >>> problem.violation(problem.lax(lhs, rhs), lhs, rhs)
    ''
    >>> problem
    Problem(lhs_shape=(1, 2, 5, 5), rhs_shape=(4, 2, 3, 3), window_strides=(2, 2), padding='SAME')
    """

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

    def __repr__(self) -> str:
        """The call that makes it, without the arguments that are as by default."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        said = {field.name: told[field.name] for field in fields(self) if told[field.name] != field.default}
        return f"Problem({_keywords(said)})"

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
    def call(self) -> str:
        """The problem as lines of Python to paste."""
        defaults = {field.name: field.default for field in fields(self)}
        said = {name: value for name, value in self.arguments.items() if value != defaults[name]}
        return f"lhs, rhs = {self!r}.operands()\nout = conv_general_dilated(lhs, rhs, {_keywords(said)})"

    @property
    def terms(self) -> int:
        """Products in the sum of one result: taps times input channels of a group."""
        numbers = lax.conv_dimension_numbers(self.lhs_shape, self.rhs_shape, self.dimension_numbers)
        return prod(self.rhs_shape[axis] for axis in numbers.rhs_spec[1:])

    @property
    def spatial_axes(self) -> tuple[tuple[int, ...], ...]:
        """Those of lhs, of rhs and of the result."""
        numbers = lax.conv_dimension_numbers(self.lhs_shape, self.rhs_shape, self.dimension_numbers)
        return tuple(tuple(spec[2:]) for spec in (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec))

    def operands(self) -> tuple[jax.Array, jax.Array]:
        """Random lhs and rhs: the whole range for integers; for inexact types normal, or, of odd seeds, its magnitudes.

        Sums of either sign stay small, which hides how they are rounded on the way; sums of magnitudes grow.
        """
        if not is_enabled(self.dtype):
            raise ValueError(f"Problem dtype of 64 bits needs jax_enable_x64 to be switched on, got {self.dtype!r}")
        lhs, rhs = self.drawn(self.seed, (self.lhs_shape, self.dtype), (self.rhs_shape, self.dtype))
        return lhs, rhs

    def drawn(self, seed: int, *likes: tuple[tuple[int, ...], Any]) -> list[jax.Array]:
        """Random arrays of these shapes and types, with signs if the operands have them."""
        rng = np.random.default_rng(seed)
        return [_random(rng, shape, dtype, signs=self.seed % 2 == 0) for shape, dtype in likes]

    def lax(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """What `lax.conv_general_dilated` gives for this problem."""
        return lax.conv_general_dilated(lhs, rhs, **self.arguments)

    def violation(
        self, out: ArrayLike, lhs: ArrayLike, rhs: ArrayLike, factor: float = 1.0, normwise: bool = False
    ) -> str:
        """Why `out` is not the convolution of `lhs` and `rhs`, or "" when it is.

        Shape and dtype must be those of lax, integers exact, and other values within `error_bound(..., factor)` times
        the convolution of the magnitudes, entry by entry; `normwise`, times the largest entry, in the same image and
        channel, of the convolution of the magnitudes that are largest over all positions, and all taps. Results may be
        off by the smallest number of their type as well, which those are that underflow.
        """
        expected = jax.eval_shape(self.lax, lhs, rhs)
        if report := mistyped(out, expected):
            return report
        got = jnp.asarray(out)
        exact = oracle(lhs, rhs, **self.exact_arguments)
        if not jnp.issubdtype(got.dtype, np.inexact):
            return first_wrong(np.asarray(got), in_dtype(exact, got.dtype), np.zeros(exact.shape, int))
        left, right = np.abs(wide(lhs)), np.abs(wide(rhs))
        axes = self.spatial_axes
        if normwise:
            left, right = largest(left, axes[0]), largest(right, axes[1])
        magnitude = oracle(left, right, **self.exact_arguments).astype(np.float64)
        if normwise:
            magnitude = largest(magnitude, axes[2])
        exact = exact.astype(np.complex128 if exact.dtype == np.complex128 else np.float64)
        smallest = float(jnp.finfo(got.dtype).smallest_subnormal)
        return first_wrong(wide(got), exact, error_bound(got.dtype, self.terms, factor) * magnitude + smallest)


def is_enabled(dtype: Any) -> bool:
    """False for 64-bit types unless JAX has them switched on."""
    return jax.dtypes.canonicalize_dtype(dtype) == jnp.dtype(dtype)


def mistyped(got: ArrayLike, expected: jax.ShapeDtypeStruct | jax.Array) -> str:
    """What is wrong with the type, as it is before JAX takes it for one of its own, or the shape, or ""."""
    dtype, shape = getattr(got, "dtype", None), np.shape(got)
    dtype = jnp.asarray(got).dtype if dtype is None else dtype
    if dtype == expected.dtype and shape == expected.shape:
        return ""
    return f"got {dtype}{list(shape)}, expected {expected.dtype}{list(expected.shape)}"


def first_wrong(got: NDArray, expected: NDArray, allowed: NDArray) -> str:
    """Which values are off by more than allowed (NaN is always off), or "" if none is."""
    wrong = got != expected if expected.dtype.kind in "biu" else ~(np.abs(got - expected) <= allowed)
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} values are wrong; at {index} got {got[index]}, "
        f"expected {expected[index]} within {allowed[index]:.2g}"
    )


def wide(array: ArrayLike) -> NDArray:
    """float64 or complex128; Python integers for integers."""
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.astype(object)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _keywords(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, signs: bool) -> jax.Array:
    kind = jnp.dtype(dtype)
    if kind.kind == "b":
        return jnp.asarray(rng.random(shape) < 0.5)
    if jnp.issubdtype(kind, np.integer):
        info = jnp.iinfo(kind)
        low, high = int(info.min), int(info.max)
        return jnp.asarray(rng.integers(low, high, shape, np.uint64 if low == 0 else np.int64, endpoint=True), kind)

    def normal():
        values = rng.standard_normal(shape)
        return values if signs else np.abs(values)

    return jnp.asarray(normal() + 1j * normal() if jnp.issubdtype(kind, np.complexfloating) else normal(), kind)
