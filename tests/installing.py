"""A convolution of lax to install under, and what tells which algorithm computed it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import recorded
from jax import lax

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._machine import conditions
from jaxconv._parameters import geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned


@pytest.fixture(autouse=True)
def clean():
    yield
    jaxconv.uninstall()


@pytest.fixture
def ran(monkeypatch):
    """The algorithms in the order in which convolutions were lowered by them; "xla" is lax's own and not among them."""
    return recorded(monkeypatch)


@pytest.fixture
def sevens(monkeypatch):
    """The algorithm "im2col" gives nothing but sevens, so that results tell what computed them."""

    def convolve(lhs, rhs, geometry, *bound):
        return jnp.full(geometry.out_layout.shape, 7, geometry.out_dtype)

    monkeypatch.setitem(ALGORITHMS, "im2col", ALGORITHMS["im2col"]._replace(convolve=convolve))


def random(shape, seed, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


LHS, RHS = random((2, 4, 5, 6), 0), random((4, 2, 3, 3), 1)


def conv(lhs, rhs):
    return lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", feature_group_count=2)


def ours(algorithm):
    def convolve(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", feature_group_count=2, algorithm=algorithm)

    return convolve


def planned(algorithm, dtype="float32"):
    """A plan for `conv`."""
    geometry = geometry_of(LHS.astype(dtype), RHS.astype(dtype), (1, 1), "SAME", feature_group_count=2)
    return Plan(conditions(), {geometry: Tuned(algorithm, {}, {})})


def program(f, *args):
    """What the compiler makes of it, places in the source apart and names numbered."""
    text, numbers = jax.jit(f).lower(*args).compile().as_text() or "", {}
    lines = [line.split(", metadata=")[0] for line in text.splitlines() if " = " in line]
    return [re.sub(r"%[\w.-]+", lambda name: f"%{numbers.setdefault(name[0], len(numbers))}", line) for line in lines]


def is_lax(f, *args):
    """Whether a convolution of the compiler's is in it."""
    return "stablehlo.convolution" in jax.jit(f).lower(*args).as_text()


def assert_same(got, expected, tolerance=1e-9):
    def same(got, expected):
        assert jax.typeof(got) == jax.typeof(expected)  # shape, dtype, weak type, sharding
        loose = 0.02 if got.dtype == "bfloat16" else tolerance
        got, expected = (np.asarray(x.astype("complex128" if x.dtype.kind == "c" else float)) for x in (got, expected))
        np.testing.assert_allclose(got, expected, loose, loose)

    jax.tree.map(same, got, expected)
