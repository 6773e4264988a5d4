"""An n-D convolution as a sum of (n-1)-D ones, for compilers that do fewer dimensions better.

    out[n, d, s] = sum over k0 of  conv(lhs[n, stride * d + dilation * k0, :], rhs[k0])[s]

The slabs of lhs that tap k0 of the first axis meets become images of a batch N * D'. One dimension is not lowered but
raised to two, the first of them with one row.
"""

from dataclasses import replace
from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry, with_axis, without_axis
from .._layout import channels_last
from . import xla

MAX_SLABS = 16  # convolutions written out


def inner_geometry(geometry: Geometry) -> Geometry:
    """The convolution of all slabs with one of the taps along the first axis."""
    g = geometry
    if g.ndim == 1:
        flat = with_axis(g, 0)
    else:
        images = g.batch * g.out_spatial[0]
        flat = replace(without_axis(g), batch=images, preferred_element_type=g.accumulator.name)
    return replace(flat, dimension_numbers=channels_last(flat.ndim))


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O]."""
    g, inner = geometry, inner_geometry(geometry)
    shape = (g.batch, *g.out_spatial, g.groups, g.out_channels)
    lhs, rhs = lhs.reshape(*lhs.shape[:-2], -1), rhs.reshape(*rhs.shape[:-2], -1)
    if g.ndim == 1:
        return xla.convolve(lhs[:, None], rhs[None], inner).reshape(shape)
    count, stride, spread = g.out_spatial[0], g.strides[0], g.rhs_dilation[0]
    pads = [(0, 0, 0)] * lhs.ndim
    pads[1] = (*g.padding[0], g.lhs_dilation[0] - 1)
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), pads)
    slabs = []
    for k in range(g.kernel[0]):
        start = k * spread
        slab = lax.slice_in_dim(padded, start, start + (count - 1) * stride + 1, stride, 1)
        slabs.append(xla.convolve(slab.reshape(-1, *slab.shape[2:]), rhs[k], inner))
    return reduce(add, slabs).reshape(shape)


def workspace(geometry: Geometry) -> int:
    """Bytes of the padded input, its slabs and what they give."""
    g = geometry
    itemsize, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    if g.ndim == 1:
        return 0
    rows = g.batch * prod(g.spatial[1:]) * g.groups * g.in_channels
    length = (g.spatial[0] - 1) * g.lhs_dilation[0] + 1 + sum(max(side, 0) for side in g.padding[0])
    outputs = g.batch * prod(g.out_spatial) * g.groups * g.out_channels
    if g.kernel[0] == 1 and g.padding[0] == (0, 0):  # one convolution, of lhs and rhs as they are
        return outputs * wide
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels
    return (rows * (length + 2 * g.out_spatial[0]) + 2 * taps) * itemsize + (g.kernel[0] + 1) * outputs * wide


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not g.ndim:
        return "there is no axis to cut"
    if g.groups > 1:
        return f"its slabs would be grouped convolutions ({g.groups} groups), which the compiler does badly"
    if g.ndim > 1 and g.kernel[0] > MAX_SLABS:
        return f"it would write out {g.kernel[0]} convolutions, more than {MAX_SLABS}"
    return ""


ALGORITHM = chunked(Kernel(compute, workspace), refuses)._replace(ends_in_xla=True)
