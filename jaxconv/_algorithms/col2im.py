"""Multiply first, then shift and add: for many input channels and few outputs, as in input gradients of first layers.

    products[(k, o), (n, s)] = sum over c of  rhs[k, c, o] * lhs[n, s, c]          one product of matrices, no zeros
    out[n, m, o]             = sum over k of  products[(k, o), n, s]               where s meets m under tap k

The first step is the largest part of kn2row as Vasudevan, Anderson and Gregg (2017, arXiv 1704.04428) have it, or of a
transposed convolution before its col2im; the second is the fused sum of slices of `written_out`, which knows phases (a
dilated lhs) and ends. Elements of lhs are multiplied once, however many outputs they take part in.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry
from . import _runs, written_out


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, 1, C], rhs [*K, C, 1, O] -> [N, *S', 1, O]."""
    g = geometry
    taps = jnp.moveaxis(rhs.squeeze(-2), -2, -1).reshape(-1, g.in_channels)  # (k, o), c
    pixels = lhs.reshape(-1, g.in_channels)  # (n, s), c
    products = lax.dot_general(
        taps, pixels, (((1,), (1,)), ((), ())), precision=g.precision, preferred_element_type=g.accumulator
    )
    products = products.reshape(*g.kernel, g.out_channels, g.batch, *g.spatial)
    flat = products.reshape(-1, *products.shape[g.ndim :])

    def term(window, tap):
        index = 0
        for k, size in zip(tap, g.kernel, strict=True):
            index = index * size + k
        return window[index : index + 1]

    space = list(range(3, 3 + g.ndim))
    out = written_out.shift_and_add(flat, term, summed(g), space)[0]
    return jnp.moveaxis(out, 0, -1)[..., None, :]


def summed(geometry: Geometry) -> Geometry:
    """What the second step adds up: the sum over channels is done."""
    return replace(geometry, in_channels=1)


def workspace(geometry: Geometry) -> int:
    """Bytes of the products, of both factors transposed for them, and of the result before it is; rows of the products
    that are padded."""
    g = geometry
    products = g.batch * prod(g.spatial) * prod(g.kernel) * g.out_channels
    factors = (g.batch * prod(g.spatial) + 2 * prod(g.kernel) * g.out_channels) * g.in_channels
    padded = _runs.padded_rows(summed(g)) * prod(g.kernel) * g.out_channels
    return (products + padded + g.batch * prod(g.out_spatial) * g.out_channels + factors) * g.accumulator.itemsize


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    if geometry.few_positions:
        return "it is for few taps and many positions, not for weight gradients"
    if geometry.groups > 1:
        return f"it multiplies the channels of one group, and there are {geometry.groups}"
    if _runs.padded_axes(summed(geometry)) < 0:
        return "it would write out too many sums"
    return ""


ALGORITHM = chunked(Kernel(compute, workspace), refuses)
