"""Every algorithm in the table is lax's convolution: values, shapes, types and derivatives.

Where the algorithm itself is meant, it must have run: it is asked for nothing that it refuses, and the program has none
of lax's convolutions. Derivatives and batched forms may be computed by "xla" where it cannot do them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from marks import needs_onednn
from small_problems import LIMITS, TYPES, example, refusal

import jaxconv
from jaxconv import ALGORITHMS
from jaxconv._accuracy import ERROR_FACTOR, NORMWISE
from jaxconv._parameters import geometry_of
from jaxconv.testing import DTYPES, Problem, disagreement, problems

every_algorithm = pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=needs_onednn if name == "onednn" else ()) for name in ALGORITHMS]
)


def taken(algorithm, dtypes, **limits):
    """Problems that the algorithm takes."""
    limits = {"ndim": (None,), **LIMITS.get(algorithm, {}), **limits}
    limits["dtypes"] = tuple(dtype for dtype in dtypes if dtype in limits.get("dtypes", DTYPES))
    ranks = limits.pop("ndim")
    some = st.one_of([problems(ndim=ndim, **limits) for ndim in ranks])
    return some.filter(lambda problem: not refusal(problem, algorithm))


def judged(problem, algorithm, out, lhs, rhs):
    return problem.violation(out, lhs, rhs, ERROR_FACTOR[algorithm], algorithm in NORMWISE)


def conv(problem, algorithm):
    return lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm)


def agrees(problem, algorithm, *checks):
    def convolve(*args, **kwargs):
        return jaxconv.conv_general_dilated(*args, **kwargs, algorithm=algorithm)

    normwise = algorithm in NORMWISE
    report = disagreement(convolve, problem, checks=checks, factor=ERROR_FACTOR[algorithm], normwise=normwise)
    assert not report, report


@every_algorithm
@given(data=st.data())
def test_values(algorithm, data):
    problem = data.draw(taken(algorithm, DTYPES))
    agrees(problem, algorithm, "jit")
    program = jax.jit(conv(problem, algorithm)).lower(*problem.operands()).as_text()
    assert ALGORITHMS[algorithm].ends_in_xla or "stablehlo.convolution" not in program


@every_algorithm
@given(data=st.data())
def test_derivatives(algorithm, data):
    problem = data.draw(taken(algorithm, ("float64", "float32", "complex128", "bfloat16")))
    agrees(problem, algorithm, "jvp", "gradient", "second derivative")


@every_algorithm
@given(data=st.data())
def test_batched(algorithm, data):
    problem = data.draw(taken(algorithm, ("float32", "int8"), max_macs=2_000))
    lhs, rhs = problem.operands()
    pair, three = jnp.stack([lhs, lhs[..., ::-1]], axis=1), jnp.stack([rhs, rhs[..., ::-1], rhs], axis=-1)
    got = jax.jit(jax.vmap(jax.vmap(conv(problem, algorithm), (1, None)), (None, -1)))(pair, three)
    for i in range(2):
        for j in range(3):
            assert not judged(problem, algorithm, got[j, i], pair[:, i], three[..., j])


@every_algorithm
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_volumes(algorithm, dtype):
    problem = Problem((2, 2, 3, 5, 3), (3, 2, 1, 3, 3), (1, 1, 1), "SAME", dtype=dtype)
    if refusal(problem, algorithm):
        assert algorithm in ("polyphase", "packing", "karatsuba") or dtype not in LIMITS[algorithm]["dtypes"]
        return
    agrees(problem, algorithm, "value", "gradient")


@pytest.mark.parametrize("size", [(2, 8, 16, 16), (1, 64, 9, 9), (1, 512, 7, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_winograd2_is_right_in_every_component_where_sums_are_long(size, dtype):
    problem = Problem(size, (16, size[1], 3, 3), (1, 1), "SAME", dtype=dtype)
    lhs, rhs = problem.operands()
    assert not problem.violation(conv(problem, "winograd2")(lhs, rhs), lhs, rhs)


@every_algorithm
@pytest.mark.parametrize("dtype, preferred", TYPES, ids=[f"{dtype} {wider or ''}".strip() for dtype, wider in TYPES])
def test_the_result_has_the_type_it_is_said_to_have(algorithm, dtype, preferred):
    problem = example(algorithm, dtype, preferred)
    if refusal(problem, algorithm):
        assert dtype not in LIMITS[algorithm]["dtypes"] or (algorithm, preferred) == ("onednn", "float64")
        return
    lhs, rhs = problem.operands()
    f = jax.jit(conv(problem, algorithm))
    said = f.eval_shape(lhs, rhs)
    out = f(lhs, rhs)
    assert np.asarray(out).dtype == out.dtype == said.dtype == (preferred or dtype)
    assert jax.eval_shape(problem.lax, lhs, rhs).dtype == out.dtype
    assert out.nbytes == said.size * said.dtype.itemsize


@every_algorithm
def test_wider_complex_results(algorithm):
    """lax rounds on the way (see `jaxconv.testing.WIDER`); the others are as exact as the type they return."""
    problem = example(algorithm, "complex64", "complex128", size=9)
    if refusal(problem, algorithm):
        assert "complex64" not in LIMITS[algorithm]["dtypes"]
        return
    lhs, rhs = problem.operands()
    out = conv(problem, algorithm)(lhs, rhs)
    lax_rounds = judged(problem, algorithm, out, lhs, rhs)
    assert bool(lax_rounds) == (algorithm == "xla")
    assert not problem.violation(out, lhs, rhs, factor=2.0**29)  # as a complex64 result would be judged


def test_an_algorithm_that_breaks_its_promise_is_stopped(monkeypatch):
    forgets = ALGORITHMS["im2col"]._replace(convolve=lambda lhs, rhs, *more: lax.conv(lhs, rhs, (1,), "VALID"))
    monkeypatch.setitem(ALGORITHMS, "forgets", forgets)
    with pytest.raises(TypeError, match="algorithm 'forgets' gave bfloat16.* promised are .*'float32'"):
        jaxconv.conv_general_dilated(
            jnp.ones((1, 1, 5), "bfloat16"),
            jnp.ones((1, 1, 2), "bfloat16"),
            (1,),
            "VALID",
            preferred_element_type="float32",
            algorithm="forgets",
        )


def test_every_algorithm_states_its_error():
    assert set(ERROR_FACTOR) == set(ALGORITHMS)


@every_algorithm
@pytest.mark.parametrize("dtype", ["bool", "int4", "uint4", "float8_e4m3fn"])
def test_unusual_types_equal_lax(algorithm, dtype):
    problem = example(algorithm, dtype, size=6)
    if refusal(problem, algorithm):
        assert dtype not in LIMITS[algorithm]["dtypes"]
        return
    rng = np.random.default_rng(0)
    lhs = jnp.asarray(rng.integers(0, 3, problem.lhs_shape)).astype(dtype)
    rhs = jnp.asarray(rng.integers(0, 2, problem.rhs_shape)).astype(dtype)
    got = conv(problem, algorithm)(lhs, rhs)
    expected = problem.lax(*jax.device_put((lhs, rhs), jax.devices("cpu")[0]))  # elsewhere XLA has not all types
    assert got.dtype == expected.dtype
    rounds = algorithm in NORMWISE and jnp.issubdtype(dtype, np.floating)
    rounding = float(jnp.finfo(dtype).eps) if rounds else 0  # of what lies halfway
    np.testing.assert_allclose(got.astype("float32"), expected.astype("float32"), rounding)


@every_algorithm
@pytest.mark.parametrize("name", ["TF32_TF32_F32", "F16_F16_F32"])
def test_precisions_that_are_for_other_devices(algorithm, name):
    """lax's convolutions take them, and compute as by default. `dot_general` refuses what it cannot do."""
    problem = example(algorithm)
    operands = problem.operands()
    expected = conv(problem, algorithm)(*operands)
    with jax.default_matmul_precision(name):
        np.testing.assert_array_equal(conv(problem, algorithm)(*operands), expected)


