"""Convolutions as layers call them, against lax's: arguments in short, layouts, bias, images without a batch."""

from functools import partial
from math import prod
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from multilinear import disagreement

from jaxconv import (
    ALGORITHMS,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose,
    conv_with_padding_mode,
    depthwise_conv,
    separable_conv,
)
from jaxconv.testing import check, problems

CONV = {1: conv1d, 2: conv2d, 3: conv3d}
LAST = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
FIRST = {1: ("NCW", "OIW", "NCW"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")}
ranks = pytest.mark.parametrize("ndim", CONV)


def random(*shape, dtype="float64"):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def close(got, expected):
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def some(ndim, dtypes=("float32", "bfloat16", "int8")):
    found = problems(ndim=ndim, dtypes=dtypes, lhs_dilation=False, layouts=(LAST[ndim], FIRST[ndim]))
    return found.filter(lambda problem: problem.batch_group_count == 1)


@ranks
def test_is_laxs_convolution(ndim):
    def ours(lhs, rhs, window_strides, padding, rhs_dilation, dimension_numbers, feature_group_count, **rest):
        return CONV[ndim](
            lhs,
            rhs,
            window_strides,
            padding,
            rhs_dilation=rhs_dilation or 1,
            layout=dimension_numbers[0],
            feature_group_count=feature_group_count,
            preferred_element_type=rest["preferred_element_type"],
            accuracy="strict",
        )

    check(ours, some(ndim), checks=["value"], max_examples=15)
    check(ours, some(ndim, ("float32",)), checks=["vmap", "jvp", "gradient"], max_examples=3)


def test_depthwise_is_laxs_convolution_in_groups_of_one_channel():
    def ours(lhs, rhs, window_strides, padding, rhs_dilation, dimension_numbers, feature_group_count, **rest):
        layout = dimension_numbers[0]
        return depthwise_conv(
            lhs,
            rhs,
            window_strides,
            padding,
            rhs_dilation=rhs_dilation or 1,
            layout=None if layout.endswith("C") else layout,
            preferred_element_type=rest["preferred_element_type"],
            accuracy="strict",
        )

    def of_one_channel(problem):
        return problem.terms == prod(problem.rhs_shape[axis] for axis in problem.spatial_axes[1])

    for ndim in CONV:
        check(ours, some(ndim).filter(of_one_channel), checks=["value"], max_examples=5)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_each_channel_has_its_multiplier_of_results(layout):
    """As TensorFlow says it: result c * multiplier + m is channel c by kernel [..., c, m]."""
    lhs, rhs = random(2, 6, 5, 3), random(2, 3, 3, 4)  # images NHWC, kernel (kh, kw, channels, multiplier)
    expected = jnp.stack(
        [
            lax.conv_general_dilated(
                lhs[..., c, None], rhs[:, :, c, m, None, None], (1, 1), "SAME", None, None, LAST[2]
            )
            for c in range(3)
            for m in range(4)
        ],
        axis=3,
    )[..., 0]
    rhs = rhs.reshape(2, 3, 1, 12)
    if layout == "NCHW":
        out = depthwise_conv(lhs.transpose(0, 3, 1, 2), rhs.transpose(3, 2, 0, 1), padding="SAME", layout=layout)
        close(out.transpose(0, 2, 3, 1), expected)
    else:
        close(depthwise_conv(lhs, rhs, padding="SAME"), expected)


@pytest.mark.parametrize("layout", ["NWC", "NCHW"])
def test_separable_is_two_convolutions(layout):
    ndim = len(layout) - 2
    numbers = FIRST[ndim] if layout == "NCHW" else LAST[ndim]
    sizes = {"N": 2, "C": 3, "H": 5, "W": 6}
    lhs = tuple(sizes[letter] for letter in layout)
    depthwise, pointwise = (
        tuple({"I": i, "O": o}.get(letter, taps) for letter in numbers[1]) for i, o, taps in ((1, 6, 2), (6, 5, 1))
    )

    def ours(lhs, depthwise, pointwise):
        return separable_conv(lhs, depthwise, pointwise, 2, 1, rhs_dilation=2, layout=layout, accuracy="strict")

    def theirs(lhs, depthwise, pointwise):
        twos, ones = (2,) * ndim, (1,) * ndim
        apart = lax.conv_general_dilated(lhs, depthwise, twos, [(1, 1)] * ndim, None, twos, numbers, 3)
        return lax.conv_general_dilated(apart, pointwise, ones, "VALID", None, None, numbers)

    assert disagreement(ours, theirs, lhs, depthwise, pointwise) == ""


def test_nothing_is_rounded_between_the_two_of_a_separable_convolution():
    lhs, depthwise, pointwise = (
        jnp.full(shape, value, "int8") for shape, value in (((1, 4, 1), 100), ((3, 1, 1), 100), ((1, 1, 1), 2))
    )
    out = separable_conv(lhs, depthwise, pointwise, preferred_element_type="int32")
    assert out.dtype == "int32" and (out == 3 * 100 * 100 * 2).all()


@ranks
def test_one_number_stands_for_all_axes(ndim):
    lhs, rhs = random(2, *(7, 6, 5)[:ndim], 4), random(*(2, 3, 2)[:ndim], 2, 6)
    full: dict[str, Any] = {"rhs_dilation": (2,) * ndim, "dimension_numbers": LAST[ndim], "feature_group_count": 2}
    expected = lax.conv_general_dilated(lhs, rhs, (2,) * ndim, [(1, 1)] * ndim, **full)
    conv = CONV[ndim]
    short = conv(lhs, rhs, 2, 1, rhs_dilation=2, feature_group_count=2, algorithm="im2col")
    close(short, expected)
    for by in ([1] * ndim, [(1, 1)] * ndim, [[1, 1]] * ndim):
        close(conv(lhs, rhs, [2] * ndim, by, rhs_dilation=[2] * ndim, feature_group_count=2, algorithm="im2col"), short)
    close(conv(lhs[0], rhs, 2, 1, rhs_dilation=2, feature_group_count=2, algorithm="im2col"), expected[0])


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_modes(mode):
    lhs, rhs = random(2, 5, 4, 3), random(3, 2, 3, 4)
    expected = conv_with_padding_mode(lhs, rhs, (1, 2), [(7, 0), (1, 1)], mode, dimension_numbers=LAST[2])
    close(conv2d(lhs, rhs, (1, 2), [(7, 0), 1], padding_mode=mode), expected)
    depthwise = random(3, 2, 1, 6)
    close(
        separable_conv(lhs, depthwise, random(1, 1, 6, 2), padding="same", padding_mode=mode),
        conv2d(depthwise_conv(lhs, depthwise, padding="SAME", padding_mode=mode), random(1, 1, 6, 2)),
    )


BIASED = {
    "conv1d": lambda bias: conv1d(random(2, 6, 3), random(2, 3, 4), bias=bias),
    "conv2d": lambda bias: conv2d(random(2, 3, 6, 5), random(4, 3, 2, 2), layout="NCHW", bias=bias),
    "conv3d": lambda bias: conv3d(random(3, 4, 4, 4), random(4, 3, 2, 2, 2), layout="NCDHW", bias=bias),
    "depthwise": lambda bias: depthwise_conv(random(2, 6, 2), random(2, 1, 4), bias=bias),
    "separable": lambda bias: separable_conv(random(2, 6, 2), random(2, 1, 4), random(1, 4, 4), bias=bias),
}


@pytest.mark.parametrize("name", BIASED)
def test_bias_is_added_to_each_channel(name):
    conv, bias = BIASED[name], jnp.arange(4.0)
    added = np.asarray(conv(bias) - conv(None))
    channels = {"conv2d": 1, "conv3d": 0}.get(name, -1)
    added = np.moveaxis(added, channels, -1)
    np.testing.assert_allclose(added, np.broadcast_to(bias, added.shape), atol=1e-12)
    np.testing.assert_allclose(jax.grad(lambda bias: conv(bias).sum())(bias), added.size / 4)


def test_bias_does_not_change_the_type():
    lhs, rhs = random(1, 5, 5, 2, dtype="bfloat16"), random(2, 2, 2, 3, dtype="bfloat16")
    half, whole = jnp.ones(3, "bfloat16"), jnp.ones(3, "float32")
    assert conv2d(lhs, rhs, bias=half).dtype == "bfloat16"
    for bias in (half, whole):
        assert conv2d(lhs, rhs, bias=bias, preferred_element_type="float32").dtype == "float32"
    with pytest.raises(TypeError, match="bias must be of the result's type, bfloat16, or a narrower one, got float32"):
        conv2d(lhs, rhs, bias=whole)


def test_weak_types_stay_weak():
    """As in lax's convolution plus the bias: of weak types alone the result is weak, and takes the type of others."""
    lhs, rhs, bias, half = (
        jnp.full((1, 4, 1), 2.0),
        jnp.full((2, 1, 1), 2.0),
        jnp.full((1,), 2.0),
        jnp.ones((), "bfloat16"),
    )
    pointwise = jnp.full((1, 1, 1), 2.0)
    for made in (
        lambda lhs, bias: conv1d(lhs, rhs, bias=bias),
        lambda lhs, bias: depthwise_conv(lhs, rhs, bias=bias),
        lambda lhs, bias: separable_conv(lhs, rhs, pointwise, bias=bias),
    ):
        assert (made(lhs, None) + half).dtype == (made(lhs, bias) + half).dtype == "bfloat16"
        assert jax.jit(made)(lhs, bias).weak_type and made(lhs, jnp.full((1,), 2)).weak_type
        assert not made(lhs, jnp.ones(1)).weak_type and not made(jnp.ones((1, 4, 1)), bias).weak_type


def test_a_weak_type_makes_way_for_no_bias():
    """The result's type is that of the convolution."""
    lhs, rhs = jnp.full((1, 4, 1), 2.0), jnp.full((2, 1, 1), 2.0)
    out = conv1d(lhs, rhs, bias=jnp.ones(1, "bfloat16"))
    assert out.dtype == lhs.dtype and (out == 9).all()


CALLS = {
    "conv1d": lambda x, w, **options: conv1d(x[0], w[0], **options),
    "conv2d": lambda x, w, **options: conv2d(x, w, **options),
    "conv3d": lambda x, w, **options: conv3d(x[None], w[None], **options),
    "depthwise": lambda x, w, **options: depthwise_conv(x, w[:, :, :1], **options),
    "separable": lambda x, w, **options: separable_conv(x, w[:, :, :1], w[:1, :1].reshape(1, 1, 4, 2), **options),
    "padding mode": lambda x, w, **options: conv_with_padding_mode(
        x, w, (1, 1), 1, "circular", dimension_numbers=LAST[2], **options
    ),
    "transposed": lambda x, w, **options: conv_transpose(x, w, 2, "SAME", **options),
}
calls = pytest.mark.parametrize("name", CALLS)
OPERANDS = jnp.ones((1, 5, 4, 2), "bfloat16"), jnp.ones((2, 2, 2, 4), "bfloat16")


@calls
def test_options_reach_every_convolution(name):
    options: dict[str, Any] = dict(
        precision=lax.Precision.HIGHEST,
        preferred_element_type="float32",
        algorithm="im2col",
        accuracy="strict",
        max_workspace_bytes=2**19,
    )
    jaxpr = jax.make_jaxpr(partial(CALLS[name], **options))(*OPERANDS)
    equations = [equation for equation in jaxpr.eqns if equation.primitive.name == "jaxconv"]
    assert len(equations) == 1 + (name == "separable")
    for equation in equations:
        assert equation.params["precision"] == (lax.Precision.HIGHEST,) * 2
        assert equation.params["preferred_element_type"] == jnp.float32
        request = equation.params["request"]
        assert (request.algorithm, *request.settings[:2]) == ("im2col", "strict", 2**19)


@calls
def test_the_algorithm_asked_for_is_the_one_that_runs(name, monkeypatch):
    ran, real = [], ALGORITHMS["im2col"]

    def convolve(*args):
        ran.append(args)
        return real.convolve(*args)

    monkeypatch.setitem(ALGORITHMS, "im2col", real._replace(convolve=convolve))
    out = jax.jit(partial(CALLS[name], algorithm="im2col"))(*OPERANDS)
    assert len(ran) == 1 + (name == "separable")
    np.testing.assert_array_equal(out, CALLS[name](*OPERANDS, algorithm="xla"))  # small integers: exact
    with pytest.raises(ValueError, match="algorithm must be None or one of .*, got 'magic'"):
        CALLS[name](*OPERANDS, algorithm="magic")


x, w = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: conv2d(x, w[0]), r"conv2d takes lhs NHWC, .* and rhs HWIO, got .*\(2, 5, 5, 3\) and \(3, 3, 4\)"),
        (lambda: conv1d(x, w), "conv1d takes lhs NWC, with or without N, and rhs WIO"),
        (lambda: conv3d(x[0], w), "conv3d takes lhs NDHWC"),
        (lambda: conv2d(x, w, layout="NWC"), "conv2d layout must be 'NHWC' or 'NCHW', got 'NWC'"),
        (lambda: conv1d(x[0], w[0], layout="NHWC"), "conv1d layout must be 'NWC' or 'NCW', got 'NHWC'"),
        (lambda: conv2d(x, w, (1, 2, 3)), r"conv2d window_strides must be .* of 2 axes, 1 or more, got \(1, 2, 3\)"),
        (
            lambda: conv2d(x, w, 0),
            "conv2d window_strides must be an integer or one for each of 2 axes, 1 or more, got 0",
        ),
        (lambda: conv2d(x, w, cast(Any, 1.5)), "conv2d window_strides must be .*, got 1.5"),
        (lambda: conv2d(x, w, rhs_dilation=(1, 0)), r"conv2d rhs_dilation must be .*, got \(1, 0\)"),
        (lambda: conv2d(x, w, padding="FULL"), "conv2d padding must be one of 'SAME', .*, got 'FULL'"),
        (lambda: conv1d(x[0], w[0], padding=(1, 2)), r"conv1d padding must be .* of 1 axes .*, got \(1, 2\)"),
        (lambda: conv2d(x, w, padding_mode="mirror"), "padding_mode must be one of .*, got 'mirror'"),
        (lambda: conv2d(x, w, bias=jnp.ones(3)), r"conv2d bias must have the shape \(4,\), got \(3,\)"),
        (lambda: conv2d(x, w, bias=jnp.ones((1, 4))), r"conv2d bias must have the shape \(4,\), got \(1, 4\)"),
        (lambda: conv2d(x, w.astype("bfloat16")), "requires arguments to have the same dtypes"),
        (lambda: conv2d(x, w[:, :, :2]), "feature dimension size"),
        (
            lambda: depthwise_conv(x, w),
            r"depthwise_conv rhs \(HWIO\) must have I = 1 and O a multiple of the 3 channels",
        ),
        (lambda: depthwise_conv(x, w[:, :, :1]), "must have I = 1 and O a multiple of the 3 channels"),
        (lambda: depthwise_conv(x[..., :0], w[:, :, :1]), "a multiple of the 0 channels"),
        (lambda: depthwise_conv(x[0, 0], w[:, :, :1]), "depthwise_conv takes lhs NHWC"),
        (
            lambda: depthwise_conv(x, w[0, 0]),
            r"depthwise_conv needs a kernel of rank 3, 4 or 5, got the shape \(3, 4\)",
        ),
        (lambda: depthwise_conv(x, w[:, :, :1], layout="NWC"), "depthwise_conv layout must be 'NHWC' or 'NCHW'"),
        (lambda: separable_conv(x, w[:, :, :1, :3], w), r"pointwise \(HWIO\) must have one tap .*, got \(3, 3, 3, 4\)"),
        (lambda: separable_conv(x, w[:, :, :1, :3], w[0, 0]), "separable_conv takes lhs NHWC"),
        (
            lambda: separable_conv(x, w[:, :, :1, :3], w[:1, :1].astype("bfloat16"), preferred_element_type="float64"),
            "requires arguments to have the same dtypes",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
