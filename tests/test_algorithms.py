"""Every algorithm in the table is lax's convolution: values, shapes, types and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax import lax

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._accuracy import ERROR_FACTOR
from jaxconv._algorithms import Algorithm
from jaxconv.testing import DTYPES, WIDER, Problem, disagreement, problems

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def conv(problem, algorithm):
    return lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm)


def agrees(problem, algorithm, *checks):
    def convolve(*args, **kwargs):
        return jaxconv.conv_general_dilated(*args, **kwargs, algorithm=algorithm)

    report = disagreement(convolve, problem, checks=checks, factor=ERROR_FACTOR[algorithm])
    assert not report, report


@every_algorithm
@given(problem=problems(dtypes=DTYPES))
def test_values(algorithm, problem):
    agrees(problem, algorithm, "value", "jit")


@every_algorithm
@given(problem=problems(dtypes=("float64", "float32", "complex128", "bfloat16")))
def test_derivatives(algorithm, problem):
    agrees(problem, algorithm, "jvp", "gradient", "second derivative")


@every_algorithm
@given(problem=problems(dtypes=("float32", "int8"), max_macs=2_000))
def test_batched(algorithm, problem):
    lhs, rhs = problem.operands()
    pair, three = jnp.stack([lhs, lhs[..., ::-1]], axis=1), jnp.stack([rhs, rhs[..., ::-1], rhs], axis=-1)
    got = jax.jit(jax.vmap(jax.vmap(conv(problem, algorithm), (1, None)), (None, -1)))(pair, three)
    for i in range(2):
        for j in range(3):
            assert not problem.violation(got[j, i], pair[:, i], three[..., j], ERROR_FACTOR[algorithm])


TYPES = [(dtype, wider) for dtype in DTYPES for wider in (None, *WIDER.get(dtype, []))]
TYPES.append(("complex64", "complex128"))


@every_algorithm
@pytest.mark.parametrize("dtype, preferred", TYPES, ids=[f"{dtype} {wider or ''}".strip() for dtype, wider in TYPES])
def test_the_result_has_the_type_it_is_said_to_have(algorithm, dtype, preferred):
    problem = Problem((2, 2, 3), (2, 2, 2), (1,), "SAME", dtype=dtype, preferred_element_type=preferred)
    lhs, rhs = problem.operands()
    f = jax.jit(conv(problem, algorithm))
    said = f.eval_shape(lhs, rhs)
    out = f(lhs, rhs)
    assert np.asarray(out).dtype == out.dtype == said.dtype == problem.lax(lhs, rhs).dtype == (preferred or dtype)
    assert out.nbytes == said.size * said.dtype.itemsize


@every_algorithm
def test_wider_complex_results(algorithm):
    """lax rounds on the way (see `jaxconv.testing.WIDER`); the others are as exact as the type they return."""
    problem = Problem((2, 3, 9), (4, 3, 3), (1,), "SAME", dtype="complex64", preferred_element_type="complex128")
    lhs, rhs = problem.operands()
    out = conv(problem, algorithm)(lhs, rhs)
    lax_rounds = problem.violation(out, lhs, rhs)
    assert bool(lax_rounds) == (algorithm == "xla")
    assert not problem.violation(out, lhs, rhs, factor=2.0**29)  # as a complex64 result would be judged


def test_an_algorithm_that_breaks_its_promise_is_stopped(monkeypatch):
    forgets = Algorithm(lambda lhs, rhs, geometry: lax.conv(lhs, rhs, (1,), "VALID"), lambda geometry: "")
    monkeypatch.setitem(ALGORITHMS, "forgets", forgets)
    with pytest.raises(TypeError, match="algorithm 'forgets' gave float32.* promised are .*'float64'"):
        jaxconv.conv_general_dilated(
            jnp.ones((1, 1, 5), "float32"),
            jnp.ones((1, 1, 2), "float32"),
            (1,),
            "VALID",
            preferred_element_type="float64",
            algorithm="forgets",
        )


def test_every_algorithm_states_its_error():
    assert list(ERROR_FACTOR) == list(ALGORITHMS)


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
        assert not problem.violation(conv(problem, algorithm)(lhs, rhs), lhs, rhs)


@every_algorithm
def test_with_jit_disabled(algorithm):
    problem = Problem((1, 2, 3, 4), (2, 2, 2, 2), (1, 1), "SAME")
    lhs, rhs = problem.operands()
    with jax.disable_jit():
        assert not problem.violation(conv(problem, algorithm)(lhs, rhs), lhs, rhs)


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
