"""Convolution by Fourier transforms: values on random problems and at its limits, memory, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marks import on_cpu

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR, error_bound
from jaxconv._algorithms import ALGORITHMS, _overlap, fft
from jaxconv._chunk import needed, part, whole
from jaxconv._geometry import dilated
from jaxconv._measure import workspace_bytes
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, oracle, problems

TYPES = ("float32", "float64", "complex64", "complex128", "bfloat16", "float16")


def off_by(problem, out, lhs, rhs):
    """The largest error, in units of what is allowed: the bound times the largest convolution of magnitudes.

    Of magnitudes wherever the kernel may be put: what is multiplied by padding, or skipped, is transformed as well.
    """
    exact = oracle(lhs, rhs, **problem.exact_arguments)
    expected = jax.eval_shape(problem.lax, lhs, rhs)
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    if not out.size:
        return 0.0
    kind = np.complex128 if np.iscomplexobj(exact) else np.float64
    g = geometry_of(lhs, rhs, **problem.arguments)
    reach = [dilated(taps, spread) - 1 for taps, spread in zip(g.kernel, g.rhs_dilation, strict=True)]
    everywhere = {"window_strides": (1,) * g.ndim, "padding": [(n, n) for n in reach]}
    most = np.max(oracle(np.abs(lhs), np.abs(rhs), **{**problem.exact_arguments, **everywhere}).astype(np.float64))
    error = np.max(np.abs(np.asarray(out).astype(kind) - exact.astype(kind)))
    return 0.0 if error == 0 else error / (error_bound(out.dtype, problem.terms, ERROR_FACTOR["fft"]) * most)


def convolve(problem, lhs, rhs, **kwargs):
    g = geometry_of(lhs, rhs, **problem.arguments)
    return jax.jit(lambda lhs, rhs: fft.ALGORITHM.convolve(lhs, rhs, g, **kwargs))(lhs, rhs)


def can(problem):
    g = geometry_of(*problem.operands(), **problem.arguments)
    return g.ndim and g.macs and jnp.issubdtype(g.accumulator, jnp.inexact)


@given(problems(lhs_dilation=False, dtypes=TYPES, empty=False, max_macs=5_000).filter(can))
def test_values(problem):
    lhs, rhs = problem.operands()
    assert off_by(problem, convolve(problem, lhs, rhs), lhs, rhs) <= 1


@given(
    problems(lhs_dilation=False, dtypes=("float32", "complex64", "bfloat16"), empty=False, max_macs=2_000).filter(can),
    st.data(),
)
def test_a_piece_at_a_time(problem, data):
    lhs, rhs = problem.operands()
    bound = data.draw(st.sampled_from([0, 1_000, 4_000, 16_000]), label="max_workspace_bytes")
    assert off_by(problem, convolve(problem, lhs, rhs, max_workspace_bytes=bound), lhs, rhs) <= 1


# Sizes that random problems do not reach. Each is (lhs, rhs, further arguments).
LARGE = {
    "blocks along both axes": ((2, 3, 70, 90), (4, 3, 5, 7), {"padding": "SAME"}),
    "blocks, strides, dilation": ((1, 2, 201, 90), (2, 2, 3, 4), {"window_strides": (3, 2), "rhs_dilation": (4, 2)}),
    "depthwise": ((2, 3, 40, 40), (3, 1, 21, 21), {"padding": "SAME", "feature_group_count": 3}),
    "the wide product": ((1, 64, 12, 12), (64, 64, 3, 3), {"padding": "SAME"}),
    "one tap along one axis": ((1, 2, 60, 60), (2, 2, 1, 9), {}),
    "more padding than input": ((1, 2, 4, 5), (2, 2, 9, 3), {"padding": ((20, 9), (-1, 30))}),
    "taps that meet only padding": ((2, 2, 1, 9), (3, 2, 2, 3), {"padding": "SAME", "rhs_dilation": (2, 2)}),
    "only padding": ((1, 1, 3), (1, 1, 2), {"padding": ((-3, 6),)}),
    "a volume": ((1, 2, 20, 21, 22), (2, 2, 5, 5, 5), {"padding": "SAME"}),
    "a fast transform": ((2, 2, 2_000), (3, 2, 301), {"padding": "SAME"}),
    "a fast transform of one block": ((2, 2, 700), (3, 2, 650), {"rhs_dilation": (2,), "padding": ((700, 500),)}),
    "a fast transform with strides": ((1, 2, 5_000), (3, 2, 100), {"window_strides": (3,), "rhs_dilation": (4,)}),
    "a fast transform along one of two": ((1, 2, 9, 900), (2, 2, 3, 400), {}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("lhs, rhs, arguments", LARGE.values(), ids=LARGE)
def test_large(lhs, rhs, arguments, dtype):
    rank = len(lhs) - 2
    problem = Problem(lhs, rhs, **{"window_strides": (1,) * rank, "padding": "VALID", "dtype": dtype, **arguments})
    operands = problem.operands()
    assert off_by(problem, convolve(problem, *operands), *operands) <= 1


def test_the_error_grows_no_faster_than_that_of_a_sum():
    """All of one sign, where rounding errors are largest against the norm of the operands."""
    lhs, rhs = jnp.ones((1, 1, 40_000)), jnp.ones((1, 1, 10_000))
    out = fft.ALGORITHM.convolve(lhs.astype("float32"), rhs.astype("float32"), geometry_of(lhs, rhs, (1,), "VALID"))
    assert np.abs(np.asarray(out) - 10_000).max() <= error_bound("float32", 10_000, ERROR_FACTOR["fft"]) * 10_000


@pytest.mark.parametrize("arguments", [{}, {"rhs_dilation": (2, 1)}, {"feature_group_count": 2}], ids=str)
def test_derivatives(arguments):
    problem = Problem(
        (2, 4, 9, 30), (4, 4 // arguments.get("feature_group_count", 1), 3, 5), (1, 1), "SAME", **arguments
    )
    lhs, rhs = problem.operands()

    def gradients(algorithm):
        def loss(lhs, rhs):
            out = jaxconv.conv_general_dilated(lhs, rhs, **problem.arguments, algorithm=algorithm)
            return (jnp.sin(out) * out).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))

    text = str(gradients("fft").trace(lhs, rhs).jaxpr)
    assert text.count("request=<fft") == 3
    for got, expected in zip(gradients("fft")(lhs, rhs), gradients("xla")(lhs, rhs), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


REFUSED = {
    "its transforms have fractions, and int32": ((1, 1, 5), (1, 1, 2), {"dtype": "int32"}),
    "it needs a spatial axis": ((2, 3), (4, 3), {}),
    r"lhs_dilation must be 1, and is \(2,\)": ((1, 1, 5), (1, 1, 2), {"lhs_dilation": (2,), "padding": [(0, 0)]}),
    "bytes of workspace at least": ((1, 1, 9_000_000), (1, 1, 5_000_000), {}),
}


@pytest.mark.parametrize("reason, problem", REFUSED.items())
def test_refuses(reason, problem):
    lhs, rhs, more = problem
    arguments = {"window_strides": (1,) * (len(lhs) - 2), "padding": "VALID", "dtype": "float32", **more}
    dtype = arguments.pop("dtype")
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in (lhs, rhs)]

    def call(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **arguments, algorithm="fft", max_workspace_bytes=2**24)

    with pytest.raises(ValueError, match=f"algorithm 'fft' cannot do this convolution: .*{reason}"):
        jax.eval_shape(call, *shapes)


LAYERS = {
    "large depthwise": ((4, 64, 64, 64), (31, 31, 1, 64), 64, 1),
    "large kernel": ((2, 128, 128, 16), (15, 15, 16, 16), 1, 1),
    "depthwise": ((2, 56, 56, 96), (7, 7, 1, 96), 96, 1),
    "ordinary": ((1, 56, 56, 64), (3, 3, 64, 64), 1, 1),
    "strided": ((1, 112, 112, 3), (7, 7, 3, 64), 1, 2),
    "groups": ((2, 64, 64, 32), (11, 11, 8, 32), 4, 1),
    "volume": ((1, 24, 24, 24, 8), (7, 7, 7, 8, 8), 1, 1),
    "signal": ((1, 100_000, 1), (1001, 1, 4), 1, 1),
}


@on_cpu
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
@pytest.mark.parametrize("lhs, rhs, groups, stride", LAYERS.values(), ids=LAYERS)
def test_workspace(lhs, rhs, groups, stride, dtype):
    """The estimate is not below what the compiler says, nor far above it, and keeps that within the bound."""
    space = "DHW"[5 - len(lhs) :]
    arguments = {
        "window_strides": (stride,) * len(space),
        "padding": "SAME",
        "dimension_numbers": (f"N{space}C", f"{space}IO", f"N{space}C"),
        "feature_group_count": groups,
    }
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape in (lhs, rhs)]
    g = geometry_of(*structs, **arguments)
    assert fft.ALGORITHM.unsupported(g) == ""

    def measured(bound):
        return workspace_bytes(
            jax.jit(lambda lhs, rhs: fft.ALGORITHM.convolve(lhs, rhs, g, bound)).lower(*structs).compile()
        )

    estimate = needed(g, fft.KERNEL, whole(g))
    # In bfloat16 and complex64 volumes the compiler fuses what it writes to memory in float32, three times as much.
    assert estimate / 3.2 <= measured(2**40) <= 1.05 * estimate
    assert measured(fft.MAX_WORKSPACE_BYTES) <= fft.MAX_WORKSPACE_BYTES


def test_lengths():
    assert [_overlap.smooth(n) for n in (1, 2, 7, 11, 13, 17, 31, 97, 257, 1025, 65_537)] == [
        *(1, 2, 8, 12, 15, 18, 32, 100, 270, 1080, 65_610)
    ]


def test_padding_takes_part_of_one_block_only_once():
    g = geometry_of(jnp.ones((1, 1, 64)), jnp.ones((1, 1, 31)), (1,), "SAME")
    assert _overlap.blocks(part(g, whole(g)), 0).length == 64 + 15


def test_is_registered():
    assert ALGORITHMS["fft"].convolve is fft.ALGORITHM.convolve


def test_taps_that_meet_padding_alone_do_not_matter():
    problem = Problem((1, 1, 4), (1, 1, 9), (1,), ((3, 3),))
    lhs, rhs = problem.operands()
    large = rhs.at[..., np.array([0, 1, 7, 8])].set(1e8)
    out = jaxconv.conv_general_dilated(lhs, large, **problem.arguments, algorithm="fft")
    assert not problem.violation(out, lhs, rhs, ERROR_FACTOR["fft"], normwise=True)