# (spatial sizes, taps, and the arguments), of four channels and more: code for vectors of them reads far.
CROPPED = {
    "one axis": ((9,), (3,), {"padding": ((-2, 1),)}),
    "strided": ((9,), (3,), {"padding": ((-2, 3),), "window_strides": (2,)}),
    "two axes": ((6, 9), (3, 3), {"padding": ((-1, 1), (0, -1))}),
    "both": ((6, 9), (1, 3), {"padding": ((0, 0), (-3, 2))}),
    "dilated": ((6, 9), (3, 3), {"padding": ((-1, 1), (-2, 4)), "rhs_dilation": (1, 2)}),
    "dilated lhs": ((6, 9), (3, 3), {"padding": ((-1, 1), (-5, 4)), "lhs_dilation": (1, 3)}),
    "behind": ((6, 9), (3, 3), {"padding": ((0, -2), (1, -3))}),
    "three axes": ((4, 5, 6), (2, 2, 2), {"padding": ((-1, 1), (0, 0), (-2, 1))}),
    "all of it": ((6, 9), (3, 3), {"padding": ((1, 1), (-9, 5))}),
    "some and all of it": ((6, 9), (3, 3), {"padding": ((-1, 1), (-9, 5))}),
    "groups": ((6, 9), (3, 3), {"padding": ((-1, 1), (-2, 3)), "feature_group_count": 2}),
    "large": ((16, 14), (9, 9), {"padding": ((-1, 6), (5, -2))}),
}


