"""`convolve` and `correlate` are SciPy's, exact for integers, with the types of JAX and derivatives in both modes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from counting import convolutions
from hypothesis import given
from hypothesis import strategies as st

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR, NORMWISE
from jaxconv.testing import DTYPES, Problem, error_bound

MODES = ("full", "same", "valid")
OURS = {"convolve": jaxconv.convolve, "correlate": jaxconv.correlate}
SCIPY = {"convolve": scipy.signal.convolve, "correlate": scipy.signal.correlate}
both_functions = pytest.mark.parametrize("name", OURS)


def random(shape, dtype="float64", seed=0):
    return Problem(shape, (), (), "", dtype=dtype, seed=seed).operands()[0]


def exactly(name, one, two, mode):
    """SciPy's direct sum, in float64, complex128 or 64-bit integers, which wrap."""
    one, two = np.asarray(one), np.asarray(two)
    wide = {"c": "complex128", "b": "int64", "i": "int64", "u": "int64"}.get(one.dtype.kind, "float64")
    return SCIPY[name](one.astype(wide), two.astype(wide), mode, method="direct")


def wrong(out, name, one, two, mode, factor=1.0, normwise=False):
    """Whether it is not what SciPy's sum of the operands, brought to their common type, allows."""
    dtype = jnp.promote_types(one.dtype, two.dtype)
    one, two = one.astype(dtype), two.astype(dtype)
    exact = exactly(name, one, two, mode)
    assert out.dtype == dtype and out.shape == exact.shape
    if not jnp.issubdtype(dtype, np.inexact):
        return (np.asarray(out) != (exact != 0 if dtype == "bool" else exact.astype(dtype))).any()
    left, right = (np.abs(np.asarray(x)).astype("float64") for x in (one, two))
    if normwise:
        left, right = np.full_like(left, left.max()), np.full_like(right, right.max())
    size = SCIPY[name](left, right, mode, method="direct")
    size = size.max() if normwise else size
    # The reference is a sum in double precision itself.
    allowed = error_bound(dtype, min(one.size, two.size), factor) + error_bound(exact.dtype, min(one.size, two.size))
    return (abs(np.asarray(out).astype(exact.dtype) - exact) > allowed * size).any()


@st.composite
def pairs(draw):
    """Two shapes of one rank, any of which may be the smaller one along any axis."""
    rank = draw(st.integers(0, 3))
    sizes = st.lists(st.integers(1, 5 if rank > 1 else 12), min_size=rank, max_size=rank).map(tuple)
    return draw(sizes), draw(sizes)


def fit(shapes, mode):
    """Whether the mode is for them: "valid" wants one of them inside the other."""
    ahead = {(a > b) - (a < b) for a, b in zip(*shapes, strict=True)}
    return mode != "valid" or not {1, -1} <= ahead


@both_functions
@given(
    shapes=pairs(),
    dtypes=st.tuples(*[st.sampled_from((*DTYPES, "bool"))] * 2),
    same_type=st.booleans(),
    mode=st.sampled_from(MODES),
)
def test_values_and_types(name, shapes, dtypes, same_type, mode):
    if not fit(shapes, mode):
        mode = "same"
    one, two = random(shapes[0], dtypes[0]), random(shapes[1], dtypes[0] if same_type else dtypes[1], 1)
    assert not wrong(OURS[name](one, two, mode, accuracy="strict"), name, one, two, mode)


SHAPES = [((7,), (3,)), ((3,), (8,)), ((6,), (6,)), ((5, 4), (2, 3)), ((2, 3), (5, 4)), ((2, 6), (5, 3))]


@both_functions
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["complex64", "int8"])
def test_even_and_odd_sizes_either_the_larger(name, mode, dtype):
    tried = [shapes for shapes in SHAPES if fit(shapes, mode)]
    assert len(tried) >= 5
    for shapes in tried:
        one, two = random(shapes[0], dtype), random(shapes[1], dtype, 1)
        assert not wrong(OURS[name](one, two, mode), name, one, two, mode)


