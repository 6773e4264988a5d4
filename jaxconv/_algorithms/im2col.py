"""Patches laid out as a matrix, then one matrix product (Chellapilla, Puri, Simard 2006).

    patches[g, (n, s), (k, c)] = lhs[n, stride * s + rhs_dilation * k, g, c]
    out    [g, (n, s), o]      = patches[g, (n, s), (k, c)] @ rhs[g, (k, c), o]

For each group the product has M = N * prod(S') rows, N = O columns and sums over K = prod(K) * C terms.

The patch matrix is prod(K) times the input, so it is built a tile at a time. It is built an axis at a time too: along
one axis, patches[s, k] = x[stride * s + rhs_dilation * k] is a stack of one slice for each tap, or of one slice for each
position, whichever are fewer; two axes of 31 taps take 62 slices, not 961.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._tiling import MAX_WORKSPACE_BYTES, choose_tile, tiled

MAX_SLICES = 32  # along one axis: keeps tracing and compiling in the tens of milliseconds


def patches(window: jax.Array, tile: Geometry) -> jax.Array:
    """[G, N, *S, C] -> [G, N, *S', *K, C]: the inputs that each output position multiplies with each tap."""
    rank = tile.ndim
    for axis in range(rank):
        count, taps = tile.out_spatial[axis], tile.kernel[axis]
        stride, spread = tile.strides[axis], tile.rhs_dilation[axis]
        here = 2 + axis
        if taps <= count:
            slices = [
                lax.slice_in_dim(window, k * spread, k * spread + (count - 1) * stride + 1, stride, here)
                for k in range(taps)
            ]
            window = jnp.stack(slices, axis=-2)
        else:
            slices = [
                jnp.moveaxis(lax.slice_in_dim(window, s * stride, s * stride + (taps - 1) * spread + 1, spread, here), here, -2)
                for s in range(count)
            ]
            window = jnp.stack(slices, axis=here)
    return window


def workspace(tile: Geometry) -> int:
    """Bytes of the arrays that one tile makes: window, partly built patches, patches, taps, product."""
    itemsize = jnp.dtype(tile.dtype).itemsize
    rows = tile.batch * tile.groups * tile.in_channels
    window = rows * prod(tile.spatial)
    partly = [
        rows * prod(tile.out_spatial[:axis]) * prod(tile.kernel[:axis]) * prod(tile.spatial[axis:])
        for axis in range(1, tile.ndim + 1)
    ]
    taps = prod(tile.kernel) * tile.in_channels * tile.groups * tile.out_channels
    product = tile.batch * prod(tile.out_spatial) * tile.groups * tile.out_channels
    return (2 * window + 2 * sum(partly) + taps) * itemsize + 2 * product * tile.accumulator.itemsize


def convolve_tile(window: jax.Array, taps: jax.Array, tile: Geometry) -> jax.Array:
    """window [N, *S, G, C], taps [*K, C, G, O] -> [N, *S', G, O]."""
    columns = patches(jnp.moveaxis(window, -2, 0), tile)
    inner = prod(tile.kernel) * tile.in_channels
    product = jnp.einsum(
        "gmk,kgo->mgo",
        columns.reshape(tile.groups, tile.batch * prod(tile.out_spatial), inner),
        taps.reshape(inner, tile.groups, tile.out_channels),
        precision=tile.precision,
        preferred_element_type=tile.accumulator,
    )
    return product.reshape(tile.batch, *tile.out_spatial, tile.groups, tile.out_channels)


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and `max_workspace_bytes`."""
    tile = choose_tile(geometry, workspace, max_workspace_bytes, MAX_SLICES)
    return tiled(convolve_tile, tile, lhs, rhs, geometry)
