"""Once installed, every lax convolution is what `accelerate` makes of it; those of jaxconv's own stay as they are."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from installing import LHS, RHS, assert_same, conv, is_lax, ours, planned, program, random
from installing import clean as clean
from installing import ran as ran
from jax import lax
from small_problems import example
from test_accelerate import PLACES
from test_algorithms import judged
from test_transformations import TRANSFORMED, theirs

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._machine import conditions
from jaxconv._parameters import from_params, geometry_of
from jaxconv._plan import Plan
from jaxconv._plan_file import Tuned


@contextmanager
def installed(**arguments):
    jaxconv.install(**arguments)
    try:
        yield
    finally:
        jaxconv.uninstall()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_program_as_accelerate(algorithm, ran):
    """Also where an algorithm ends in convolutions of lax, which must not be chosen for a second time."""
    problem = example(algorithm)
    operands = problem.operands()

    def both(lhs, rhs):
        out, pullback = jax.vjp(problem.lax, lhs, rhs)
        return out, pullback(jnp.cos(out))

    expected, plain = program(jaxconv.accelerate(both, algorithm=algorithm), *operands), jax.jit(both)(*operands)
    by_accelerate = ran[:]
    ran.clear()
    jaxconv.install(algorithm=algorithm)
    assert program(both, *operands) == expected
    assert ran == by_accelerate and (algorithm in ran or algorithm == "xla")
    out, gradients = jax.jit(both)(*operands)
    assert not judged(problem, algorithm, out, *operands)
    assert_same(gradients, plain[1], 1e-4)


# What is told apart by more than the places below.
MORE = (
    "jvp",
    "vmap of batch groups",
    "vmap, none of them",
    "grad of vmap",
    "explicitly sharded",
    "explicitly sharded gradients",
    "gradients of a wider result",
    "integers to float",
)


@pytest.fixture(scope="module")
def transformed():
    """name -> what lax gives, and what it gives while installed. One change for all: each makes JAX compile anew."""
    expected = {name: TRANSFORMED[name](theirs) for name in MORE}
    with installed(algorithm="im2col"):
        got = {name: TRANSFORMED[name](theirs) for name in MORE}
    return {name: (got[name], expected[name]) for name in MORE}


@pytest.mark.parametrize("name", MORE)
def test_the_same_values_types_and_shardings(name, transformed):
    assert_same(*transformed[name])


SUB_PROGRAMS = (
    "while",
    "switch",
    "vmap",
    "shard_map",
    "custom_batching",
    "grad of custom_vjp",
    "grad of custom_jvp",
    "grad of checkpoint",
    "grad of scan",
)


@pytest.fixture(scope="module")
def places():
    """name -> whether lax's convolution is left in the program, which gives what, and should give what."""
    operands = LHS.astype("float64"), RHS.astype("float64")

    def look(f):
        lowered = jax.jit(f).lower(*operands)
        return "stablehlo.convolution" in lowered.as_text(), lowered.compile()(*operands)

    expected = {name: look(PLACES[name][0]) for name in SUB_PROGRAMS}
    with installed(algorithm="im2col"):
        got = {name: look(PLACES[name][0]) for name in SUB_PROGRAMS}
    return {name: (got[name], expected[name]) for name in SUB_PROGRAMS}


@pytest.mark.parametrize("place", SUB_PROGRAMS)
def test_none_is_left_behind(place, places):
    """Gradients that a custom derivative makes by itself are found as well, wherever they are made."""
    (left, got), (was_there, expected) = places[place]
    assert was_there and not left
    assert_same(got, expected)


def test_eagerly(ran):
    jaxconv.install(algorithm="im2col")
    expected = jaxconv.conv_general_dilated(LHS, RHS, (1, 1), "SAME", feature_group_count=2, algorithm="naive")
    ran.clear()
    assert_same(conv(LHS, RHS), expected, 1e-5)
    assert ran == ["im2col"]
    with jax.disable_jit():
        assert_same(conv(LHS[:1], RHS), expected[:1], 1e-5)
    assert ran == ["im2col"] * 2


def test_complex_ones(ran):
    """Lax makes three real convolutions of one on the CPU, after the choice; those are not chosen for."""
    operands = LHS.astype("complex64"), RHS.astype("complex64")
    expected = program(conv, *operands)
    jaxconv.install()
    with Plan(conditions(), {**planned("im2col").convolutions, **planned("xla", "complex64").convolutions}):
        assert program(conv, *operands) == expected and not ran
        assert not is_lax(conv, LHS, RHS) and ran == ["im2col"]
    with planned("im2col", "complex64"):
        assert not is_lax(conv, *operands) and ran == ["im2col"] * 2


def test_equal_convolutions_inside_and_outside_of_an_algorithm(ran):
    """A volume as a sum of images, and the same convolution of images by itself, which takes another algorithm."""
    volume, taps = random((1, 2, 4, 6, 6), 2), random((3, 2, 2, 3, 3), 3)

    def volumes(lhs, rhs):
        return lax.conv(lhs, rhs, (1, 1, 1), "SAME")

    whole = geometry_of(volume, taps, (1, 1, 1), "SAME")
    inside = jax.make_jaxpr(lambda lhs, rhs: ALGORITHMS["slabs"].convolve(lhs, rhs, whole))(volume, taps)
    equation = next(eqn for eqn in inside.eqns if eqn.primitive.name == "conv_general_dilated")
    shapes = [random(var.aval.shape, 4) for var in equation.invars]

    def images(lhs, rhs):
        return equation.primitive.bind(lhs, rhs, **equation.params)

    part = from_params(shapes[0], shapes[1], equation.params)
    plan = Plan(conditions(), {whole: Tuned("slabs", {}, {}), part: Tuned("im2col", {}, {})})
    operands = (volume, taps, *shapes)
    for f in (
        lambda lhs, rhs, image, kernel: (volumes(lhs, rhs), images(image, kernel)),
        lambda lhs, rhs, image, kernel: (images(image, kernel), volumes(lhs, rhs)),
    ):
        with plan:
            jaxconv.uninstall()
            expected = program(jaxconv.accelerate(f), *operands)
            ran.clear()
            jaxconv.install()
            assert program(f, *operands) == expected
            assert sorted(ran) == ["im2col", "slabs"]


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_those_with_an_algorithm_of_their_own(dtype, ran):
    operands = LHS.astype(dtype), RHS.astype(dtype)
    names = ("xla", "packing", "kn2row")
    before = {name: program(ours(name), *operands) for name in names}
    lax_before = program(conv, *operands)
    expected = conv(*operands)
    jaxconv.install(algorithm="im2col")
    assert not is_lax(conv, *operands)
    ran.clear()
    assert {name: program(ours(name), *operands) for name in names} == before and "im2col" not in ran
    assert program(jaxconv.accelerate(conv, algorithm="xla"), *operands) == before["xla"] == lax_before
    with jax.disable_jit():
        np.testing.assert_array_equal(ours("xla")(*operands), expected)
    assert "im2col" not in ran
