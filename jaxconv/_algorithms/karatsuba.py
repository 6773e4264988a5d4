"""Large kernels by Karatsuba's trick: along each axis three convolutions of half the size instead of four.

Split inputs, taps and outputs into even and odd ones: x0, x1, h0, h1, y0, y1. With * for convolution and x0' for x0
moved by one,

    y0 = x0 * h0 + x1  * h1  =  x1 * (h0 + h1) + (x0  - x1) * h0
    y1 = x1 * h0 + x0' * h1  =  x1 * (h0 + h1) + (x0' - x1) * h1

so the first product serves both. In two dimensions that is 9 convolutions for 16, each of a quarter of the outputs with
a quarter of the taps. (Karatsuba, Ofman 1962; for filters, Mou, Duhamel 1991, Short-length FIR filters. It is
Winograd's F(2, 2) with filters for elements.) The sums cost about one bit.

What is left are dense convolutions, which the compiler does well.
"""

from dataclasses import replace
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._chunk import Kernel, part, whole
from .._chunks import chunked
from .._geometry import Geometry, ceil_div
from . import _onednn
from ._bilinear import along, interleaved, transformed

LEAST_TAPS = 8  # along an axis, for halving to pay
OF_INPUTS = [[0.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]
OF_TAPS = [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
OF_OUTPUTS = [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]


def halved_axes(g: Geometry) -> list[int]:
    """The spatial axes with taps enough, where three convolutions have fewer products: not to one output or three."""

    def saves(taps: int, outputs: int) -> bool:
        return taps >= LEAST_TAPS and 3 * ceil_div(taps, 2) * ceil_div(outputs, 2) < taps * outputs

    return [axis for axis in range(g.ndim) if saves(g.kernel[axis], g.out_spatial[axis])]


def inner_geometry(g: Geometry) -> Geometry:
    """Each of the convolutions that are left."""
    halved = halved_axes(g)
    kernel = tuple(ceil_div(taps, 2) if axis in halved else taps for axis, taps in enumerate(g.kernel))
    counts = [ceil_div(count, 2) if axis in halved else count for axis, count in enumerate(g.out_spatial)]
    inner = replace(
        g,
        spatial=tuple(count + taps - 1 for count, taps in zip(counts, kernel, strict=True)),
        kernel=kernel,
        padding=((0, 0),) * g.ndim,
        dtype=g.accumulator.name,
        preferred_element_type=None,
    )
    return part(inner, whole(inner))


def prepare(rhs: jax.Array, letters: str, geometry: Geometry) -> dict[tuple[int, ...], jax.Array]:
    """The halves of the taps, and their sums, for each place of a product."""
    g, halved = geometry, halved_axes(geometry)
    rhs = rhs.transpose(*range(g.ndim), *(g.ndim + letters.index(letter) for letter in "cgo")).astype(g.accumulator)
    rhs = lax.pad(
        rhs,
        jnp.zeros((), rhs.dtype),
        [(0, g.kernel[i] % 2 if i in halved else 0, 0) for i in range(g.ndim)] + [(0, 0, 0)] * 3,
    )
    values = {}
    for place in product(*(range(2) if axis in halved else (0,) for axis in range(g.ndim))):
        values[place] = rhs[tuple(slice(i, None, 2 if axis in halved else 1) for axis, i in enumerate(place))]
    for axis in halved:
        values = along(OF_TAPS, values, axis)
    return values


def compute(lhs: jax.Array, taps: dict[tuple[int, ...], jax.Array], geometry: Geometry) -> jax.Array:
    """lhs [N, *S, 1, C] -> [N, *S', 1, O]."""
    g, halved, inner = geometry, halved_axes(geometry), inner_geometry(geometry)
    lengths = [2 * size + 1 if axis in halved else size for axis, size in enumerate(inner.spatial)]
    pads = []
    for axis, (low, high) in enumerate(g.padding):
        if high < 0:  # or what is cropped would be mixed into the last outputs
            lhs = lax.slice_in_dim(lhs, 0, max(0, g.spatial[axis] + high), axis=1 + axis)
        pads.append((low, lengths[axis] - low - lhs.shape[1 + axis], 0))
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), [(0, 0, 0), *pads, (0, 0, 0), (0, 0, 0)])
    axes = {axis: 1 + axis for axis in halved}
    values = transformed(OF_INPUTS, padded, g.ndim, axes, 2, inner.spatial, g.accumulator)

    for place, window in values.items():
        out = _onednn.convolve(window.squeeze(-2), taps[place].squeeze(-2), inner)
        values[place] = out[..., None, :]
    for axis in halved:
        values = along(OF_OUTPUTS, values, axis)

    out = interleaved(values, g.ndim, axes, 2)
    return lax.slice(out, (0,) * out.ndim, (g.batch, *g.out_spatial, g.groups, g.out_channels))


def workspace(geometry: Geometry) -> int:
    """Bytes of the inputs, halved and combined, the taps, and what comes of them."""
    g, inner = geometry, inner_geometry(geometry)
    places = 3 ** len(halved_axes(g))
    inputs = g.batch * prod(inner.spatial) * g.groups * g.in_channels
    taps = prod(inner.kernel) * g.groups * g.in_channels * g.out_channels
    outputs = g.batch * prod(inner.out_spatial) * g.groups * g.out_channels
    padded = 2 ** len(halved_axes(g)) * inputs
    return (places * (inputs + taps + outputs) + padded) * g.accumulator.itemsize


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not halved_axes(g):
        have = f"{g.kernel} to {g.out_spatial}"
        return f"it needs {LEAST_TAPS} taps along some axis, to 2 results or more than 3, and has {have}"
    for name, values in (("strides", g.strides), ("lhs_dilation", g.lhs_dilation), ("rhs_dilation", g.rhs_dilation)):
        if set(values) != {1}:
            return f"{name} must be 1, and are {values}"
    if g.groups > 1:
        return f"its convolutions would be grouped ({g.groups} groups), which the compiler does badly"
    return ""


ALGORITHM = chunked(Kernel(compute, workspace, prepare), refuses)._replace(ends_in_xla=True)
