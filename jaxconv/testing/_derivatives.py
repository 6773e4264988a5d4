"""Derivatives of a convolution on one problem, and whether they are right."""

from dataclasses import replace
from math import prod

import jax
import numpy as np

from .._accuracy import error_bound, largest
from .._parameters import geometry_of
from ._problem import Problem, first_wrong, mistyped, wide


def _jvp(conv, lhs, rhs, dlhs, drhs, cotangent):
    return jax.jvp(conv, (lhs, rhs), (dlhs, drhs))


def _gradient(conv, lhs, rhs, dlhs, drhs, cotangent):
    return jax.vjp(conv, lhs, rhs)[1](cotangent)


def _second_derivative(conv, lhs, rhs, dlhs, drhs, cotangent):
    """Forward over reverse."""
    return jax.jvp(lambda lhs, rhs: jax.vjp(conv, lhs, rhs)[1](cotangent), (lhs, rhs), (dlhs, drhs))[1]


# What runs twice is not worth optimizing.
UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
DERIVATIVES = {"jvp": _jvp, "gradient": _gradient, "second derivative": _second_derivative}


def wrong_derivatives(conv, problem: Problem, lhs, rhs, factor, normwise: bool, names: list[str]) -> str:
    """Against the same derivatives of lax's convolution, taken in double precision.

    A derivative of a convolution is a sum of convolutions of the operands and tangents; the same derivative of their
    magnitudes is the sum of the convolutions of magnitudes, which is what the error bound asks for.
    """

    def of(conv):
        """All in one program, which is compiled once."""
        return lambda *arrays: {name: DERIVATIVES[name](conv, *arrays) for name in names}

    out = jax.eval_shape(conv, lhs, rhs)
    likes = [(like.shape, like.dtype) for like in (lhs, rhs, out)]
    others = problem.drawn(problem.seed + 1, *likes)  # tangents of lhs and rhs, and a cotangent
    got = jax.jit(of(conv))(lhs, rhs, *others)
    low = jax.eval_shape(of(problem.lax), lhs, rhs, *others)
    g = geometry_of(lhs, rhs, **problem.arguments)
    taps, positions = prod(g.kernel), g.batch * prod(g.out_spatial)
    terms = max(taps * g.in_channels, taps * g.out_channels, positions)  # of the value and of the two gradients
    with jax.enable_x64(True):
        operands = [wide(x) for x in (lhs, rhs, *others)]
        exact_problem = replace(problem, dtype=operands[0].dtype.name, preferred_element_type=None)
        exactly = jax.jit(of(exact_problem.lax), compiler_options=UNOPTIMIZED)
        exact = jax.tree.map(np.asarray, exactly(*operands))
        sizes = [abs(x) for x in operands]
        if normwise:
            of_lhs, of_rhs, of_out = problem.spatial_axes
            sizes = [largest(x, axes) for x, axes in zip(sizes, (of_lhs, of_rhs, of_lhs, of_rhs, of_out), strict=True)]
        magnitude = jax.tree.map(np.asarray, exactly(*(x.astype(operands[0].dtype) for x in sizes)))
    for name in names:
        for one, like, value, most in zip(got[name], low[name], exact[name], magnitude[name], strict=True):
            if report := mistyped(one, like):
                return f"{name}: {report}"
            # Twice the bound of one convolution: forward mode adds two, and each rounds.
            size = np.full(most.shape, np.real(most).max(initial=0)) if normwise else np.real(most)
            allowed = 2 * error_bound(one.dtype, terms, factor) * size
            if report := first_wrong(wide(one), value, allowed):
                return f"{name}: {report}"
    return ""
