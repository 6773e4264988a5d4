"""Wrong arguments and inputs of layers: errors that name the layer and the values."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    "Conv kernel_size array(3) leaves the number of axes open": (
        lambda: nn.Conv.init(KEY, 3, 4, np.array(3))  # pyright: ignore[reportArgumentType]
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
    "ConvTranspose output_padding must be less than the stride or the dilation, got (2,) with strides (2,)": (
        lambda: nn.ConvTranspose.init(KEY, 3, 4, (3,), stride=2, padding=1, output_padding=2)
    ),
    "ConvTranspose output_padding does not go with padding 'SAME', got (1, 1)": (
        lambda: nn.ConvTranspose.init(KEY, 3, 4, (3, 3), stride=2, output_padding=1)
    ),
    "Conv padding 'CAUSAL' keeps later inputs out, 'circular' does not": (
        lambda: nn.Conv.init(KEY, 3, 4, (3,), padding="CAUSAL", padding_mode="circular")
    ),
    "DepthwiseConv padding 'CAUSAL' keeps later inputs out, 'reflect' does not": (
        lambda: nn.DepthwiseConv.init(KEY, 3, (3,), padding="causal", padding_mode="reflect")
    ),
    "SeparableConv padding 'CAUSAL' keeps later inputs out, 'circular' does not": (
        lambda: nn.SeparableConv.init(KEY, 3, 4, (3,), padding="CAUSAL", padding_mode="circular")
    ),
    "ConvLocal padding 'CAUSAL' keeps later inputs out, 'circular' does not": (
        lambda: nn.ConvLocal.init(KEY, 3, 4, (3,), 8, padding="CAUSAL", padding_mode="circular")
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


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
@pytest.mark.parametrize("types", [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_types_do_not_mix_in_local_layers_either(padding_mode, types):
    layer = nn.ConvLocal.init(KEY, 3, 4, (3,), 8, padding_mode=padding_mode, dtype=types[0])
    assert layer(jnp.ones((1, 8, 3), types[0])).dtype == types[0]
    with pytest.raises(
        TypeError, match=f"ConvLocal x must be of the weights' type, {types[0]}, got {types[1]}"
    ) as error:
        layer(jnp.ones((1, 8, 3), types[1]))
    assert f"ConvLocal(kernel={types[0]}[8,9,4]" in error.value.__notes__[-1]


@pytest.mark.parametrize("layout, shape", [("NWC", (8, 4)), ("NCW", (4, 8))])
def test_bias_of_local_layers(layout, shape):
    """Of another shape or a wider type it would change those of the result."""
    layer = nn.ConvLocal.init(KEY, 3, 4, (3,), 8, layout=layout, dtype="bfloat16")
    x = jnp.ones((1, 8, 3) if layout == "NWC" else (1, 3, 8), "bfloat16")
    assert layer.bias is not None and layer.bias.shape == shape
    for wrong in ((7, 1, *shape), (4,), (1, *shape), (1, 1)):
        message = f"ConvLocal bias must have the shape {shape}, got {wrong}"
        with pytest.raises(ValueError, match=re.escape(message)):
            replace(layer, bias=jnp.ones(wrong, "bfloat16"))(x)
    with pytest.raises(TypeError, match="ConvLocal bias must be of the result's type, bfloat16, or a narrower one"):
        replace(layer, bias=jnp.ones(shape, "float32"))(x)
    wide = jax.tree.map(lambda leaf: leaf.astype("float32"), layer)
    assert replace(wide, bias=jnp.ones(shape, "bfloat16"))(x.astype("float32")).dtype == "float32"


def test_inputs_that_are_no_arrays():
    no_arrays: list[Any] = [[[1.0]], [[[1.0]]]]
    for layer in (
        nn.Conv.init(KEY, 1, 1, (1,)),
        nn.ConvTranspose.init(KEY, 1, 1, (1,)),
        nn.ConvLocal.init(KEY, 1, 1, 1, 1, layout="NWC"),
    ):
        for x in no_arrays:
            with pytest.raises(TypeError, match="lhs must be an array, got \\[\\[.*1.0") as error:
                layer(x)
            assert type(layer).__name__ in error.value.__notes__[-1]
