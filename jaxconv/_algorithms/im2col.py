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

from math import isqrt, prod

import jax
import jax.numpy as jnp
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES, bounded
from .._geometry import Geometry, ceil_div
from .._tiling import choose_tile, tiled

MAX_SLICES = 32  # along one axis: keeps tracing and compiling in the tens of milliseconds
FUSED_SLICES = 8


def patches(
    window: jax.Array,
    stacked: tuple[int, ...],
    kept: tuple[int, ...],
    stacked_steps: tuple[int, ...],
    kept_steps: tuple[int, ...],
) -> jax.Array:
    """[G, A, B, *S] -> [G, *stacked, A, B, *kept]: elements `stacked_step * i + kept_step * j` of each spatial axis."""
    first = window.ndim - len(kept)
    for axis in reversed(range(len(kept))):
        here = first + axis  # counted from the front, where axes are added
        window = _split(window, here, stacked[axis], kept[axis], stacked_steps[axis], kept_steps[axis])
        first += 1
    return window


def _split(window: jax.Array, here: int, front: int, last: int, far: int, near: int) -> jax.Array:
    """[G, ..., S, ...] -> [G, front, ..., last, ...]: elements `far * i + near * j` of the axis `here`."""
    if min(front, last) > MAX_SLICES:
        return _split_twice(window, here, front, last, far, near)
    if front <= last:
        pieces = [lax.slice_in_dim(window, i * far, i * far + (last - 1) * near + 1, near, here) for i in range(front)]
        return jnp.stack(pieces, axis=1)
    pieces = [lax.slice_in_dim(window, j * near, j * near + (front - 1) * far + 1, far, here) for j in range(last)]
    return jnp.stack([jnp.moveaxis(piece, here, 1) for piece in pieces], axis=here + 1)


def _split_twice(window: jax.Array, here: int, front: int, last: int, far: int, near: int) -> jax.Array:
    """The same for many of both, in about 2 sqrt(n) slices instead of n: stretches of the axis that hold `inner` of the
    fewer ones, then each of these by itself."""
    fewer = min(front, last)
    inner = isqrt(fewer - 1) + 1
    outer = ceil_div(fewer, inner)
    some_front, some_last = (inner, last) if front <= last else (front, inner)
    length = (some_front - 1) * far + (some_last - 1) * near + 1
    step = inner * (far if front <= last else near)
    config = [(0, 0, 0)] * window.ndim  # outer * inner may be more than there are
    config[here] = (0, (outer - 1) * step + length - window.shape[here], 0)
    window = lax.pad(window, jnp.zeros((), window.dtype), config)
    window = _split(window, here, outer, length, step, 1)
    window = _split(window, here + 1, some_front, some_last, far, near)  # [G, some_front, outer, ..., some_last, ...]
    at, count = (1, front) if front <= last else (here + 1, last)
    window = jnp.moveaxis(window, 2, at)  # outer in front of inner
    window = window.reshape(*window.shape[:at], outer * inner, *window.shape[at + 2 :])
    return lax.slice_in_dim(window, 0, count, axis=at)


def workspace(tile: Geometry) -> int:
    """Bytes of the arrays that one tile makes: window, partly built patches, patches, taps, product."""
    itemsize, wide = jnp.dtype(tile.dtype).itemsize, tile.accumulator.itemsize
    rows = tile.batch * tile.groups * tile.in_channels
    window = rows * prod(tile.spatial)
    stages = [
        rows * prod(tile.spatial[:axis]) * prod(tile.kernel[axis:]) * prod(tile.out_spatial[axis:])
        for axis in range(tile.ndim)
    ]
    # XLA:CPU stacks up to 8 slices as it reads them; of more it makes the slices first, then the stack.
    slices = [min(taps, count) for taps, count in zip(tile.kernel, tile.out_spatial, strict=True)]
    stacks = sum(stage if count <= FUSED_SLICES else 2 * stage for stage, count in zip(stages, slices, strict=True))
    taps = prod(tile.kernel) * tile.in_channels * tile.groups * tile.out_channels
    product = tile.batch * prod(tile.out_spatial) * tile.groups * tile.out_channels
    factors = (stages[0] if stages else window) + taps  # what the compiler may widen before it multiplies
    widened = factors * wide if wide > itemsize else 0
    # Window and taps are there three times: being read for the next tile, as read, and transposed.
    return (3 * window + stacks + 3 * taps) * itemsize + widened + 2 * product * wide


