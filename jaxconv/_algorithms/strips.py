"""Patches along the last axis only; along the others it stays a convolution. For weight gradients.

    strips[*z, (s, n), (c, k)] = lhs[n, *z, stride * s + rhs_dilation * k, c]
    out[n, *z, s, o]           = sum over *l and (c, k) of
                                 strips[stride * z + rhs_dilation * l, (s, n), (c, k)] * rhs[*l, k, c, o]

The second line is a convolution of one image, whose rows have a pixel for each position s and image n, and whose pixels
have a channel for each channel c and tap k. A weight gradient has few positions, the taps of the layer, so its strips
are a few copies of lhs, as many as there are positions along one axis, where the patches of im2col are as many as there
are positions in all; and its long axes, images and rows, are where a dense convolution is good at summing.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._cut import Cut, results
from .._geometry import Geometry, dilated
from .._layout import channels_last
from .._summands import added_up
from . import _onednn, slabs, xla
from ._onednn_call import bytes_of_pairs
from .im2col import FUSED_SLICES

MAX_SLICES = 16  # positions along the last axis
CACHED_BYTES = 5 * 2**20  # copies made at once: half of that and twice that are slower, on processors with 2 MiB a core


def inner_geometry(geometry: Geometry) -> Geometry:
    """The convolution of the strips, in canonical order."""
    g = geometry
    outer = [*zip(g.spatial, g.kernel, g.strides, g.padding, g.rhs_dilation, strict=True)][:-1]
    wide = (g.out_spatial[-1] * g.batch, 1, 1, (0, 0), 1)
    spatial, kernel, strides, padding, spread = zip(*(outer or [(1, 1, 1, (0, 0), 1)]), wide, strict=True)
    rank = len(spatial)
    return replace(
        g,
        batch=1,
        spatial=spatial,
        in_channels=g.in_channels * g.kernel[-1],
        kernel=kernel,
        strides=strides,
        padding=padding,
        lhs_dilation=(1,) * rank,
        rhs_dilation=spread,
        preferred_element_type=g.accumulator.name,
        dimension_numbers=channels_last(rank),
    )


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, 1, C], rhs [*K, C, 1, O] -> [N, *S', 1, O]."""
    g, inner, last = geometry, inner_geometry(geometry), geometry.ndim
    taps = jnp.swapaxes(rhs.squeeze(-2), -3, -2).reshape(-1, inner.in_channels, g.out_channels)  # *l, (c, k), o
    taps = taps.reshape(*inner.kernel, inner.in_channels, g.out_channels)
    strips = cut(lhs.squeeze(-2), g).reshape(1, *inner.spatial, inner.in_channels)
    out = _onednn.convolve(strips, taps, inner, by_slabs if inner.ndim > 2 else by_xla)
    return jnp.moveaxis(out.reshape(*g.out_spatial, g.batch, 1, g.out_channels), last, 0)


def by_xla(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """The same convolution by lax's. One without any padding gets a tap of zeros in front of the others and a row of
    padding for it to meet: XLA:CPU takes it another way otherwise, which is two to three times slower."""
    g = geometry
    if not any(map(any, g.padding)):
        front = (1, *(0,) * (g.ndim - 1))
        rhs = jnp.pad(rhs, [*((zeros, 0) for zeros in front), (0, 0), (0, 0)])
        low = [(zeros * spread, 0) for zeros, spread in zip(front, g.rhs_dilation, strict=True)]
        g = replace(g, kernel=rhs.shape[: g.ndim], padding=tuple(low))
    return xla.convolve(lhs, rhs, g)


def by_slabs(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """The same convolution, which is of one group, by `slabs`."""
    return slabs.compute(lhs[..., None, :], rhs[..., None, :], geometry).squeeze(-2)


def cut(lhs: jax.Array, g: Geometry) -> jax.Array:
    """[N, *S, C] -> strips [*z, s, N, C, k]."""
    last, stride, spread = g.ndim, g.strides[-1], g.rhs_dilation[-1]
    edges = [(0, 0, 0)] * lhs.ndim
    edges[last] = (*g.padding[-1], g.lhs_dilation[-1] - 1)
    rows = lax.pad(lhs, jnp.zeros((), lhs.dtype), edges)
    turned = (*range(1, last), 0, last + 1, last)  # *z, n, c, x

    def taps_of(rows, position, axis):
        first = position * stride
        return lax.slice_in_dim(rows, first, first + (g.kernel[-1] - 1) * spread + 1, spread, axis)

    positions = range(g.out_spatial[-1])
    if spread == 1:  # turned once for all positions
        rows = rows.transpose(turned)
        return jnp.stack([taps_of(rows, s, -1) for s in positions], last - 1)
    return jnp.stack([taps_of(rows, s, last).transpose(turned) for s in positions], last - 1)


def workspace(geometry: Geometry) -> int:
    """Bytes of the copies: lhs padded and turned, its strips, rhs, and what the convolution makes of them."""
    g, inner = geometry, inner_geometry(geometry)
    itemsize, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    low, high = g.padding[-1]
    length = dilated(g.spatial[-1], g.lhs_dilation[-1]) + max(low, 0) + max(high, 0)
    rows = g.batch * g.in_channels * prod(g.spatial[:-1]) * length
    strips = prod(inner.spatial) * inner.in_channels * (1 if g.out_spatial[-1] <= FUSED_SLICES else 2)
    taps = (prod(inner.kernel) + prod(inner.kernel[1:])) * inner.in_channels * g.out_channels
    total = (rows + strips + taps) * itemsize + results(g) * wide + bytes_of_pairs(inner)
    return total + (slabs.workspace(inner) if inner.ndim > 2 else 0)


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    if not g.ndim:
        return "there is no axis to cut strips along"
    if g.groups > 1:
        return f"its strips would be of one group, and there are {g.groups}"
    if g.out_spatial[-1] > min(g.kernel[-1], MAX_SLICES):
        counts = f"{g.out_spatial[-1]} and {g.kernel[-1]}"
        return f"it is for few positions and many taps, and along the last axis there are {counts}"
    if set(g.lhs_dilation[:-1]) - {1}:
        return f"its strips would be dilated ({g.lhs_dilation}), which the compiler does badly"
    return ""


def cached(geometry: Geometry) -> bool:
    """Whether its copies stay in the cache."""
    return workspace(geometry) - results(geometry) * geometry.accumulator.itemsize <= CACHED_BYTES


ALGORITHM = added_up(compute, workspace, refuses, Cut(cached=cached))._replace(ends_in_xla=True)
