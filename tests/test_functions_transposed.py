"""Transposed convolutions against lax's, PyTorch's and the gradient of the convolution that they transpose."""

import inspect
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from multilinear import disagreement

from jaxconv import conv_transpose
from jaxconv._functions import transposed
from jaxconv.testing import error_bound


def random(*shape, dtype="float64", seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


@st.composite
def calls(draw):
    """Shapes and arguments that `lax.conv_transpose` takes.

    More inputs than taps along each axis: XLA, which otherwise makes the kernel the input, may end the process by that.
    """
    ndim = draw(st.integers(0, 3))

    def each(least, most):
        return draw(st.tuples(*[st.integers(least, most)] * ndim))

    batch, inputs, outputs = draw(st.tuples(*[st.integers(1, 3)] * 3))
    lhs, rhs = (batch, *each(4, 5), inputs), (*each(1, 3), inputs, outputs)
    arguments: dict[str, Any] = {"strides": each(1, 3), "padding": draw(st.sampled_from(["SAME", "VALID", "pairs"]))}
    if arguments["padding"] == "pairs":
        arguments["padding"] = tuple(zip(each(0, 3), each(0, 3), strict=True))
        arguments["use_consistent_padding"] = all(
            low + high <= size for (low, high), size in zip(arguments["padding"], rhs, strict=False)
        ) and draw(st.booleans())
    else:
        arguments["use_consistent_padding"] = draw(st.booleans())
    if draw(st.booleans()):
        arguments["rhs_dilation"] = each(1, 3)
    if draw(st.booleans()):
        space = "DHW"[:ndim]
        arguments["dimension_numbers"] = ("NC" + space, "OI" + space, "NC" + space)
        lhs, rhs = (batch, inputs, *lhs[1:-1]), (outputs, inputs, *rhs[:-2])
    if draw(st.booleans()):
        arguments["transpose_kernel"] = True
        first, second = (0, 1) if "dimension_numbers" in arguments else (-2, -1)
        rhs = list(rhs)
        rhs[first], rhs[second] = rhs[second], rhs[first]
    dtype = draw(st.sampled_from(["float32", "bfloat16", "int8"]))
    if dtype != "float32":
        arguments["preferred_element_type"] = draw(st.sampled_from([None, "float32"]))
    return lhs, tuple(rhs), dtype, arguments


def violation(lhs, rhs, dtype, arguments: dict[str, Any]):
    """Why ours is not what lax's is, by the error of a direct sum."""

    def theirs(lhs, rhs, **changes):
        return lax.conv_transpose(lhs, rhs, **{**arguments, **changes})

    terms = prod(rhs)
    lhs, rhs = ((8 * random(*shape, seed=seed)).astype(dtype) for seed, shape in enumerate((lhs, rhs)))
    got, expected = conv_transpose(lhs, rhs, accuracy="strict", **arguments), jax.eval_shape(theirs, lhs, rhs)
    if (got.shape, got.dtype) != (expected.shape, expected.dtype):
        return f"got {got.dtype}{got.shape}, expected {expected.dtype}{expected.shape}"
    if dtype == "int8":
        return "" if (got == theirs(lhs, rhs)).all() else "integers differ"
    lhs, rhs = lhs.astype("float64"), rhs.astype("float64")
    exact, most = (theirs(*operands, preferred_element_type=None) for operands in ((lhs, rhs), (abs(lhs), abs(rhs))))
    wrong = abs(got.astype("float64") - exact) > error_bound(got.dtype, terms) * most
    return f"{wrong.sum()} values are wrong" if wrong.any() else ""


@given(calls())
def test_is_laxs_transposed_convolution(call):
    assert violation(*call) == ""


def test_that_test_can_fail(monkeypatch):
    call = (1, 3, 2), (4, 2, 1), "float32", {"strides": (3,), "padding": "SAME"}
    assert violation(*call) == ""
    monkeypatch.setattr(transposed, "_by_name", lambda padding, size, stride: (1, size - stride - 1))
    assert violation(*call)


@pytest.mark.parametrize("padding", ["SAME", "same", "SAME_LOWER", "VALID"])
def test_names_of_padding_mean_what_they_mean_to_lax(padding):
    """With strides of 1 lax passes on names that it does not know."""
    lhs, rhs = jnp.arange(5.0).reshape(1, 5, 1), jnp.arange(1.0, 5.0).reshape(4, 1, 1)
    np.testing.assert_array_equal(conv_transpose(lhs, rhs, (1,), padding), lax.conv_transpose(lhs, rhs, (1,), padding))


@pytest.mark.parametrize("padding", ["SAME", "same", "SAME_LOWER"])
@pytest.mark.parametrize("consistent", [False, True])
def test_of_no_axes_any_name_of_padding_is_right(padding, consistent):
    lhs, rhs = random(2, 3), random(3, 4)
    ours, theirs = (
        f(lhs, rhs, (), padding, use_consistent_padding=consistent) for f in (conv_transpose, lax.conv_transpose)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "lhs, rhs, arguments",
    [
        ((2, 4, 3), (3, 3, 2), dict(strides=(2,), padding="SAME")),
        ((2, 4, 3, 2), (3, 2, 4, 2), dict(strides=(2, 3), padding="VALID", transpose_kernel=True)),
    ],
)
def test_values_and_derivatives(lhs, rhs, arguments):
    def ours(lhs, rhs):
        return conv_transpose(lhs, rhs, **arguments, accuracy="strict")

    def theirs(lhs, rhs):
        return lax.conv_transpose(lhs, rhs, **arguments)

    assert disagreement(ours, theirs, lhs, rhs) == ""


@pytest.mark.parametrize("layout", ["channels last", "channels first"])
@pytest.mark.parametrize("more", [0, (1, 2)])
def test_is_the_gradient_of_the_grouped_convolution_it_transposes(layout, more):
    numbers = ("NHWC", "HWIO", "NHWC") if layout == "channels last" else ("NCHW", "OIHW", "NCHW")
    sizes = {"N": 2, "C": 9, "O": 9, "I": 2, "H": 3, "W": 3}  # three groups, each of 2 channels to 3 and back
    lhs, rhs = (tuple(sizes[letter] for letter in spec) for spec in numbers[:2])
    strides, gaps, pads = (2, 3), (1, 2), [(0, 1), (2, 1)]
    rows, columns = (0, 0) if more == 0 else more
    forward = {"H": 2 * 2 + 3 - 1 + rows, "W": 3 * 2 + 5 - 3 + columns, "N": 2, "C": 6}
    like = jnp.zeros([forward[letter] for letter in numbers[0]])

    def ours(lhs, rhs):
        consistent: dict[str, Any] = dict(transpose_kernel=True, use_consistent_padding=True, feature_group_count=3)
        consistent["accuracy"] = "strict"
        return conv_transpose(lhs, rhs, strides, pads, gaps, numbers, output_padding=more, **consistent)

    def theirs(lhs, rhs):
        def conv(image):
            return lax.conv_general_dilated(image, rhs, strides, pads, None, gaps, numbers, 3)

        return jax.linear_transpose(conv, like)(lhs)[0]

    assert disagreement(ours, theirs, lhs, rhs) == ""


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_is_pytorchs_transposed_convolution(ndim, groups):
    torch = pytest.importorskip("torch")
    function = [torch.nn.functional.conv_transpose1d, torch.nn.functional.conv_transpose2d]
    function = [*function, torch.nn.functional.conv_transpose3d][ndim - 1]
    lhs = random(2, 4, *(4, 3, 2)[:ndim])
    rhs = random(4, 3, *(3, 2, 4)[:ndim], seed=1)  # C, O / groups, taps
    strides, by, more, gaps = ((2, 1, 3)[:ndim], (1, 0, 2)[:ndim], (1, 1, 2)[:ndim], (1, 2, 1)[:ndim])
    theirs = [torch.tensor(np.asarray(x), requires_grad=True) for x in (lhs, rhs)]
    expected = function(*theirs, None, strides, by, more, groups, gaps)
    (expected**2).sum().backward()
    space = "DHW"[:ndim]

    @jax.jit
    def ours(lhs, rhs):
        def conv(lhs, rhs):
            return conv_transpose(
                lhs,
                rhs,
                strides,
                by,
                gaps,
                ("NC" + space, "OI" + space, "NC" + space),
                transpose_kernel=True,
                use_consistent_padding=True,
                output_padding=more,
                feature_group_count=groups,
            )

        out, back = jax.vjp(conv, lhs, rhs)
        return out, *back(2 * out)

    for got, wanted in zip(ours(lhs, rhs), (expected, *(x.grad for x in theirs)), strict=True):
        np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_groups_are_transposed_convolutions_of_their_own():
    """Without `transpose_kernel`, with the kernel in the layout of `conv_general_dilated`."""
    lhs, rhs = random(2, 5, 6), random(3, 2, 12, seed=1)
    got = conv_transpose(lhs, rhs, 2, 1, feature_group_count=3, output_padding=1)
    parts = [
        lax.conv_transpose(lhs[..., 2 * g : 2 * g + 2], rhs[..., 4 * g : 4 * g + 4], (2,), [(1, 2)]) for g in range(3)
    ]
    np.testing.assert_allclose(got, jnp.concatenate(parts, -1), rtol=1e-12, atol=1e-12)


def test_signature_is_that_of_lax():
    theirs = list(inspect.signature(lax.conv_transpose).parameters.values())
    ours = list(inspect.signature(conv_transpose).parameters.values())
    assert [(p.name, p.default, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.default, p.kind) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


x, w = jnp.ones((1, 4, 4, 6)), jnp.ones((3, 3, 6, 2))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(strides=(2,)), r"conv_transpose strides must be an integer or one for each of 2 axes, .*got \(2,\)"),
        (dict(strides=(0, 1)), r"conv_transpose strides must be .* 1 or more, got \(0, 1\)"),
        (dict(rhs_dilation=(2,)), r"conv_transpose rhs_dilation must be .* got \(2,\)"),
        (dict(padding="FULL"), "String padding is not implemented for transposed convolution"),
        (dict(padding="FULL", use_consistent_padding=True), "must be 'SAME', 'VALID' or pairs .*, got 'FULL'"),
        (dict(padding=[(1, 1)]), r"conv_transpose padding must be .* 2 axes .*, got \[\(1, 1\)\]"),
        (dict(output_padding=1), "output_padding does not go with padding 'SAME', got"),
        (
            dict(output_padding=2, padding=1),
            r"less than the stride or the dilation, got \(2, 2\) with strides \(2, 2\)",
        ),
        (dict(output_padding=(0, -1), padding=1), r"output_padding must be .* 0 or more, got \(0, -1\)"),
        (dict(output_padding=(0, 1, 1), padding=1), r"output_padding must be .* 2 axes, .* got \(0, 1, 1\)"),
        (dict(feature_group_count=4, transpose_kernel=True), "feature_group_count must divide .*, got 4 for 2"),
        (dict(feature_group_count=2), "feature_group_count"),
        (dict(rhs=w[:, :, :5]), "feature"),
        (dict(rhs=w[0]), r"lhs and rhs of the same rank, 2 or more, got .*\(1, 4, 4, 6\) and \(3, 6, 2\)"),
        (dict(lhs=x[0, 0, 0], rhs=w[0, 0, 0], strides=()), "lhs and rhs of the same rank, 2 or more"),
        (dict(lhs=[[1.0]]), r"lhs must be an array, got \[\[1.0\]\]"),
        (dict(rhs=w[:0]), "rhs must have at least one tap along each axis"),
        (dict(dimension_numbers=("NHWC", "HWIX", "NHWC")), "must contain the characters 'O' and 'I'"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        conv_transpose(**{"lhs": x, "rhs": w, "strides": (2, 2), "padding": "SAME", **wrong})


def test_output_padding_may_be_larger_than_the_stride_below_the_dilation():
    """As PyTorch has it."""
    assert conv_transpose(x, w, 1, 1, (3, 3), use_consistent_padding=True, output_padding=2).shape == (1, 10, 10, 2)