def test_defaults_and_names_are_those_of_scipy():
    one, two = jnp.arange(4), jnp.arange(3)
    for ours, theirs in ((jaxconv.convolve, scipy.signal.convolve), (jaxconv.correlate, scipy.signal.correlate)):
        np.testing.assert_array_equal(ours(in1=one, in2=two), theirs(in1=np.arange(4), in2=np.arange(3)))


@pytest.mark.parametrize("mode", MODES)
def test_numpy_and_jax_where_the_first_is_the_longer(mode):
    one, two = random((9,), "complex128"), random((4,), "complex128", 1)
    for name, ours in OURS.items():
        for module in (np, jnp):
            expected = getattr(module, name)(one, two, mode)
            np.testing.assert_allclose(ours(one, two, mode), expected, rtol=1e-12, atol=1e-13)
        # In mode "same", np.convolve and jnp.convolve are as long as the longer one, SciPy as the first.
        assert ours(two, one, mode).shape == ({"same": (4,)}.get(mode) or getattr(np, name)(two, one, mode).shape)


def test_bools_are_numpys():
    one, two = random((9,), "bool"), random((3,), "bool", 1)
    out = jaxconv.convolve(one, two)
    assert out.dtype == "bool"
    np.testing.assert_array_equal(out, np.convolve(one, two))


def test_types_are_those_jax_promotes_to():
    one = jnp.ones(3, "bfloat16")
    assert jaxconv.convolve(one, jnp.ones(2, "int32")).dtype == "bfloat16"
    assert jaxconv.convolve(one, np.ones(2, "float16")).dtype == "float32"
    assert jaxconv.convolve(one, jnp.asarray(2.0)[None]).dtype == jnp.result_type(one, jnp.asarray(2.0)[None])
    assert jaxconv.correlate(jnp.ones(3, "int8"), jnp.ones(2, "uint8")).dtype == "int16"
    with jax.numpy_dtype_promotion("strict"), pytest.raises(jax.dtypes.TypePromotionError):
        jaxconv.convolve(one, jnp.ones(2, "int32"))


@both_functions
def test_weak_types_stay_weak(name):
    """Of weak types alone the result is weak, and takes the type of others, as in `jnp`."""
    weak, half = jnp.full((3,), 2.0), jnp.ones((), "bfloat16")
    for one, two in ((weak, weak), (jnp.full((2,), 2), weak), (weak, jnp.ones(2, "int32")), (weak * 1j, weak)):
        for left, right in ((one, two), (two, one)):
            out, expected = OURS[name](left, right, "full"), getattr(jnp, name)(left, right, "full")
            assert out.weak_type and expected.weak_type and out.dtype == expected.dtype
            np.testing.assert_array_equal(out, expected)
    assert (jax.jit(OURS[name])(weak, weak) + half).dtype == "bfloat16"
    assert OURS[name](weak, half[None]).dtype == "bfloat16"
    for strong in (half[None], jnp.ones(2), jnp.ones(2, "complex64")):
        assert not OURS[name](weak, strong).weak_type and not OURS[name](strong, weak).weak_type


@both_functions
@pytest.mark.parametrize("mode", MODES)
def test_derivatives_in_both_modes(name, mode):
    """Of a bilinear function they are the function itself, forward, and its transpose, backward."""
    for shapes in (((7,), (4,)), ((2, 3), (4, 3))):
        one, two, done, dtwo = (random(shapes[i % 2], "complex128", i) for i in range(4))

        def f(one, two):
            return OURS[name](one, two, mode)

        out, moved = jax.jvp(f, (one, two), (done, dtwo))
        expected = exactly(name, done, two, mode) + exactly(name, one, dtwo, mode)
        np.testing.assert_allclose(moved, expected, rtol=1e-12, atol=1e-12)
        cotangent = random(out.shape, "complex128", 4)
        back = jax.vjp(f, one, two)[1](cotangent)
        ahead = [exactly(name, done, two, mode), exactly(name, one, dtwo, mode)]
        for gradient, tangent, image in zip(back, (done, dtwo), ahead, strict=True):
            # JAX's pairing has no conjugate; correlate is not linear in its second argument but in the conjugate of it.
            left, right = (gradient * tangent).sum(), (cotangent * image).sum()
            np.testing.assert_allclose(left.real, right.real, rtol=1e-11)


