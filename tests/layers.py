"""One table of layers, each with what lax says that it computes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxconv import nn

KEY = jax.random.key(0)
NUMPY_MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}
CHANNELS_FIRST = {"NWC": "NCW", "NHWC": "NCHW", "NDHWC": "NCDHW"}


def numbers(x):
    """NHWC, HWIO, NHWC, for any number of axes."""
    n = x.ndim - 2
    return lax.ConvDimensionNumbers((0, n + 1, *range(1, n + 1)), (n + 1, n, *range(n)), (0, n + 1, *range(1, n + 1)))


def padded(layer, x, taps):
    """x as the layer goes on beyond its edges: what is left is a VALID convolution."""
    extent = [(size - 1) * gap + 1 for size, gap in zip(taps, layer.dilation, strict=True)]
    pairs = layer.padding
    if pairs == "CAUSAL":
        pairs = [(size - 1, 0) for size in extent]
    elif isinstance(pairs, str):
        pairs = lax.padtype_to_pads(x.shape[1:-1], extent, layer.stride, pairs)
    return jnp.pad(x, [(0, 0), *pairs, (0, 0)], mode=NUMPY_MODES[layer.padding_mode])


def shared(layer, x, kernel, groups):
    x = padded(layer, x, kernel.shape[:-2])
    return lax.conv_general_dilated(
        x, kernel, layer.stride, "VALID", rhs_dilation=layer.dilation, dimension_numbers=numbers(x),
        feature_group_count=groups,
    )  # fmt: skip


def conv(layer, x):
    return shared(layer, x, layer.kernel, layer.groups) + layer.bias


def depthwise(layer, x):
    return shared(layer, x, layer.kernel, x.shape[-1]) + layer.bias


def separable(layer, x):
    return shared(layer, x, layer.depthwise, x.shape[-1]) @ layer.pointwise[(0,) * (x.ndim - 2)] + layer.bias


def transposed(layer, x):
    """Group by group, as the gradient of the convolution with the flipped kernel."""
    n, parts = x.ndim - 2, []
    extent = [(size - 1) * gap + 1 for size, gap in zip(layer.kernel.shape, layer.dilation, strict=False)]
    if layer.padding == "SAME":
        sizes = [size * stride for size, stride in zip(x.shape[1:-1], layer.stride, strict=True)]
        pairs = lax.padtype_to_pads(sizes, extent, layer.stride, "SAME")
    else:
        pairs = [(0, 0)] * n if layer.padding == "VALID" else layer.padding
        further = [max(0, s - e) for s, e in zip(layer.stride, extent, strict=True)] if layer.padding == "VALID" else ()
        sizes = [
            (size - 1) * stride + reach - sum(pair) + more
            for size, stride, reach, pair, more in zip(
                x.shape[1:-1], layer.stride, extent, pairs, further or layer.output_padding, strict=True
            )
        ]
    for part, kernel in zip(jnp.split(x, layer.groups, -1), jnp.split(layer.kernel, layer.groups, -1), strict=True):
        forward = partial(
            lax.conv_general_dilated, rhs=jnp.flip(kernel, range(n)).swapaxes(-1, -2), window_strides=layer.stride,
            padding=pairs, rhs_dilation=layer.dilation, dimension_numbers=numbers(x),
        )  # fmt: skip
        like = jax.ShapeDtypeStruct((x.shape[0], *sizes, kernel.shape[-1]), x.dtype)
        parts += jax.linear_transpose(forward, like)(part)
    return jnp.concatenate(parts, -1) + layer.bias


def local(layer, x):
    x = padded(layer, x, layer.taps)
    return layer.bias + lax.conv_general_dilated_local(
        x, layer.kernel, layer.stride, "VALID", layer.taps, rhs_dilation=layer.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC") if x.ndim == 4 else ("NWC", "WIO", "NWC"),
    )  # fmt: skip


class Row(NamedTuple):
    """A layer, and what it is to compute.

    Attributes:
      init: of the layer, channels last.
      x: shape of its input.
      reference: (layer, x) -> out by lax, channels last.
      shapes: of its arrays.
      drawn: shapes for which initialisers are called.
      terms: products in the sum of one result.
    """

    init: Callable[..., Any]
    x: tuple[int, ...]
    reference: Callable
    shapes: list[tuple[int, ...]]
    drawn: list[tuple[int, ...]]
    terms: int


def row(kind, reference, x, *sizes, shapes, drawn, terms, **settings):
    if kind is not nn.ConvLocal:
        settings["algorithm"] = "xla"  # which compiles fastest; others have tests of their own
    return Row(partial(kind.init, KEY, *sizes, **settings), x, reference, shapes, drawn, terms)


ROWS = {
    "Conv": row(
        nn.Conv, conv, (2, 7, 6, 4), 4, 6, (3, 2), stride=(2, 1), padding=[(1, 2), 1], dilation=(1, 2), groups=2,
        shapes=[(3, 2, 2, 6), (6,)], drawn=[(3, 2, 2, 3), (6,)], terms=12,
    ),
    "Conv, same": row(
        nn.Conv, conv, (2, 7, 6, 3), 3, 4, (4, 3), stride=2, layout="NHWC",
        shapes=[(4, 3, 3, 4), (4,)], drawn=[(4, 3, 3, 4), (4,)], terms=36,
    ),
    "Conv, causal": row(
        nn.Conv, conv, (2, 9, 3), 3, 4, (3,), padding="causal", dilation=2,
        shapes=[(3, 3, 4), (4,)], drawn=[(3, 3, 4), (4,)], terms=9,
    ),
    "Conv, circular": row(
        nn.Conv, conv, (1, 4, 5, 4, 2), 2, 3, 2, padding="SAME_LOWER", padding_mode="circular", layout="NDHWC",
        shapes=[(2, 2, 2, 2, 3), (3,)], drawn=[(2, 2, 2, 2, 3), (3,)], terms=16,
    ),
    "Conv, reflect": row(
        nn.Conv, conv, (2, 7, 6, 4), 4, 6, (3, 2), stride=(2, 1), padding=2, padding_mode="reflect", groups=2,
        shapes=[(3, 2, 2, 6), (6,)], drawn=[(3, 2, 2, 3), (6,)], terms=12,
    ),
    "DepthwiseConv": row(
        nn.DepthwiseConv, depthwise, (2, 7, 6, 4), 4, (3, 2), multiplier=2, stride=(1, 2), padding="VALID", dilation=2,
        shapes=[(3, 2, 1, 8), (8,)], drawn=[(3, 2, 1, 2), (8,)], terms=6,
    ),
    "DepthwiseConv, replicate": row(
        nn.DepthwiseConv, depthwise, (2, 9, 3), 3, (4,), padding_mode="replicate",
        shapes=[(4, 1, 3), (3,)], drawn=[(4, 1, 1), (3,)], terms=4,
    ),
    "SeparableConv": row(
        nn.SeparableConv, separable, (2, 7, 6, 4), 4, 6, (3, 2), multiplier=2, stride=2, padding_mode="circular",
        shapes=[(3, 2, 1, 8), (1, 1, 8, 6), (6,)], drawn=[(3, 2, 1, 2), (1, 1, 8, 6), (6,)], terms=6 + 8,
    ),
    "ConvTranspose": row(
        nn.ConvTranspose, transposed, (2, 4, 3, 4), 4, 6, (3, 2), stride=(2, 3), padding=[(1, 2), 0],
        output_padding=(1, 2), dilation=(2, 1), groups=2,
        shapes=[(3, 2, 2, 6), (6,)], drawn=[(3, 2, 2, 3), (6,)], terms=12,
    ),
    "ConvTranspose, same": row(
        nn.ConvTranspose, transposed, (2, 5, 3), 3, 4, (4,), stride=2,
        shapes=[(4, 3, 4), (4,)], drawn=[(4, 3, 4), (4,)], terms=12,
    ),
    "ConvTranspose, valid": row(
        nn.ConvTranspose, transposed, (1, 3, 2, 2, 2), 2, 3, (2, 3, 1), stride=(1, 2, 2), padding="valid",
        shapes=[(2, 3, 1, 2, 3), (3,)], drawn=[(2, 3, 1, 2, 3), (3,)], terms=12,
    ),
    "ConvLocal": row(
        nn.ConvLocal, local, (2, 7, 6, 3), 3, 4, (3, 2), (7, 6), stride=(2, 1), padding=[(1, 2), 0], dilation=(1, 2),
        shapes=[(4, 4, 18, 4), (4, 4, 4)], drawn=[(3, 2, 3, 4), (4, 4, 4)], terms=18,
    ),
    "ConvLocal, circular": row(
        nn.ConvLocal, local, (2, 9, 3), 3, 4, (3,), (9,), padding_mode="circular",
        shapes=[(9, 9, 4), (9, 4)], drawn=[(3, 3, 4), (9, 4)], terms=9,
    ),
}  # fmt: skip
every_layer = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def made(row, **changes):
    """The layer in float64, with a bias that is not zero."""
    return row.init(**{"dtype": "float64", "bias_init": jax.nn.initializers.normal(1.0), **changes})


def random(shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape, "float64")
