"""Every algorithm in the table is lax's convolution: values, shapes, types and derivatives."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax import lax

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._geometry import geometry_of
from jaxconv.testing import DTYPES, Problem, error_bound, problems

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def conv(problem, algorithm):
    return lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm)


@every_algorithm
@given(problem=problems(dtypes=DTYPES))
def test_values(algorithm, problem):
    lhs, rhs = problem.operands()
    f = conv(problem, algorithm)
    out = f(lhs, rhs)
    assert not problem.violation(out, lhs, rhs, algorithm)
    jitted = jax.jit(f)(lhs, rhs)
    assert not problem.violation(jitted, lhs, rhs, algorithm)
    assert jax.typeof(out) == jax.typeof(jitted) == jax.typeof(problem.lax(lhs, rhs))


@every_algorithm
@given(problem=problems(dtypes=("float64", "float32", "complex128", "bfloat16")))
def test_derivatives(algorithm, problem):
    """Reverse mode, forward mode and forward over reverse, against lax's own in at least double precision."""
    lhs, rhs = problem.operands()
    ours, theirs = conv(problem, algorithm), problem.lax
    out = jax.eval_shape(ours, lhs, rhs)
    seeds = np.random.default_rng(problem.seed + 1)
    cotangent = jnp.asarray(seeds.standard_normal(out.shape).astype(out.dtype))
    dlhs = jnp.asarray(seeds.standard_normal(lhs.shape).astype(lhs.dtype))
    drhs = jnp.asarray(seeds.standard_normal(rhs.shape).astype(rhs.dtype))

    def derivatives(f):
        def of(lhs, rhs, cotangent, dlhs, drhs):
            def gradients(lhs, rhs):
                return jax.vjp(f, lhs, rhs)[1](cotangent)

            return {
                "reverse": gradients(lhs, rhs),
                "forward": jax.jvp(f, (lhs, rhs), (dlhs, drhs)),
                "forward over reverse": jax.jvp(gradients, (lhs, rhs), (dlhs, drhs))[1],
            }

        return of

    arguments = (lhs, rhs, cotangent, dlhs, drhs)
    got = jax.jit(derivatives(ours))(*arguments)
    low = jax.jit(derivatives(theirs))(*arguments)
    wide = jnp.promote_types(lhs.dtype, jnp.float64)
    exactly = Problem(**{**vars(problem), "dtype": wide.name, "preferred_element_type": None})
    exact = jax.jit(derivatives(exactly.lax))(*(x.astype(wide) for x in arguments))
    g = geometry_of(lhs, rhs, **problem.arguments)
    taps, positions = prod(g.kernel), g.batch * prod(g.out_spatial)
    terms = max(taps * g.in_channels, taps * g.out_channels, positions)  # forward, input gradient, weight gradient
    magnitude = jax.jit(derivatives(exactly.lax))(*(abs(x).astype(wide) for x in arguments))

    def agree(path, got, low, exact, magnitude):
        where = f"{algorithm} {jax.tree_util.keystr(path)}"
        assert jax.typeof(got) == jax.typeof(low), where
        # Twice the bound: forward mode adds two convolutions, and each rounds.
        allowed = 2 * error_bound(algorithm, got.dtype, terms) * magnitude.real
        np.testing.assert_array_less(abs(got.astype(wide) - exact), allowed + 1e-300, err_msg=where)

    jax.tree_util.tree_map_with_path(agree, got, low, exact, magnitude)


@every_algorithm
@given(problem=problems(dtypes=("float32", "int8"), max_macs=5_000))
def test_batched(algorithm, problem):
    lhs, rhs = problem.operands()
    pair = jnp.stack([lhs, lhs[..., ::-1]], axis=1)
    rhs_pair = jnp.stack([rhs, rhs[..., ::-1], rhs], axis=-1)
    ours, theirs = conv(problem, algorithm), problem.lax

    def both(f):
        return jax.vmap(jax.vmap(f, (1, None)), (None, -1))

    got = jax.jit(both(ours))(pair, rhs_pair)
    assert got.shape == jax.eval_shape(both(theirs), pair, rhs_pair).shape
    for i in range(2):
        for j in range(3):
            assert not problem.violation(got[j, i], pair[:, i], rhs_pair[..., j], algorithm)


@every_algorithm
@pytest.mark.parametrize("dtype", ["bool", "int4", "uint4", "float8_e4m3fn"])
def test_unusual_types_equal_lax(algorithm, dtype):
    values = (
        np.random.default_rng(0).integers(0, 3, (2, 3, 6, 6)),
        np.random.default_rng(1).integers(0, 2, (4, 3, 3, 3)),
    )
    lhs, rhs = (jnp.asarray(x).astype(dtype) for x in values)
    expected = lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME")
    got = jaxconv.conv_general_dilated(lhs, rhs, (1, 1), "SAME", algorithm=algorithm)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got.astype(jnp.float32)), np.asarray(expected.astype(jnp.float32)))


@every_algorithm
def test_without_64_bit_types(algorithm):
    with jax.enable_x64(False):
        problem = Problem((2, 4, 7, 7), (6, 2, 3, 3), (2, 1), "SAME", feature_group_count=2)
        lhs, rhs = problem.operands()
        out, gradient = jax.value_and_grad(lambda rhs: conv(problem, algorithm)(lhs, rhs).sum())(rhs)
        assert out.dtype == gradient.dtype == jnp.float32
        assert not problem.violation(conv(problem, algorithm)(lhs, rhs), lhs, rhs, algorithm)


@every_algorithm
def test_with_jit_disabled(algorithm):
    problem = Problem((1, 2, 3, 4), (2, 2, 2, 2), (1, 1), "SAME")
    lhs, rhs = problem.operands()
    with jax.disable_jit():
        assert not problem.violation(conv(problem, algorithm)(lhs, rhs), lhs, rhs, algorithm)


@every_algorithm
def test_large_input_stays_a_loop(algorithm):
    """A hundred thousand positions compile to the same small program as a hundred."""

    def program(size):
        shapes = jax.ShapeDtypeStruct((1, 1, size), "float32"), jax.ShapeDtypeStruct((1, 1, 9), "float32")
        f = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, (1,), "SAME", algorithm=algorithm))
        return len(f.lower(*shapes).as_text().splitlines())

    assert program(100_000) <= 1.2 * program(100)


def test_algorithm_reaches_the_backward_convolutions():
    problem = Problem((1, 2, 5, 5), (3, 2, 3, 3), (1, 1), "SAME")
    lhs, rhs = problem.operands()
    gradients = jax.grad(lambda lhs, rhs: conv(problem, "im2col")(lhs, rhs).sum(), argnums=(0, 1))
    text = str(jax.make_jaxpr(gradients)(lhs, rhs))
    assert text.count("algorithm=im2col") == 3
    assert "conv_general_dilated[" not in text
    assert "convolution" not in jax.jit(gradients).lower(lhs, rhs).as_text()