@both_functions
def test_compiled_batched_and_one_convolution(name):
    three, two = random((3, 8), "float32"), random((4,), "float32", 1)
    out = jax.jit(jax.vmap(OURS[name], (0, None)))(three, two)
    for i in range(3):
        assert not wrong(out[i], name, three[i], two, "full")
    assert convolutions(OURS[name], three[0], two) == (0, 1)


@pytest.mark.parametrize("algorithm", ["im2col", "karatsuba", "fft", "xla"])
def test_options_are_passed_on(algorithm):
    one, two = random((200,), "float32"), random((40,), "float32", 1)
    program = jax.jit(lambda one, two: jaxconv.convolve(one, two, "same", algorithm=algorithm))
    out = program(one, two)
    assert not wrong(out, "convolve", one, two, "same", ERROR_FACTOR[algorithm], algorithm in NORMWISE)
    if algorithm in ("im2col", "fft"):
        assert "stablehlo.convolution" not in program.lower(one, two).as_text()


def test_wider_results():
    one, two = random((9,), "int8"), random((4,), "int8", 1)
    out = jaxconv.correlate(one, two, preferred_element_type="int32")
    assert out.dtype == "int32"
    np.testing.assert_array_equal(out, exactly("correlate", one, two, "full"))


def test_of_long_ones_the_choice_is_made_at_once():
    """Algorithms that write out their sums count them, which must not take as long as writing them out."""
    long, longer = (jax.ShapeDtypeStruct((size,), "float32") for size in (10**5, 10**6))
    for shapes in ((longer, long), (long, longer)):
        (row,) = jaxconv.explain(jaxconv.convolve, *shapes).rows
        # The shorter one is the kernel.
        assert row.geometry.kernel == (10**5,) and row.geometry.out_spatial == (10**6 + 10**5 - 1,)
        assert row.workspace is not None and row.workspace <= 2**24


@both_functions
@pytest.mark.parametrize(
    "call, message",
    [
        (dict(in2=jnp.ones((2, 2))), r"inputs must have the same rank, got shapes \(3,\) and \(2, 2\)"),
        (dict(in2=jnp.ones(0)), r"inputs must not be empty, got shapes \(3,\) and \(0,\)"),
        (dict(in1=jnp.ones((2, 0)), in2=jnp.ones((2, 2))), r"inputs must not be empty, got shapes \(2, 0\)"),
        (dict(in1=jnp.ones((2, 4)), in2=jnp.ones((3, 3)), mode="valid"), r"'valid' needs .* \(2, 4\) and \(3, 3\)"),
        (dict(mode="circular"), "mode must be one of 'full', 'same', 'valid', got 'circular'"),
        (dict(mode=2), "mode must be one of 'full', 'same', 'valid', got 2"),
        (dict(in2=[1.0]), r"in2 must be an array, got \[1.0\]"),
        (dict(algorithm="magic"), "algorithm must be None or one of"),
        (dict(accuracy="best"), "accuracy must be one of"),
        (dict(precision="very good"), "Precision argument must be one of"),
        (dict(max_workspace_bytes=-1), "max_workspace_bytes must be an integer of 0 or more, got -1"),
        (dict(preferred_element_type="int8"), "preferred_element_type"),
    ],
)
def test_errors(name, call, message):
    own = message.startswith(("inputs", "mode", "'valid'", "in2"))
    with pytest.raises((TypeError, ValueError), match=f"{name} .*{message}" if own else message):
        arguments: dict[str, Any] = {"in1": jnp.ones(3), "in2": jnp.ones(2), **call}
        OURS[name](**arguments)