def cropped(case, channels):
    space, taps, arguments = CROPPED[case]
    inputs = channels // arguments.get("feature_group_count", 1)
    arguments = {"window_strides": (1,) * len(taps), **arguments}
    return Problem((2, channels, *space), (channels, inputs, *taps), **arguments)


@every_algorithm
@pytest.mark.parametrize("case", CROPPED)
def test_what_is_cropped_is_not_read(algorithm, case):
    """XLA's convolutions for CPUs read beyond the input for some of these, and give what was in memory there."""
    for channels in (4, 32):
        problem = cropped(case, channels)
        if not refusal(problem, algorithm):
            agrees(problem, algorithm, "jit", *["gradient"] * (channels == 4))


@every_algorithm
def test_something_cropped_is_for_every_algorithm(algorithm):
    assert not all(refusal(cropped(case, channels), algorithm) for case in CROPPED for channels in (4, 32))


@every_algorithm
def test_without_64_bit_types(algorithm):
    with jax.enable_x64(False):
        problem = example(algorithm, size=7)
        lhs, rhs = problem.operands()
        out, gradient = jax.value_and_grad(lambda rhs: conv(problem, algorithm)(lhs, rhs).sum())(rhs)
        assert out.dtype == gradient.dtype == jnp.float32
        assert not judged(problem, algorithm, conv(problem, algorithm)(lhs, rhs), lhs, rhs)


@every_algorithm
def test_with_jit_disabled(algorithm):
    problem = example(algorithm)
    lhs, rhs = problem.operands()
    with jax.disable_jit():
        assert not judged(problem, algorithm, conv(problem, algorithm)(lhs, rhs), lhs, rhs)


