"""Errors name the function that was called and its arguments, not a function that it is made of."""

import inspect
import re
from typing import Any

import jax.numpy as jnp
import pytest

import jaxconv

x, line = jnp.ones((1, 5, 5, 2), "float32"), jnp.ones((1, 5, 2), "float32")
taps = jnp.ones((3, 3, 1, 4), "float32")
full, pointwise = jnp.ones((3, 3, 2, 4), "float32"), jnp.ones((1, 1, 4, 3), "float32")
signal = jnp.ones(5, "float32")

# Functions that pass options on, each with its operands.
WITH_OPTIONS: dict[str, tuple] = {
    "conv1d": (line, full[0]),
    "conv2d": (x, full),
    "conv3d": (x[None], full[None]),
    "depthwise_conv": (x, taps),
    "separable_conv": (x, taps, pointwise),
    "conv_with_padding_mode": (line, jnp.ones((3, 5, 1)), (1,), 0, "circular"),
    "convolve": (signal, signal),
    "correlate": (signal, signal),
}
LIKE_CONV2D = ("conv1d", "conv2d", "conv3d", "depthwise_conv", "separable_conv")


def call(name, *operands, **arguments: Any):
    return getattr(jaxconv, name)(*operands, **arguments)


@pytest.mark.parametrize("keyword", ["foo", "spatial_axis_name", "out_sharding", "batch_group_count"])
@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_keywords_that_a_function_does_not_have(name, keyword):
    """Also those that `conv_general_dilated` has: with another padding mode each shard would go on by its own edge."""
    if keyword in inspect.signature(getattr(jaxconv, name)).parameters:
        keyword = f"{keyword}s"
    with pytest.raises(TypeError, match=re.escape(f"{name}() got an unexpected keyword argument '{keyword}'")):
        call(name, *WITH_OPTIONS[name], **{keyword: None})


@pytest.mark.parametrize("name", LIKE_CONV2D)
@pytest.mark.parametrize(
    "message, wrong",
    {
        "window_strides must be an integer or one for each of": dict(window_strides=0),
        "padding must be one of 'SAME', ": dict(padding="FULL"),
        "padding must be an integer, for each of": dict(padding=(1, 2, 3, 4)),
        "rhs_dilation must be an integer or one for each of": dict(rhs_dilation=(1, 2, 3, 4)),
        "bias must have the shape": dict(bias=signal),
        "padding_mode must be one of 'zeros', ": dict(padding_mode="mirror"),
        "padding 'CAUSAL' keeps later inputs out": dict(padding="CAUSAL", padding_mode="circular"),
    }.items(),
)
def test_arguments(name, message, wrong):
    with pytest.raises(ValueError, match=f"^{name} {message}"):
        call(name, *WITH_OPTIONS[name], **wrong)


@pytest.mark.parametrize("name", LIKE_CONV2D)
def test_axes_that_cannot_go_on(name):
    lhs, *kernels = WITH_OPTIONS[name]
    with pytest.raises(ValueError, match=f"^{name} cannot pad an axis of length 0"):
        call(name, lhs[..., :0, :], *kernels, padding=1, padding_mode="reflect")


@pytest.mark.parametrize(
    "name, operands, message",
    [
        ("conv2d", ([[[1.0]]], full), "conv2d lhs must be an array, got [[[1.0]]]"),
        ("conv2d", (x, None), "conv2d rhs must be an array, got None"),
        ("depthwise_conv", ([[[1.0]]], taps), "depthwise_conv lhs must be an array, got [[[1.0]]]"),
        ("separable_conv", ("x", taps, pointwise), "separable_conv lhs must be an array, got 'x'"),
        ("separable_conv", (x, [[[[1.0]]]], pointwise), "separable_conv depthwise must be an array, got [[[[1.0]]]]"),
        ("separable_conv", (x, taps, None), "separable_conv pointwise must be an array, got None"),
        ("conv_transpose", ([[1.0]], full, 1, "SAME"), "conv_transpose lhs must be an array, got [[1.0]]"),
        ("conv_transpose", (x, None, 1, "SAME"), "conv_transpose rhs must be an array, got None"),
        ("conv_with_padding_mode", ([[1.0]], full, (1, 1), 0), "conv_with_padding_mode lhs must be an array, got [["),
    ],
)
def test_operands_that_are_no_arrays(name, operands, message):
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        call(name, *operands)


@pytest.mark.parametrize(
    "kernels, message",
    [
        ((full, pointwise), "separable_conv depthwise (HWIO) must have I = 1 and O a multiple of the 2 channels"),
        ((taps[0, 0], pointwise), "separable_conv needs a kernel of rank 3, 4 or 5, got the shape (1, 4)"),
        ((taps, pointwise[0]), "separable_conv takes lhs NHWC, with or without N, and pointwise HWIO, got the shapes"),
    ],
)
def test_kernels_of_separable_conv(kernels, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call("separable_conv", x, *kernels)
