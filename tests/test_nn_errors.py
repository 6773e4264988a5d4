"""Wrong arguments and inputs of layers: errors that name the layer and the values."""

import re

import jax
import jax.numpy as jnp
import pytest
from layers import KEY

from jaxconv import nn

# The beginning or the end of a message, and what it is raised for.
SETTINGS = {
    "Conv kernel_size 3 leaves the number of axes open: give a number for each axis, or a layout, one of NWC, ": (
        lambda: nn.Conv.init(KEY, 3, 4, 3)
    ),
    "Conv kernel_size must be for 1 to 3 axes, got ()": lambda: nn.Conv.init(KEY, 3, 4, ()),
    "Conv kernel_size must be for 1 to 3 axes, got (1, 1, 1, 1)": lambda: nn.Conv.init(KEY, 3, 4, (1, 1, 1, 1)),
    "ConvTranspose kernel_size must be an integer or one for each of 1 axes, 1 or more, got (3, 3)": (
        lambda: nn.ConvTranspose.init(KEY, 3, 4, (3, 3), layout="NWC")
    ),
    "DepthwiseConv kernel_size must be an integer or one for each of 2 axes, 1 or more, got (3, 0)": (
        lambda: nn.DepthwiseConv.init(KEY, 3, (3, 0))
    ),
    "Conv layout must be one of 'NWC', 'NHWC', 'NDHWC', 'NCW', 'NCHW', 'NCDHW', got 'NHCW'": (
        lambda: nn.Conv.init(KEY, 3, 4, (3, 3), layout="NHCW")
    ),
    "SeparableConv stride must be an integer or one for each of 2 axes, 1 or more, got 2.5": (
        lambda: nn.SeparableConv.init(KEY, 3, 4, (3, 3), stride=2.5)  # pyright: ignore[reportArgumentType]
    ),
    "SeparableConv stride must be an integer or one for each of 2 axes, 1 or more, got (1, 2, 3)": (
        lambda: nn.SeparableConv.init(KEY, 3, 4, (3, 3), stride=(1, 2, 3))
    ),
    "ConvLocal dilation must be": lambda: nn.ConvLocal.init(KEY, 3, 4, (3, 3), 8, dilation=0),
    "ConvLocal input_size must be": lambda: nn.ConvLocal.init(KEY, 3, 4, (3, 3), (8, 8, 8)),
    "ConvLocal window (3, 3) with dilation (4, 4) does not fit into (8, 9)": (
        lambda: nn.ConvLocal.init(KEY, 3, 4, (3, 3), (8, 9), padding=0, dilation=4)
    ),
    "Conv padding must be one of 'SAME', 'SAME_LOWER', 'VALID', 'CAUSAL', ": (
        lambda: nn.Conv.init(KEY, 3, 4, (3,), padding="full")
    ),
    "got [(1, 2, 3)]": lambda: nn.Conv.init(KEY, 3, 4, (3,), padding=[(1, 2, 3)]),  # pyright: ignore
    "ConvTranspose padding must be one of 'SAME', 'VALID', got 'CAUSAL'": (
        lambda: nn.ConvTranspose.init(KEY, 3, 4, (3,), padding="CAUSAL")
    ),
    "Conv padding_mode must be one of 'zeros', 'circular', 'reflect', 'replicate', got 'wrap'": (
        lambda: nn.Conv.init(KEY, 3, 4, (3,), padding_mode="wrap")
    ),
    "Conv algorithm must be one of None, ": lambda: nn.Conv.init(KEY, 3, 4, (3,), algorithm="magic"),
    "Conv groups must be a positive integer, got 0": lambda: nn.Conv.init(KEY, 4, 4, (3,), groups=0),
    "Conv in_channels must be a positive integer, got 4.0": (
        lambda: nn.Conv.init(KEY, 4.0, 4, (3,))  # pyright: ignore[reportArgumentType]
    ),
    "Conv out_channels must be a positive integer, got -4": lambda: nn.Conv.init(KEY, 4, -4, (3,)),
    "DepthwiseConv multiplier must be a positive integer, got 0": lambda: nn.DepthwiseConv.init(
        KEY, 3, (3,), multiplier=0
    ),
    "Conv groups must divide in_channels, got 3 groups of 4": lambda: nn.Conv.init(KEY, 4, 6, (3,), groups=3),
    "ConvTranspose groups must divide out_channels, got 2 groups of 5": (
        lambda: nn.ConvTranspose.init(KEY, 4, 5, (3,), groups=2)
    ),
}


@pytest.mark.parametrize("message", SETTINGS)
def test_settings_that_cannot_be(message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        SETTINGS[message]()


# A layer, the shape of an input that it does not take, and why.
INPUTS = [
    (lambda: nn.Conv.init(KEY, 6, 4, (3,), groups=2), (2, 9, 8), "Conv x must have 6 channels, got 8"),
    (lambda: nn.Conv.init(KEY, 6, 4, 3, layout="NCW"), (9, 6), "Conv x must have 6 channels, got 9"),
    (lambda: nn.DepthwiseConv.init(KEY, 4, (3,)), (2, 9, 2), "DepthwiseConv x must have 4 channels, got 2"),
    (lambda: nn.SeparableConv.init(KEY, 4, 2, (3,)), (2, 9, 2), "SeparableConv x must have 4 channels, got 2"),
    (
        lambda: nn.ConvTranspose.init(KEY, 4, 2, (3,), groups=2),
        (2, 9, 2),
        "ConvTranspose x must have 4 channels, got 2",
    ),
    (lambda: nn.ConvLocal.init(KEY, 4, 2, (3,), 9), (2, 9, 2), "ConvLocal x must have 4 channels, got 2"),
    (lambda: nn.Conv.init(KEY, 3, 4, (3, 3)), (8, 3), "conv2d takes lhs NHWC, with or without N"),
    (lambda: nn.ConvTranspose.init(KEY, 3, 4, (3,)), (1, 2, 8, 3), "ConvTranspose takes lhs NWC, with or without N"),
    (lambda: nn.ConvLocal.init(KEY, 4, 2, (3,), 8), (2, 9, 4), "rhs must have shape (9, 12, any), got (8, 12, 2)"),
    (
        lambda: nn.ConvTranspose.init(KEY, 3, 4, (3,), stride=2, padding=1, output_padding=2),
        (1, 8, 3),
        "output_padding must be less than the stride or the dilation",
    ),
    (
        lambda: nn.Conv.init(KEY, 3, 4, (3,), padding="CAUSAL", padding_mode="circular"),
        (1, 8, 3),
        "padding 'CAUSAL' keeps later inputs out, 'circular' does not",
    ),
]


@pytest.mark.parametrize("make, x, message", INPUTS)
def test_inputs_that_do_not_fit(make, x, message):
    """Also where the function beneath says so, the layer is named with its settings."""
    layer = make()
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        layer(jnp.ones(x, "float32"))
    shape = ",".join(map(str, x))
    assert error.value.__notes__[-1] == f"{layer} was applied to x of {layer.layout}: float32[{shape}]"


def test_types_do_not_mix():
    layer = nn.Conv.init(KEY, 3, 4, (3,))
    with pytest.raises(TypeError, match="requires arguments to have the same dtypes, got bfloat16, float32") as error:
        layer(jnp.ones((1, 8, 3), "bfloat16"))
    assert "Conv(kernel=float32[3,3,4]" in error.value.__notes__[-1]
    half = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), layer)
    assert half(jnp.ones((1, 8, 3), "bfloat16")).dtype == "bfloat16"
