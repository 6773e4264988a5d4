"""The tests bite: programs that are wrong in small ways are found by the same problems and the same judge."""

import dataclasses

import hypothesis
import jax.numpy as jnp
import pytest

from jaxconv._geometry import geometry_of
from jaxconv.testing import problems


def scaled(problem, lhs, rhs):
    return problem.lax(lhs, rhs) * jnp.asarray(1.01, lhs.dtype)


def padding_swapped(problem, lhs, rhs):
    pairs = geometry_of(lhs, rhs, **problem.arguments).padding
    swapped = dataclasses.replace(problem, padding=tuple((high, low) for low, high in pairs))
    return swapped.lax(lhs, rhs)


def kernel_flipped(problem, lhs, rhs):
    spatial = geometry_of(lhs, rhs, **problem.arguments).dimension_numbers.rhs_spec[2:]
    return problem.lax(lhs, jnp.flip(rhs, spatial))


def one_group(problem, lhs, rhs):
    """Right weights, wrong group: the groups of the output in reverse."""
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    layout = geometry.out_layout
    out = problem.lax(lhs, rhs).reshape(layout.split)
    return jnp.flip(out, layout.order[-2]).reshape(layout.shape)


def narrow_sum(problem, lhs, rhs):
    """A float32 result from a bfloat16 sum."""
    return problem.lax(lhs.astype(jnp.bfloat16), rhs.astype(jnp.bfloat16)).astype(lhs.dtype)


@pytest.mark.parametrize("wrong", [scaled, padding_swapped, kernel_flipped, one_group, narrow_sum])
def test_wrong_convolutions_are_caught(wrong):
    def caught(problem):
        lhs, rhs = problem.operands()
        return bool(problem.violation(wrong(problem, lhs, rhs), lhs, rhs))

    settings = hypothesis.settings(max_examples=100, derandomize=True, database=None)
    found = hypothesis.find(problems(), caught, settings=settings)
    lhs, rhs = found.operands()
    assert not found.violation(found.lax(lhs, rhs), lhs, rhs)
    assert lhs.size <= 64 and rhs.size <= 64, "the example shown to a person should be small"


def test_wrong_type_is_caught():
    def caught(problem):
        lhs, rhs = problem.operands()
        return bool(problem.violation(problem.lax(lhs, rhs).astype("float64"), lhs, rhs))

    hypothesis.find(problems(), caught, settings=hypothesis.settings(max_examples=10, database=None))
