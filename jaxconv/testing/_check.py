"""Put a convolution to the test: values, types and derivatives on random problems."""

from collections.abc import Callable, Iterable

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from ._derivatives import DERIVATIVES, wrong_derivatives
from ._problem import Problem
from ._strategy import problems as any_problem

CHECKS = ("value", "jit", "vmap", "jvp", "gradient", "second derivative")
"""What a convolution can be tried for, in the order in which it is."""


def check(
    convolve: Callable[..., jax.Array],
    problems: st.SearchStrategy[Problem] | None = None,
    *,
    checks: Iterable[str] = CHECKS,
    factor: float = 1.0,
    normwise: bool = False,
    max_examples: int = 50,
) -> None:
    """Raise AssertionError, with the smallest problem found, unless `convolve` is a convolution.

    What `convolve` itself raises is passed on, with the call that made it as a note. A problem that fails once and not
    when it is tried again is an AssertionError, too: "not deterministic".

    Args:
      convolve: called as `lax.conv_general_dilated(lhs, rhs, window_strides=..., padding=..., ...)`.
      problems: what to try it on, by default all that lax takes in float32; see `jaxconv.testing.problems`.
      checks: some of `CHECKS`: the value, its value under `jit`, `vmap` over lhs, over rhs and over both, `jax.jvp`,
        `jax.vjp` in both operands, and the forward-mode derivative of those gradients. Shapes and dtypes are checked in
        each.
      factor: of the error bound, see `error_bound`; 1 for direct sums. For results narrower than float32, of the sum in
        float32 before the rounding.
      normwise: judge errors by the largest value there could be, not each by its own: for transforms (Winograd,
        Fourier), which mix neighbours before they multiply. See `Problem.violation`.
      max_examples: how many problems to draw.

    A kernel that swaps the sides of an uneven padding is found out, with a call to paste:

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv.testing import check, problems
    >>> def mine(lhs, rhs, window_strides, padding, **rest):
    ...     swapped = {"SAME": "SAME_LOWER", "SAME_LOWER": "SAME"}.get(padding, padding)
    ...     return jax.lax.conv_general_dilated(lhs, rhs, window_strides, swapped, **rest)
    >>> simple = problems(ndim=1, groups=False, lhs_dilation=False, layouts=(("NWC", "WIO", "NWC"),))
    >>> try:
    ...     check(mine, simple, checks=["value"])
    ... except AssertionError as error:
    ...     print(error)
    value: 1 of 1 values are wrong; at (0, 0, 0) got ..., expected ... within ...
    lhs, rhs = Problem(lhs_shape=(1, 1, 1), rhs_shape=(2, 1, 1), window_strides=(1,), padding='SAME', ...).operands()
    out = conv_general_dilated(lhs, rhs, window_strides=(1,), padding='SAME', dimension_numbers=('NWC', 'WIO', 'NWC'))
    """
    asked = _asked("check", checks)

    @hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @hypothesis.given(any_problem() if problems is None else problems)
    def try_one(problem: Problem) -> None:
        try:
            report = disagreement(convolve, problem, checks=asked, factor=factor, normwise=normwise)
        except Exception as error:  # of the convolution
            error.add_note(problem.call)
            raise
        if report:
            raise AssertionError(f"{report}\n{problem.call}")

    try:
        try_one()
    except FlakyFailure as flaky:
        raise _of_times(flaky) from flaky.exceptions[0]


def disagreement(
    convolve: Callable[..., jax.Array],
    problem: Problem,
    *,
    checks: Iterable[str] = CHECKS,
    factor: float = 1.0,
    normwise: bool = False,
) -> str:
    """What `check` finds wrong with one problem: the check's name and the first wrong value, or "".

    The keywords are those of `check`.

    >>> import jax
    >>> from jaxconv.testing import Problem, disagreement
    >>> disagreement(jax.lax.conv_general_dilated, Problem((1, 2, 5), (3, 2, 2), (1,), "SAME"))
    ''
    """
    asked = _asked("disagreement", checks)

    def conv(lhs, rhs):
        return convolve(lhs, rhs, **problem.arguments)

    def judge(out, lhs, rhs):
        return problem.violation(out, lhs, rhs, factor, normwise)

    lhs, rhs = problem.operands()
    for name in CHECKS:
        if name in asked and name in _VALUES and (report := _VALUES[name](conv, judge, lhs, rhs)):
            return f"{name}: {report}"
    derivatives = [name for name in CHECKS if name in asked and name in DERIVATIVES]
    if not derivatives or not jnp.issubdtype(lhs.dtype, np.inexact):
        return ""
    return wrong_derivatives(conv, problem, lhs, rhs, factor, normwise, derivatives)


def _asked(function: str, checks: Iterable[str]) -> tuple[str, ...]:
    """All of them known, and one at least: a misspelt check would find nothing wrong with anything."""
    asked = tuple(checks)
    unknown = [name for name in asked if name not in CHECKS]
    if unknown or not asked:
        known = ", ".join(map(repr, CHECKS))
        raise ValueError(f"{function} checks must be some of {known}, got {unknown or 'none'}")
    return asked


def _of_times(flaky: FlakyFailure) -> AssertionError:
    """For what failed once and not when it was tried again: with the report, and the call, of that once."""
    once = flaky.exceptions[0]
    calls = [note for note in getattr(once, "__notes__", ()) if note.startswith("lhs, rhs = ")]  # what convolve raised
    report = f"{type(once).__name__}: {once}\n{calls[0]}" if calls else once
    return AssertionError(f"not deterministic: {report}")


def _value(conv, judge, lhs, rhs) -> str:
    return judge(conv(lhs, rhs), lhs, rhs)


def _jit(conv, judge, lhs, rhs) -> str:
    return judge(jax.jit(conv)(lhs, rhs), lhs, rhs)


def _vmap(conv, judge, lhs, rhs) -> str:
    """Over lhs, over rhs and over both, in one program, which is compiled once."""
    two_lhs, two_rhs = jnp.stack([lhs, lhs[..., ::-1]], axis=1), jnp.stack([rhs, rhs[..., ::-1]], axis=-1)

    @jax.jit
    def batched(lhs, rhs, two_lhs, two_rhs):
        of_lhs, of_rhs = jax.vmap(conv, (1, None))(two_lhs, rhs), jax.vmap(conv, (None, -1))(lhs, two_rhs)
        return of_lhs, of_rhs, jax.vmap(conv, (1, -1))(two_lhs, two_rhs)

    of_lhs, of_rhs, of_both = batched(lhs, rhs, two_lhs, two_rhs)
    for i in range(2):
        left, right = two_lhs[:, i], two_rhs[..., i]
        if report := judge(of_lhs[i], left, rhs) or judge(of_rhs[i], lhs, right) or judge(of_both[i], left, right):
            return report
    return ""


_VALUES = {"value": _value, "jit": _jit, "vmap": _vmap}
