"""Patches laid out as a matrix, then one matrix product (Chellapilla, Puri, Simard 2006).

    patches[g, (k, c), (n, s)] = lhs[n, stride * s + rhs_dilation * k, g, c]
    out    [g, (n, s), o]      = sum over (k, c) of patches[g, (k, c), (n, s)] * rhs[g, (k, c), o]

For each group the product has M = N * prod(S') rows, N = O columns and sums over K = prod(K) * C terms. The matrix is
kept transposed, positions last: its rows are then copies of whole stretches of image rows, long even where channels are
few, and each tap adds rows at the end instead of columns in between.

The patch matrix is prod(K) times the input, so it is built a tile at a time. It is built an axis at a time too: along
one axis, patches[k, s] = x[stride * s + rhs_dilation * k] is a stack of one slice for each tap or for each position,
whichever are fewer; two axes of 31 taps take 62 slices, not 961.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._tiling import MAX_WORKSPACE_BYTES, choose_tile, tiled

MAX_SLICES = 32  # along one axis: keeps tracing and compiling in the tens of milliseconds


def patches(window: jax.Array, tile: Geometry) -> jax.Array:
    """[G, C, N, *S] -> [G, *K, C, N, *S']: the inputs that each tap multiplies at each output position."""
    first = window.ndim - tile.ndim
    for axis in reversed(range(tile.ndim)):
        count, taps = tile.out_spatial[axis], tile.kernel[axis]
        stride, spread = tile.strides[axis], tile.rhs_dilation[axis]
        here = first + axis  # counted from the front: taps are put in front of it
        if taps <= count:
            pieces = [
                lax.slice_in_dim(window, k * spread, k * spread + (count - 1) * stride + 1, stride, here)
                for k in range(taps)
            ]
            window = jnp.stack(pieces, axis=1)
        else:
            pieces = [
                lax.slice_in_dim(window, s * stride, s * stride + (taps - 1) * spread + 1, spread, here)
                for s in range(count)
            ]
            window = jnp.stack([jnp.moveaxis(piece, here, 1) for piece in pieces], axis=here + 1)
        first += 1
    return window


def workspace(tile: Geometry) -> int:
    """Bytes of the arrays that one tile makes: window, partly built patches, patches, taps, product."""
    itemsize, wide = jnp.dtype(tile.dtype).itemsize, tile.accumulator.itemsize
    rows = tile.batch * tile.groups * tile.in_channels
    window = rows * prod(tile.spatial)
    stages = [
        rows * prod(tile.spatial[:axis]) * prod(tile.kernel[axis:]) * prod(tile.out_spatial[axis:])
        for axis in range(tile.ndim)
    ]
    taps = prod(tile.kernel) * tile.in_channels * tile.groups * tile.out_channels
    product = tile.batch * prod(tile.out_spatial) * tile.groups * tile.out_channels
    factors = (stages[0] if stages else window) + taps  # what the compiler may widen before it multiplies
    widened = factors * wide if wide > itemsize else 0
    # Stacking may first make the pieces, then the stack.
    return (2 * window + 2 * sum(stages) + taps) * itemsize + widened + 2 * product * wide


def convolve_tile(window: jax.Array, taps: jax.Array, tile: Geometry) -> jax.Array:
    """window [N, *S, G, C], taps [*K, C, G, O] -> [N, *S', G, O]."""
    columns = patches(jnp.moveaxis(window, (-2, -1), (0, 1)), tile)
    inner = prod(tile.kernel) * tile.in_channels
    product = jnp.einsum(
        "gkm,kgo->mgo",
        columns.reshape(tile.groups, inner, tile.batch * prod(tile.out_spatial)),
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
