"""The conformance kit bites: convolutions that are wrong in small ways are found, with a small call to paste."""

import re

import pytest
from wrong_convolutions import (
    PLAIN,
    dilation_ignored,
    groups_reversed,
    half_a_tangent,
    kernel_flipped,
    narrow_sum,
    no_second_derivative,
    one_off_at_the_end,
    padding_swapped,
    right,
    scaled,
    wide_result,
    with_gradients,
    wrong_under_jit,
    wrong_under_vmap,
    zero_under_vmap,
)

import jaxconv
from jaxconv.testing import DTYPES, Problem, check, disagreement, problems

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


def test_an_error_of_the_convolution_is_passed_on():
    def fails(lhs, rhs, **arguments):
        raise NotImplementedError("no idea")

    with pytest.raises(NotImplementedError, match="no idea") as error:
        check(fails)
    operands, call = error.value.__notes__[0].splitlines()
    assert operands.startswith("lhs, rhs = Problem(") and call.startswith("out = conv_general_dilated(lhs, rhs, ")


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
