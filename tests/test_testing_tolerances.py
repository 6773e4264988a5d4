"""How far off results may be for the conformance kit: by components and by the norm, of every type."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from marks import lax_has_integers
from wrong_convolutions import PLAIN, kernel_flipped, padding_swapped, right, rounded_like_the_largest, scaled

from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, check, disagreement, error_bound, problems


def doubles(lhs, rhs, **arguments) -> Any:
    """Right values of float32, in an array that NumPy made float64 of."""
    return np.asarray(right(lhs, rhs, **arguments), "float64")


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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_the_factor_is_that_of_sums_in_float32(dtype):
    eps, terms = float(jnp.finfo(dtype).eps), 100
    assert error_bound(dtype, terms) == error_bound(dtype, terms, 10.0) == eps
    once, sums = eps / 2, error_bound("float32", terms)
    for factor in (2.0**20, 2.0**22):
        assert error_bound(dtype, terms, factor) == once + factor * sums


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
    for image, kernel in ((lhs.at[1].mul(1e6), rhs), (lhs, rhs.at[1].mul(1e6))):
        out = problem.lax(image, kernel).at[0, 0, 0].add(0.01)
        assert problem.violation(out, image, kernel, normwise=True)
