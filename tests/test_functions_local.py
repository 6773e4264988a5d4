"""Convolution with weights of their own for each position: lax's, with a bound for each value and derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import convolutions
from hypothesis import assume, given
from jax import lax
from marks import where_lax_has_all
from test_functions_patches import FIXED, arguments

import jaxconv
from jaxconv.testing import DTYPES, Problem, error_bound, problems


def operands(problem, outputs=3):
    """Image and weights, an array of the shape of the result, and how many products each result is the sum of."""
    image = problem.operands()[0]
    patches = jax.eval_shape(lambda image: lax.conv_general_dilated_patches(image, **arguments(problem)), image)
    numbers = lax.conv_dimension_numbers(problem.lhs_shape, problem.rhs_shape, problem.dimension_numbers)
    sizes = [patches.shape[axis] for axis in numbers.out_spec]
    shape, out_shape = [0] * len(sizes), [0] * len(sizes)
    for axis, size in zip(numbers.rhs_spec, (outputs, *sizes[1:]), strict=True):
        shape[axis] = size
    for axis, size in zip(numbers.out_spec, (sizes[0], outputs, *sizes[2:]), strict=True):
        out_shape[axis] = size
    weights, out = (
        Problem(tuple(shape), (), (), "", dtype=problem.dtype, seed=1).operands()[0] for shape in (shape, out_shape)
    )
    return image, weights, out, sizes[1]


def local(problem, module=jaxconv):
    return lambda image, weights: module.conv_general_dilated_local(image, weights, **arguments(problem))


def everything(f):
    """Value, gradients, and the derivative in a direction, which is the sum of two."""

    def of(image, weights, out):
        value, vjp = jax.vjp(f, image, weights)
        tangents = image[..., ::-1], weights[..., ::-1]
        return value, *vjp(out), jax.jvp(f, (image, weights), tangents)[1]

    return jax.jit(of)


def agree(problem, f):
    image, weights, out, terms = operands(problem)
    if not jnp.issubdtype(image.dtype, np.inexact):
        got, expected = f(image, weights), local(problem, lax)(image, weights)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
        return
    is_complex = jnp.issubdtype(image.dtype, np.complexfloating)
    exactly = everything(local(problem, lax))
    wide = [jnp.asarray(x, "complex128" if is_complex else "float64") for x in (image, weights, out)]
    exact, size = exactly(*wide), exactly(*map(abs, wide))
    allowed = 2 * error_bound(image.dtype, max(terms, problem.lhs_shape[0], 3))  # 3 outputs
    if image.dtype.itemsize == 8 and not is_complex or image.dtype == "complex128":
        allowed *= 2  # the reference is no more exact
    for one, value, magnitude in zip(everything(f)(image, weights, out), exact, size, strict=True):
        assert one.dtype == image.dtype and one.shape == value.shape
        assert (abs(one.astype(value.dtype) - value) <= allowed * magnitude.real).all()


@given(problem=problems(dtypes=(*DTYPES, "bool"), groups=False, preferred_element_type=False, max_macs=3_000))
def test_values_and_derivatives(problem):
    numbers = lax.conv_dimension_numbers(problem.lhs_shape, problem.rhs_shape, problem.dimension_numbers)
    assume(problem.lhs_shape[numbers.lhs_spec[1]])
    agree(problem, local(problem))


@pytest.mark.parametrize("problem", FIXED.values(), ids=FIXED)
def test_one_of_each_kind(problem):
    agree(problem, local(problem))


def test_weights_of_another_position_are_found():
    problem = Problem((2, 2, 5), (1, 1, 3), (1,), "VALID")
    with pytest.raises(AssertionError):
        agree(problem, lambda image, weights: local(problem)(image, weights[..., ::-1]))
    with pytest.raises(AssertionError):  # taps slowest, then channels
        agree(problem, lambda image, weights: local(problem)(image, weights[:, jnp.array([0, 2, 4, 1, 3, 5])]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_are_rounded_once(dtype):
    problem = Problem((2, 8, 6, 6), (1, 1, 3, 3), (1, 1), "VALID", dtype=dtype)
    image, weights, _, terms = operands(problem)
    exact, size = (local(problem, lax)(f(image), f(weights)) for f in (jnp.float64, lambda x: abs(jnp.float64(x))))
    error = abs(local(problem)(image, weights).astype("float64") - exact)
    # Half the spacing of the result's type, and what float32 adds.
    assert (error <= jnp.finfo(dtype).eps / 2 * abs(exact) + 2 * error_bound("float32", terms) * size).all()


def test_equal_weights_are_a_convolution():
    image = Problem((2, 3, 6, 5), (4, 3, 3, 2), (2, 1), "SAME", dtype="int32")
    lhs, rhs = image.operands()
    everywhere = jnp.broadcast_to(rhs.reshape(4, -1)[..., None, None], (4, 18, 3, 5))
    with where_lax_has_all():
        expected = image.lax(lhs, rhs)
    np.testing.assert_array_equal(local(image)(lhs, everywhere), expected)


def test_batched_compiled_and_without_a_convolution():
    problem = Problem((2, 2, 6), (1, 1, 3), (2,), "SAME")
    image, weights, _, _ = operands(problem)
    both = jnp.stack([weights, 2 * weights], -1)
    out = jax.jit(jax.vmap(local(problem), (None, -1)))(image, both)
    np.testing.assert_allclose(out[1], 2 * out[0], rtol=1e-6)
    np.testing.assert_allclose(out[0], local(problem)(image, weights), rtol=1e-6)
    assert convolutions(local(problem), image, weights) == (0, 0)


def test_symbolic_sizes():
    problem = Problem((2, 2, 6), (1, 1, 3), (1,), "VALID")
    image, weights, _, _ = operands(problem)
    scope = jax.export.SymbolicScope(["w >= 3"])
    structs = (
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=scope), image.dtype)
        for shape in ("b, 2, w", "3, 6, w - 2")
    )
    exported = jax.export.export(jax.jit(local(problem)))(*structs)
    np.testing.assert_allclose(exported.call(image, weights), local(problem)(image, weights), rtol=1e-6)


def test_operands_of_two_types_as_in_lax():
    problem = Problem((2, 2, 6), (1, 1, 3), (2,), "SAME")
    image, weights, _, _ = operands(problem)
    for right in (weights.astype("bfloat16"), weights.astype("float64")):
        got, expected = local(problem)(image, right), local(problem, lax)(image, right)
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(rhs=jnp.ones((4, 18, 3, 2))), r"rhs must have shape \(any, 18, 3, 3\), got \(4, 18, 3, 2\)"),
        (dict(rhs=jnp.ones((4, 9, 3, 3))), r"rhs must have shape \(any, 18, 3, 3\), got \(4, 9, 3, 3\)"),
        (dict(rhs=jnp.ones((4, 18, 9))), r"rhs must have shape \(any, 18, 3, 3\), got \(4, 18, 9\)"),
        (dict(lhs=[1.0]), r"conv_general_dilated_local lhs must be an array, got \[1.0\]"),
        (dict(rhs=None), "conv_general_dilated_local rhs must be an array, got None"),
        (dict(precision="very good"), "Precision argument must be one of"),
        (dict(window_strides=(0, 1)), r"window_strides must be positive, got \(0, 1\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors(wrong, message):
    call = {"lhs": jnp.ones((1, 2, 5, 5)), "rhs": jnp.ones((4, 18, 3, 3)), "filter_shape": (3, 3), **wrong}
    with pytest.raises((TypeError, ValueError), match=message):
        jaxconv.conv_general_dilated_local(**{"window_strides": (1, 1), "padding": "VALID", **call})
