"""The conformance kit bites: convolutions that are wrong in small ways are found, with a small call to paste."""

import re
from functools import partial
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.errors import NoSuchExample
from jax import lax
from jax.core import Tracer
from marks import lax_has_integers

import jaxconv
from jaxconv._parameters import geometry_of
from jaxconv.testing import DTYPES, Problem, check, disagreement, error_bound, problems

right = lax.conv_general_dilated


def scaled(lhs, rhs, **arguments):
    return right(lhs, rhs, **arguments) * jnp.asarray(1.01, lhs.dtype)


def padding_swapped(lhs, rhs, **arguments):
    pairs = geometry_of(lhs, rhs, **arguments).padding
    return right(lhs, rhs, **{**arguments, "padding": [(high, low) for low, high in pairs]})


def kernel_flipped(lhs, rhs, **arguments):
    spatial = geometry_of(lhs, rhs, **arguments).dimension_numbers.rhs_spec[2:]
    return right(lhs, jnp.flip(rhs, spatial), **arguments)


def groups_reversed(lhs, rhs, **arguments):
    layout = geometry_of(lhs, rhs, **arguments).out_layout
    out = right(lhs, rhs, **arguments).reshape(layout.split)
    return jnp.flip(out, layout.order[-2]).reshape(layout.shape)


def dilation_ignored(lhs, rhs, **arguments):
    out = jax.eval_shape(lambda lhs, rhs: right(lhs, rhs, **arguments), lhs, rhs)
    plain = {**arguments, "rhs_dilation": None}
    got = right(lhs, rhs, **plain)
    return got if got.shape == out.shape else right(lhs, rhs, **arguments)


def rounded_like_the_largest(lhs, rhs, **arguments):
    """What a transform does: a result is off by the rounding error of larger ones, which were added and subtracted."""

    axes = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, arguments["dimension_numbers"]).out_spec[2:]

    def rounded(x):
        return x + 3 * jnp.finfo(x.dtype).eps * jnp.abs(x).max(axes, keepdims=True, initial=0)

    @jax.custom_vjp
    def conv(lhs, rhs):
        return rounded(right(lhs, rhs, **arguments))

    def backward(operands, cotangent):
        gradients = jax.vjp(lambda lhs, rhs: right(lhs, rhs, **arguments), *operands)[1](cotangent)
        return tuple(map(rounded, gradients))

    conv.defvjp(lambda lhs, rhs: (conv(lhs, rhs), (lhs, rhs)), backward)
    return conv(lhs, rhs)


def one_off_at_the_end(lhs, rhs, **arguments):
    out = right(lhs, rhs, **arguments)
    return out.at[(-1,) * out.ndim].multiply(1 + 1e-4) if out.size else out


def narrow_sum(lhs, rhs, **arguments):
    return right(lhs.astype("bfloat16"), rhs.astype("bfloat16"), **arguments).astype(lhs.dtype)


def wide_result(lhs, rhs, **arguments):
    return right(lhs, rhs, **arguments).astype("float64")


def with_gradients(scale_lhs, scale_rhs):
    """Right values, gradients off by these factors."""

    def convolve(lhs, rhs, **arguments):
        @jax.custom_vjp
        def conv(lhs, rhs):
            return right(lhs, rhs, **arguments)

        def backward(operands, cotangent):
            dlhs, drhs = jax.vjp(lambda lhs, rhs: right(lhs, rhs, **arguments), *operands)[1](cotangent)
            return scale_lhs * dlhs, scale_rhs * drhs

        conv.defvjp(lambda lhs, rhs: (conv(lhs, rhs), (lhs, rhs)), backward)
        return conv(lhs, rhs)

    return convolve


def half_a_tangent(lhs, rhs, **arguments):
    """Right values, forward mode that forgets one operand."""

    @jax.custom_jvp
    def conv(lhs, rhs):
        return right(lhs, rhs, **arguments)

    @conv.defjvp
    def _(primals, tangents):
        return conv(*primals), right(tangents[0], primals[1], **arguments)

    return conv(lhs, rhs)


