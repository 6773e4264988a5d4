"""Several narrow groups as one wider dense convolution: more products, but products of matrices worth the name.

Of G groups, P at a time are packed. Forward, and in input gradients, the P kernels of C x O become the diagonal blocks
of one of P C x P O:

    rhs'[k, (p, c), (q, o)] = rhs[k, c, p, o] where p = q, else 0

In weight gradients, where rhs is large and out is small, the P groups become images instead: their products with all P
groups of rhs are computed, and of the result the diagonal blocks are kept:

    out'[(p, n), s, (q, o)]  ->  out[n, s, p, o] where p = q

Either way P times the products are formed.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp

from .._algorithm import MAX_WORKSPACE_BYTES, either
from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry
from .._summands import added_up
from . import im2col, xla

WIDTH = 32  # channels of a pack, at most
MAX_PACKS = 64  # convolutions written out


def groups_in_a_pack(geometry: Geometry) -> int:
    """P, a divisor of G."""
    g = geometry
    widest = max(g.in_channels, g.out_channels) if not g.few_positions else max(g.batch, g.out_channels)
    return max(p for p in range(1, g.groups + 1) if g.groups % p == 0 and (p == 1 or p * widest <= WIDTH))


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O], by diagonal blocks of rhs."""
    g = geometry
    p = groups_in_a_pack(g)
    packs = g.groups // p
    pack = replace(g, groups=1, in_channels=p * g.in_channels, out_channels=p * g.out_channels)
    pixels = lhs.reshape(*lhs.shape[:-2], packs, p * g.in_channels)
    taps = rhs.reshape(*g.kernel, 1, g.in_channels, packs, p, g.out_channels)
    same = jnp.eye(p, dtype=bool).reshape(p, 1, 1, p, 1)
    taps = jnp.where(same, taps, jnp.zeros((), rhs.dtype))
    taps = taps.reshape(*g.kernel, p * g.in_channels, packs, p * g.out_channels)
    outs = [xla.convolve(pixels[..., i, :], taps[..., i, :], pack) for i in range(packs)]
    return jnp.stack(outs, -2).reshape(g.batch, *g.out_spatial, g.groups, g.out_channels)


def workspace(geometry: Geometry) -> int:
    """Bytes of the packs of both operands and of the result."""
    g = geometry
    itemsize, out_itemsize = jnp.dtype(g.dtype).itemsize, jnp.dtype(g.out_dtype).itemsize
    p = groups_in_a_pack(g)
    inputs = g.batch * prod(g.spatial) * g.groups * g.in_channels
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels * p
    outputs = g.batch * prod(g.out_spatial) * g.groups * g.out_channels
    return (inputs + 2 * taps) * itemsize + outputs * out_itemsize


def dense_products(geometry: Geometry) -> Geometry:
    """The convolution of every group of a pack, as an image, with every group of it."""
    g, p = geometry, groups_in_a_pack(geometry)
    return replace(g, batch=p * g.batch, groups=g.groups // p, out_channels=p * g.out_channels)


def compute_weights(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O], by diagonal blocks of the result."""
    g = geometry
    p = groups_in_a_pack(g)
    packs = g.groups // p
    dense = dense_products(g)
    images = jnp.moveaxis(lhs.reshape(*lhs.shape[:-2], packs, p, g.in_channels), -2, 0)
    images = images.reshape(dense.batch, *g.spatial, packs * g.in_channels)
    taps = rhs.reshape(*g.kernel, g.in_channels, g.groups * g.out_channels)
    dense = replace(dense, preferred_element_type=g.accumulator.name)
    out = im2col.convolve(images, taps, dense, MAX_WORKSPACE_BYTES // 2)
    out = out.reshape(p, g.batch, *g.out_spatial, packs, p, g.out_channels)
    diagonal = jnp.diagonal(out, axis1=0, axis2=-2)  # [N, *S', packs, O, P]
    return jnp.swapaxes(diagonal, -1, -2).reshape(g.batch, *g.out_spatial, g.groups, g.out_channels)


def workspace_of_weights(geometry: Geometry) -> int:
    """Bytes of both operands, packed, of the products, and of what im2col takes."""
    g = geometry
    itemsize = jnp.dtype(g.dtype).itemsize
    inputs = g.batch * prod(g.spatial) * g.groups * g.in_channels
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels
    dense = dense_products(g)
    results = dense.batch * prod(g.out_spatial) * dense.groups * dense.out_channels
    return (inputs + taps) * itemsize + 2 * results * g.accumulator.itemsize + MAX_WORKSPACE_BYTES // 2


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    g = geometry
    p = groups_in_a_pack(g)
    if p == 1:
        return f"no two of its {g.groups} groups fit into {WIDTH} channels"
    if not g.few_positions and g.groups // p > MAX_PACKS:
        return f"it would write out {g.groups // p} convolutions, more than {MAX_PACKS}"
    return ""


ALGORITHM = either(
    lambda geometry: geometry.few_positions,
    yes=added_up(compute_weights, workspace_of_weights, refuses),
    no=chunked(Kernel(compute, workspace), refuses),
)._replace(ends_in_xla=True)