def convolve_tile(window: jax.Array, taps: jax.Array, tile: Geometry) -> jax.Array:
    """window [N, *S, G, C], taps [*K, C, G, O] -> [N, *S', G, O]."""
    rank, counts = tile.ndim, tile.out_spatial
    inner = prod(tile.kernel) * tile.in_channels
    rows = tile.batch * prod(counts)
    # The patches are a factor as they are, summed along their rows or their columns; of the other factor, which is
    # small, a copy in the order that suits the product costs little. Not an einsum, which may swap the factors, and not
    # a batch of one product, which is not a product to the compiler: both are slower.
    if prod(counts) < prod(tile.kernel):
        left = patches(_by(window, "gnc"), counts, tile.kernel, tile.strides, tile.rhs_dilation)
        left = left.reshape(tile.groups, rows, inner)  # gmk
        right = jnp.moveaxis(taps, rank, 0).reshape(inner, tile.groups, tile.out_channels)
        product = _multiply(left, right, (2, 0), (0, 1), tile)
        product = product.reshape(tile.groups, *counts, tile.batch, tile.out_channels)
        return jnp.moveaxis(product, (1 + rank, 0), (0, -2))
    right = patches(_by(window, "gcn"), tile.kernel, counts, tile.rhs_dilation, tile.strides)
    right = right.reshape(tile.groups, inner, rows)  # gkm
    left = taps.reshape(inner, tile.groups, tile.out_channels)
    product = _multiply(left, right, (0, 1), (1, 0), tile)
    product = product.reshape(tile.groups, tile.out_channels, tile.batch, *counts)
    return jnp.moveaxis(product, (0, 1), (-2, -1))


def _multiply(left: jax.Array, right: jax.Array, summed: tuple[int, int], groups: tuple[int, int], tile: Geometry):
    """[G, rest of left, rest of right]: summed over the axes `summed`, for each element of the axes `groups`."""
    batch = ((groups[0],), (groups[1],))
    if tile.groups == 1:
        left, right, batch = left.squeeze(groups[0]), right.squeeze(groups[1]), ((), ())
        summed = summed[0] - (groups[0] < summed[0]), summed[1] - (groups[1] < summed[1])
    dimensions = (((summed[0],), (summed[1],)), batch)
    return lax.dot_general(left, right, dimensions, precision=tile.precision, preferred_element_type=tile.accumulator)


def _by(window: jax.Array, letters: str) -> jax.Array:
    """[N, *S, G, C] with the axes of the letters in front of *S."""
    places = {"n": 0, "g": window.ndim - 2, "c": window.ndim - 1}
    return window.transpose(*(places[letter] for letter in letters), *range(1, window.ndim - 2))


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and `max_workspace_bytes`."""
    tile = choose_tile(geometry, workspace, max_workspace_bytes, MAX_SLICES)
    return tiled(convolve_tile, tile, lhs, rhs, geometry)


def needed(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Bytes of a tile."""
    return workspace(choose_tile(geometry, workspace, max_workspace_bytes, MAX_SLICES))


def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Tiles."""
    g, tile = geometry, choose_tile(geometry, workspace, max_workspace_bytes, MAX_SLICES)
    sizes = ((h.batch, *h.out_spatial, h.groups, h.out_channels, *h.kernel, h.in_channels) for h in (g, tile))
    return prod(map(ceil_div, *sizes))


ALGORITHM = bounded(convolve, needed, turns)