def no_second_derivative(lhs, rhs, **arguments):
    """Its gradients hold the operands for constants."""

    @jax.custom_vjp
    def conv(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    def backward(saved, cotangent):
        held = map(lax.stop_gradient, saved)
        return jax.vjp(partial(lax.conv_general_dilated, **arguments), *held)[1](cotangent)

    conv.defvjp(lambda *operands: (conv(*operands), operands), backward)
    return conv(lhs, rhs)


def with_rule_of_vmap(rule):
    """Right for each; under vmap what `rule(right convolution, size, batched, lhs, rhs)` gives."""

    def convolve(lhs, rhs, **arguments):
        def conv(lhs, rhs):
            return right(lhs, rhs, **arguments)

        batchable = jax.custom_batching.custom_vmap(conv)
        batchable.def_vmap(lambda *batch: (rule(conv, *batch), True))
        return batchable(lhs, rhs)

    return convolve


@with_rule_of_vmap
def wrong_under_vmap(conv, size, batched, lhs, rhs):
    """Every image gets the result of the first."""
    out = conv(lhs[0] if batched[0] else lhs, rhs[0] if batched[1] else rhs)
    return jnp.broadcast_to(out, (size, *out.shape))


def zero_under_vmap(*batched_operands):
    """Zeros where just these operands are batched."""

    @with_rule_of_vmap
    def convolve(conv, size, batched, lhs, rhs):
        out = jax.vmap(conv, [0 if each else None for each in batched])(lhs, rhs)
        return out * (tuple(batched) != batched_operands)

    return convolve


def doubles(lhs, rhs, **arguments) -> Any:
    """Right values of float32, in an array that NumPy made float64 of."""
    return np.asarray(right(lhs, rhs, **arguments), "float64")


def wrong_under_jit(lhs, rhs, **arguments):
    out = right(lhs, rhs, **arguments)
    return 2 * out if isinstance(lhs, Tracer) else out


WRONG = {
    scaled: "value",
    padding_swapped: "value",
    kernel_flipped: "value",
    groups_reversed: "value",
    dilation_ignored: "value",
    one_off_at_the_end: "value",
    narrow_sum: "value",
    wide_result: "value",
    with_gradients(1.01, 1): "gradient",
    with_gradients(1, 1.01): "gradient",
    half_a_tangent: "jvp",
    no_second_derivative: "second derivative",
    wrong_under_vmap: "vmap",
    zero_under_vmap(True, False): "vmap",
    zero_under_vmap(False, True): "vmap",
    zero_under_vmap(True, True): "vmap",
    wrong_under_jit: "jit",
}


@pytest.mark.parametrize("convolve, found_by", WRONG.items(), ids=[f"{f.__name__} {name}" for f, name in WRONG.items()])
def test_wrong_convolutions_are_caught(convolve, found_by):
    with pytest.raises(AssertionError, match=f"^{found_by}: ") as caught:
        check(convolve, checks=[found_by], max_examples=100)
    _, operands, call = str(caught.value).splitlines()
    shapes = {"Problem": Problem, "conv_general_dilated": right}
    exec(f"{operands}\n{call}", shapes)  # what is printed can be pasted
    assert shapes["lhs"].size <= 64 and shapes["rhs"].size <= 64, "the example shown to a person should be small"
    assert not re.search("seed=[1-9]...", operands), "and free of what does not matter"


@pytest.mark.parametrize("convolve", [right, jaxconv.conv_general_dilated])
def test_right_convolutions_pass(convolve):
    check(convolve, problems(dtypes=DTYPES), max_examples=15)


def test_a_narrow_convolution_is_tried_on_what_it_takes():
    def only_this(lhs, rhs, window_strides, padding, dimension_numbers, **rest):
        assert dimension_numbers == ("NHWC", "HWIO", "NHWC") and window_strides == (1, 1) and lhs.size
        assert set(rest.values()) <= {None, 1}
        return right(lhs, rhs, window_strides, padding, dimension_numbers=dimension_numbers)

    narrow = problems(
        ndim=2,
        groups=False,
        empty=False,
        strides=False,
        lhs_dilation=False,
        rhs_dilation=False,
        preferred_element_type=False,
        layouts=(("NHWC", "HWIO", "NHWC"),),
    )
    check(only_this, narrow, checks=["value", "gradient"], max_examples=5)


def test_an_error_of_the_convolution_is_passed_on():
    def fails(lhs, rhs, **arguments):
        raise NotImplementedError("no idea")

    with pytest.raises(NotImplementedError, match="no idea") as error:
        check(fails)
    operands, call = error.value.__notes__[0].splitlines()
    assert operands.startswith("lhs, rhs = Problem(") and call.startswith("out = conv_general_dilated(lhs, rhs, ")


@pytest.mark.parametrize("name", ["value", "gradient"])
def test_normwise_and_componentwise(name):
    """A rounding error of a neighbour passes by the norm only; what is wrong is wrong by either."""
    problem = Problem((1, 1, 8), (2, 1, 3), (1,), ((1, 0),))
    assert not disagreement(rounded_like_the_largest, problem, checks=[name], normwise=True)
    assert disagreement(rounded_like_the_largest, problem, checks=[name]).startswith(f"{name}: ")
    for wrong in (scaled, padding_swapped, kernel_flipped):
        for normwise in (False, True):
            assert disagreement(wrong, problem, checks=[name], normwise=normwise).startswith(f"{name}: ")


def test_check_by_the_norm():
    few = problems(ndim=1, groups=False, strides=False, lhs_dilation=False, preferred_element_type=False)
    check(rounded_like_the_largest, few, checks=["value"], normwise=True, factor=2, max_examples=10)
    for judge in ({"normwise": False, "factor": 2}, {"normwise": True, "factor": 0.01}):
        with pytest.raises(AssertionError, match="^value: "):
            check(rounded_like_the_largest, few, checks=["value"], **judge)


def test_taps_are_drawn_from_those_given():
    some = problems(ndim=1, layouts=(("NWC", "WIO", "NWC"),), taps=(3, 1, 6))
    for taps in (1, 3, 6):
        assert hypothesis.find(some, lambda problem, taps=taps: problem.rhs_shape[0] == taps)
    with pytest.raises(NoSuchExample):
        hypothesis.find(some, lambda problem: problem.rhs_shape[0] not in (1, 3, 6))
    assert hypothesis.find(some, lambda problem: True).rhs_shape == (3, 1, 1)


PLAIN = Problem((1, 2, 5), (3, 2, 2), (1,), "SAME")


@pytest.mark.parametrize("checks, got", [(["speed", "value"], r"\['speed'\]"), ((), "none")])
def test_unknown_checks_and_none_are_refused(checks, got):
    with pytest.raises(ValueError, match=f"^check checks must be some of 'value', .*, got {got}"):
        check(right, checks=checks)
    with pytest.raises(ValueError, match=f"^disagreement checks must be some of 'value', .*, got {got}"):
        disagreement(right, PLAIN, checks=checks)


def test_checks_may_come_from_a_generator():
    assert disagreement(scaled, PLAIN, checks=(name for name in ["jit", "value"])).startswith("value: ")
    with pytest.raises(AssertionError, match="^value: "):
        check(scaled, checks=(name for name in ["value"]))


def test_a_convolution_that_is_right_only_at_times():
    calls = 0

    def at_times(lhs, rhs, **arguments):
        nonlocal calls
        calls += 1
        return right(lhs, rhs, **arguments) * (2 if calls == 20 else 1)

    with pytest.raises(AssertionError, match="^not deterministic: value: .* values are wrong") as caught:
        check(at_times, problems(ndim=1, empty=False), checks=["value"])
    _, operands, call = str(caught.value).splitlines()
    assert operands.startswith("lhs, rhs = Problem(") and call.startswith("out = conv_general_dilated(lhs, rhs, ")


def test_a_convolution_that_raises_only_at_times():
    calls = 0

    def at_times(lhs, rhs, **arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("out of luck")
        return right(lhs, rhs, **arguments)

    with pytest.raises(AssertionError, match="^not deterministic: RuntimeError: out of luck\nlhs, rhs = Problem"):
        check(at_times, problems(ndim=1), checks=["value"])


CHANNELS_LAST = (("NWC", "WIO", "NWC"),)


def narrow_sums(lhs, rhs, window_strides, padding, **rest):
    """NumPy's, one product at a time: each is rounded to the operands' type, as is each sum."""
    [stride], [pair] = window_strides, geometry_of(lhs, rhs, window_strides, padding, **rest).padding
    image = np.asarray(lax.pad(lhs, jnp.zeros((), lhs.dtype), ((0, 0, 0), (*pair, 0), (0, 0, 0))))
    kernel = np.asarray(rhs)
    taps, inputs, outs = kernel.shape
    count = max(0, (image.shape[1] - taps) // stride + 1)
    out = np.zeros((len(image), count, outs), image.dtype)
    for tap, channel in np.ndindex(taps, inputs):
        window = image[:, tap:, channel][:, : count * stride : stride][:, :count]
        out = out + window[..., None] * kernel[tap, channel]
    return jnp.asarray(out)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_kept_in_a_narrow_type_are_found_out(dtype):
    simple: dict[str, Any] = {
        "groups": False,
        "lhs_dilation": False,
        "rhs_dilation": False,
        "preferred_element_type": False,
    }
    some = problems(ndim=1, dtypes=(dtype,), layouts=CHANNELS_LAST, **simple)
    with pytest.raises(AssertionError, match="^value: "):
        check(narrow_sums, some, checks=["value"])
    long = {"window_strides": (1,), "padding": "VALID", "dimension_numbers": CHANNELS_LAST[0], "dtype": dtype}
    several = [Problem((1, 4, 512), (3, 512, 2), **long, seed=seed) for seed in range(6)]
    assert sum(bool(disagreement(narrow_sums, problem, checks=["value"])) for problem in several) == 3
    assert not any(disagreement(right, problem, checks=["value"]) for problem in several)
    as_coarse = float(jnp.finfo(dtype).eps) / 2**-23
    check(narrow_sums, some, checks=["value"], factor=as_coarse)


def test_operands_are_the_seeds():
    """The same whenever they are asked for; in half of the problems without signs, so that sums grow."""
    signs = set()
    for seed in range(8):
        problem = Problem((2, 3, 4), (3, 3, 2), (1,), "SAME", dtype="complex64", seed=seed)
        once, again = problem.operands(), problem.operands()
        assert all(map(np.array_equal, once, again))
        signs |= {bool((np.minimum(x.real, x.imag) < 0).any()) for x in once}
    assert signs == {False, True}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_the_factor_is_that_of_sums_in_float32(dtype):
    eps, terms = float(jnp.finfo(dtype).eps), 100
    assert error_bound(dtype, terms) == error_bound(dtype, terms, 10.0) == eps
    once, sums = eps / 2, error_bound("float32", terms)
    for factor in (2.0**20, 2.0**22):
        assert error_bound(dtype, terms, factor) == once + factor * sums


def test_64_bit_types_need_to_be_switched_on():
    with jax.enable_x64(False):
        for dtype in ("float64", "complex128", "int64", "uint64"):
            with pytest.raises(ValueError, match=f"^problems dtypes .*jax_enable_x64.*, got .*'{dtype}'"):
                problems(dtypes=("float32", dtype))
            with pytest.raises(ValueError, match=f"^Problem dtype .*jax_enable_x64.*, got '{dtype}'"):
                Problem((1, 1, 3), (1, 1, 1), (1,), "VALID", dtype=dtype).operands()


@pytest.mark.parametrize("arguments, said", [
    ({"layouts": (("NHWC", "HWIO", "NHWC"),)}, r"^problems layouts need ndim, .*got .*'NHWC'"),
    ({"layouts": (("NHWC", "HWIO", "NHWC"),), "ndim": 1}, r"^problems layouts must .*'NCW', 'OIW'.*got .*'NHWC'"),
    ({"taps": ()}, r"^problems taps must .*got \(\)"),
    ({"taps": (3, 0)}, r"^problems taps must .*got \(3, 0\)"),
])  # fmt: skip
def test_what_problems_cannot_be_drawn_from(arguments, said):
    with pytest.raises(ValueError, match=said):
        problems(**arguments)


def test_the_type_is_judged_as_it_is_returned():
    with jax.enable_x64(False):
        assert disagreement(doubles, PLAIN, checks=["value"]).startswith(
            "value: got float64[1, 3, 5], expected float32"
        )


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        *(pytest.param(name, marks=lax_has_integers) for name in ("int4", "uint4")),
        "float8_e4m3fn",
        "float8_e5m2",
    ],
)
def test_types_beyond_those_named(dtype):
    check(right, problems(ndim=1, dtypes=(dtype,), max_macs=2_000), checks=["value"], max_examples=5)

    def off(lhs, rhs, **arguments):
        out = right(lhs, rhs, **arguments)
        return ~out if dtype == "bool" else out + jnp.asarray(8 if "int" in dtype else 1, dtype)

    problem = Problem((1, 2, 5), (3, 2, 2), (1,), "SAME", dtype=dtype)
    assert disagreement(off, problem, checks=["value"]).startswith("value: ")


def test_nan_is_not_close_to_anything():
    problem = Problem((1, 1, 3), (1, 1, 1), (1,), "VALID")
    lhs, rhs = problem.operands()
    assert "1 of 3 values are wrong; at (0, 0, 1) got nan" in problem.violation(
        problem.lax(lhs, rhs).at[0, 0, 1].set(jnp.nan), lhs, rhs
    )


@lax_has_integers
def test_integers_have_no_derivatives_to_check():
    problem = Problem((1, 1, 3), (1, 1, 1), (1,), "VALID", dtype="int32")
    assert disagreement(right, problem) == ""


def test_how_far_off_complex_results_may_be():
    problem, eps = Problem((1, 1, 4), (1, 1, 1), (1,), "VALID", dtype="complex64"), 2.0**-23
    lhs, rhs = problem.operands()
    out = problem.lax(lhs, rhs)
    assert not problem.violation(out * (1 + 3 * eps), lhs, rhs)
    assert problem.violation(out * (1 + 12 * eps), lhs, rhs)


def test_how_far_off_derivatives_may_be():
    problem = Problem((1, 1, 1), (1, 1, 1), (1,), "VALID", seed=1)

    def off(by):
        @jax.custom_jvp
        def conv(lhs, rhs):
            return problem.lax(lhs, rhs)

        @conv.defjvp
        def _(primals, tangents):
            value, tangent = jax.jvp(problem.lax, primals, tangents)
            return value, tangent * (1 + by * 2.0**-23)

        return lambda lhs, rhs, **_: conv(lhs, rhs)

    assert not disagreement(off(1), problem, checks=["jvp"])
    assert disagreement(off(10), problem, checks=["jvp"]).startswith("jvp: ")


def test_by_the_norm_each_image_and_channel_is_judged_by_itself():
    problem = Problem((2, 1, 6), (2, 1, 3), (1,), "VALID")
    lhs, rhs = problem.operands()
    for left, right in ((lhs.at[1].mul(1e6), rhs), (lhs, rhs.at[1].mul(1e6))):
        out = problem.lax(left, right).at[0, 0, 0].add(0.01)
        assert problem.violation(out, left, right, normwise=True)