# Of their parts, XLA's compiler would abort the process: one row of the first, one dense pack of the second.
ABORTING = {
    "slabs": Problem(
        (1, 100, 3, 3, 4), (1, 2, 5, 4, 2), (1, 1, 1), ((0, 0), (0, 0), (4, 4)), (1, 2, 1),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    ),
    "packing": Problem(
        (1, 3, 3, 4), (5, 2, 2, 4), (1, 1), ((4, 4), (0, 0)), (1, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("algorithm", ABORTING)
def test_parts_that_the_compiler_cannot_do(algorithm):
    problem = ABORTING[algorithm]
    program = jax.jit(conv(problem, algorithm)).lower(*problem.operands()).as_text()
    assert "stablehlo.convolution" not in program  # or the next line would end the process
    agrees(problem, algorithm, "jit")


@every_algorithm
@pytest.mark.parametrize("dtype", ["float4_e2m1fn", "float8_e8m0fnu"])
def test_types_that_only_xla_convolves(algorithm, dtype):
    lhs, rhs = jnp.ones((1, 2, 6), dtype), jnp.ones((3, 2, 3), dtype)
    expected = lax.conv_general_dilated(lhs, rhs, (1,), "SAME").astype("float32")
    if algorithm != "xla":
        with pytest.raises(ValueError, match="cannot do this convolution: .*" + dtype):
            jaxconv.conv_general_dilated(lhs, rhs, (1,), "SAME", algorithm=algorithm)
    out = jaxconv.conv_general_dilated(lhs, rhs, (1,), "SAME", algorithm="xla" if algorithm == "xla" else None)
    np.testing.assert_array_equal(out.astype("float32"), expected)


@pytest.mark.parametrize("algorithm", ["kn2row", "im2col", "depthwise"])
def test_many_axes(algorithm):
    problem = Problem((1, 1, *(2,) * 7), (1, 1, *(2,) * 7), (1,) * 7, "VALID")
    if algorithm != "kn2row":
        agrees(problem, algorithm, "jit")
    else:
        with pytest.raises(ValueError, match="letters for 6 spatial axes, and there are 7"):
            conv(problem, algorithm)(*problem.operands())


@pytest.mark.parametrize("algorithm, groups", [("polyphase", 1), ("col2im", 1), ("depthwise", 2)])
def test_no_more_phases_are_written_out_than_compile_in_seconds(algorithm, groups):
    """As 32 times 32 of an upsampling layer, which took most of a minute."""
    kernel = (2, 2 // groups, *((16, 16) if algorithm == "col2im" else (64, 64)))
    lhs, rhs = jax.ShapeDtypeStruct((1, 2, 8, 8), "float32"), jax.ShapeDtypeStruct(kernel, "float32")
    for up in (16, 32):
        geometry = geometry_of(lhs, rhs, (1, 1), ((up,) * 2,) * 2, (up, up), feature_group_count=groups)
        refused = ALGORITHMS[algorithm].unsupported(geometry)
        assert bool(refused) == (up == 32) and (algorithm == "col2im" or not refused or "1024 phases" in refused), (
            refused
        )


def test_magnitudes_that_underflow():
    problem = Problem((1, 1, 4), (1, 1, 1), (1,), "VALID", dtype="float16")
    lhs, rhs = jnp.full((1, 1, 4), 1e-3, "float16"), jnp.full((1, 1, 1), 1.1e-3, "float16")
    assert not problem.violation(problem.lax(lhs, rhs), lhs, rhs)
    assert problem.violation(2 * problem.lax(lhs, rhs), lhs, rhs)


def test_winograd4_and_fft_where_their_sums_cancel_most():
    """Of signs times numbers near one."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 40, 40, 40), (1, 1, 250, 250)):
        taps = (1, 1, *(3,) * (len(shape) - 2))
        problem = Problem(shape, taps, (1,) * (len(shape) - 2), "SAME", dtype="float32")
        lhs = jnp.asarray(rng.uniform(0.9, 1, shape) * rng.choice((-1, 1), shape), "float32")
        rhs = jnp.asarray(rng.uniform(0.9, 1.1, taps), "float32")
        for algorithm in ("winograd4", "fft"):
            assert not judged(problem, algorithm, jax.jit(conv(problem, algorithm))(lhs, rhs), lhs, rhs)


STRICT = [
    Problem((2, 4, 10, 9), (6, 4, 3, 3), (1, 1), "SAME", dtype="bfloat16"),
    Problem((2, 4, 10, 9), (8, 1, 3, 3), (2, 1), "SAME", feature_group_count=4, dtype="bfloat16"),
    Problem((2, 8, 14, 14), (8, 4, 5, 5), (1, 1), "SAME", feature_group_count=2, dtype="bfloat16"),
    Problem((2, 4, 10, 9), (6, 4, 3, 3), (1, 1), ((1, 2), (2, 2)), (2, 2), dtype="bfloat16"),
    Problem((2, 4, 20), (6, 4, 3), (2,), "SAME", rhs_dilation=(2,), dtype="bfloat16"),
]


@every_algorithm
def test_where_types_and_ranks_are_never_made_alike_silently(algorithm):
    """In few parts and in many."""
    for problem in STRICT:
        for bound in (None, 30_000):

            def f(lhs, rhs, problem=problem, bound=bound):
                convolve = jaxconv.conv_general_dilated
                out = convolve(lhs, rhs, **problem.arguments, algorithm=algorithm, max_workspace_bytes=bound)
                return out.astype("float32").sum()

            with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
                try:
                    jax.jit(jax.grad(f, (0, 1))).lower(*problem.operands())
                except ValueError as error:
                    assert "cannot do this convolution" in str(error)


@every_algorithm
def test_large_input_stays_a_loop(algorithm):
    """A hundred thousand positions compile to a program as small as that of a hundred, or as a loop around it."""

    def program(size):
        problem = example(algorithm, size=size)
        shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in (problem.lhs_shape, problem.rhs_shape)]
        return len(jax.jit(conv(problem, algorithm)).lower(*shapes).as_text().splitlines())

    assert program(100_000) <= max(1.2 * program(100), 100)


def test_algorithm_reaches_the_backward_convolutions():
    problem = Problem((1, 2, 5, 5), (3, 2, 3, 3), (1, 1), "SAME")
    lhs, rhs = problem.operands()
    gradients = jax.grad(lambda lhs, rhs: conv(problem, "im2col")(lhs, rhs).sum(), argnums=(0, 1))
    text = str(jax.make_jaxpr(gradients)(lhs, rhs))
    assert text.count("request=<im2col") == 3
    assert "conv_general_dilated[" not in text
    assert "convolution" not in jax.jit(gradients).lower(lhs, rhs).as_text()


@pytest.mark.parametrize("spatial, taps", [((64,), (2,)), ((9, 8), (2, 3)), ((5, 4, 6), (2, 1, 2))])
@pytest.mark.parametrize("algorithm", ["kn2row", "im2col", "strips", "col2im"])
def test_weight_gradients_of_bfloat16_run(algorithm, spatial, taps):
    """XLA:CPU compiles some products of bfloat16 to what it then cannot run on every processor."""
    problem = Problem((2, 4, *spatial), (8, 4, *taps), (1,) * len(taps), "VALID", dtype="bfloat16")
    lhs, rhs = problem.operands()
    cotangent = jnp.ones_like(problem.lax(lhs, rhs))

    def gradient(lhs, cotangent, rhs=rhs):
        arguments = {**problem.arguments, "preferred_element_type": None}
        return jax.linear_transpose(lambda rhs: lax.conv_general_dilated(lhs, rhs, **arguments), rhs)(cotangent)[0]

    got = jaxconv.accelerate(jax.jit(gradient), algorithm=algorithm)(lhs, cotangent)
    exact = gradient(*(x.astype("float64") for x in (lhs, cotangent, rhs)))
    np.testing.assert_allclose(got.astype("float64"), exact, 2**-7, 1e-2)
