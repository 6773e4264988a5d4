"""Put a convolution to the test: values, types and derivatives on random problems."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck
from hypothesis import strategies as st

from .._accuracy import error_bound, largest
from .._parameters import geometry_of
from ._problem import Problem, first_wrong, wide
from ._strategy import problems as any_problem

CHECKS = ("value", "jit", "vmap", "jvp", "gradient", "second derivative")
"""What a convolution can be tried for, in the order in which it is."""


def check(
    convolve: Callable[..., jax.Array],
    problems: st.SearchStrategy[Problem] | None = None,
    *,
    checks: Sequence[str] = CHECKS,
    factor: float = 1.0,
    normwise: bool = False,
    max_examples: int = 50,
) -> None:
    """Raise AssertionError, with the smallest problem found, unless `convolve` is a convolution.

    What `convolve` itself raises is passed on, with the call that made it as a note.

    Args:
      convolve: called as `lax.conv_general_dilated(lhs, rhs, window_strides=..., padding=..., ...)`.
      problems: what to try it on, by default all that lax takes in float32; see `jaxconv.testing.problems`.
      checks: some of `CHECKS`: the value, its value under `jit`, a `vmap` over lhs, `jax.jvp`, `jax.vjp` in both
        operands, and the forward-mode derivative of those gradients. Shapes and dtypes are checked in each.
      factor: of the error bound, see `error_bound`; 1 for direct sums.
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
    if unknown := set(checks) - set(CHECKS):
        raise ValueError(f"checks must be among {CHECKS}, got {sorted(unknown)}")

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
            report = disagreement(convolve, problem, checks=checks, factor=factor, normwise=normwise)
        except Exception as error:  # of the convolution
            error.add_note(problem.call)
            raise
        if report:
            raise AssertionError(f"{report}\n{problem.call}")

    try_one()


def disagreement(
    convolve: Callable[..., jax.Array],
    problem: Problem,
    *,
    checks: Sequence[str] = CHECKS,
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

    def conv(lhs, rhs):
        return convolve(lhs, rhs, **problem.arguments)

    def judge(out, lhs):
        return problem.violation(out, lhs, rhs, factor, normwise)

    lhs, rhs = problem.operands()
    for name in CHECKS:
        if name in checks and name in _VALUES and (report := _VALUES[name](conv, judge, lhs, rhs)):
            return f"{name}: {report}"
    derivatives = [name for name in CHECKS if name in checks and name in _DERIVATIVES]
    if not derivatives or not jnp.issubdtype(lhs.dtype, np.inexact):
        return ""
    return _derivatives(conv, problem, lhs, rhs, factor, normwise, derivatives)


def _value(conv, judge, lhs, rhs) -> str:
    return judge(conv(lhs, rhs), lhs)


def _jit(conv, judge, lhs, rhs) -> str:
    return judge(jax.jit(conv)(lhs, rhs), lhs)


def _vmap(conv, judge, lhs, rhs) -> str:
    pair = jnp.stack([lhs, lhs[..., ::-1]], axis=1)
    out = jax.jit(jax.vmap(conv, (1, None)))(pair, rhs)
    return next(filter(None, (judge(out[i], pair[:, i]) for i in range(2))), "")


_VALUES = {"value": _value, "jit": _jit, "vmap": _vmap}


def _jvp(conv, lhs, rhs, dlhs, drhs, cotangent):
    return jax.jvp(conv, (lhs, rhs), (dlhs, drhs))


def _gradient(conv, lhs, rhs, dlhs, drhs, cotangent):
    return jax.vjp(conv, lhs, rhs)[1](cotangent)


def _second_derivative(conv, lhs, rhs, dlhs, drhs, cotangent):
    """Forward over reverse."""
    return jax.jvp(lambda lhs, rhs: jax.vjp(conv, lhs, rhs)[1](cotangent), (lhs, rhs), (dlhs, drhs))[1]


_DERIVATIVES = {"jvp": _jvp, "gradient": _gradient, "second derivative": _second_derivative}


def _derivatives(conv, problem: Problem, lhs, rhs, factor, normwise: bool, names: list[str]) -> str:
    """Against the same derivatives of lax's convolution, taken in double precision.

    A derivative of a convolution is a sum of convolutions of the operands and tangents; the same derivative of their
    magnitudes is the sum of the convolutions of magnitudes, which is what the error bound asks for.
    """

    def of(conv):
        """All in one program, which is compiled once."""
        return lambda *arrays: {name: _DERIVATIVES[name](conv, *arrays) for name in names}

    out = jax.eval_shape(conv, lhs, rhs)
    rng = np.random.default_rng(problem.seed + 1)
    others = [
        jnp.asarray(rng.standard_normal(like.shape), like.dtype)  # tangents of lhs and rhs, and a cotangent
        for like in (lhs, rhs, out)
    ]
    got = jax.jit(of(conv))(lhs, rhs, *others)
    low = jax.eval_shape(of(problem.lax), lhs, rhs, *others)
    g = geometry_of(lhs, rhs, **problem.arguments)
    taps, positions = prod(g.kernel), g.batch * prod(g.out_spatial)
    terms = max(taps * g.in_channels, taps * g.out_channels, positions)  # of the value and of the two gradients
    with jax.enable_x64(True):
        operands = [wide(x) for x in (lhs, rhs, *others)]
        exact_problem = replace(problem, dtype=operands[0].dtype.name, preferred_element_type=None)
        exactly = jax.jit(of(exact_problem.lax))
        exact = jax.tree.map(np.asarray, exactly(*operands))
        sizes = [abs(x) for x in operands]
        if normwise:
            of_lhs, of_rhs, of_out = problem.spatial_axes
            sizes = [largest(x, axes) for x, axes in zip(sizes, (of_lhs, of_rhs, of_lhs, of_rhs, of_out), strict=True)]
        magnitude = jax.tree.map(np.asarray, exactly(*(x.astype(operands[0].dtype) for x in sizes)))
    for name in names:
        for one, like, value, most in zip(got[name], low[name], exact[name], magnitude[name], strict=True):
            if one.shape != like.shape or one.dtype != like.dtype:
                return f"{name}: got {one.dtype}{list(one.shape)}, expected {like.dtype}{list(like.shape)}"
            # Twice the bound of one convolution: forward mode adds two, and each rounds.
            size = np.full(most.shape, np.real(most).max(initial=0)) if normwise else np.real(most)
            allowed = 2 * error_bound(one.dtype, terms, factor) * size
            if report := first_wrong(wide(one), value, allowed):
                return f"{name}: {report}"
    return ""
