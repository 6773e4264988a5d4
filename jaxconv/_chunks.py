"""Compute a convolution in chunks of its output. Operands that are stored in another order than a kernel wants are
transposed for it, a chunk at a time.
"""

from collections.abc import Callable
from math import prod
from operator import mul

import jax
import jax.numpy as jnp

from ._algorithm import MAX_WORKSPACE_BYTES, Algorithm, bounded, nothing
from ._chunk import Kernel, chosen_or_smallest, needed, part, whole
from ._geometry import Geometry, ceil_div
from ._tiling import for_each, for_each_block, read_window


def channel_order(geometry: Geometry) -> str:
    """The letters of C, G and O in the order in which rhs has them."""
    rank, order = geometry.ndim, geometry.rhs_layout.order
    return "".join("cgo"[axis - rank] for axis in sorted(range(rank, rank + 3), key=order.__getitem__))


def taps_first(geometry: Geometry, rhs: jax.Array) -> jax.Array:
    """rhs in canonical order with its channels as stored: free where the taps come first."""
    rank = geometry.ndim
    channels = [rank + "cgo".index(letter) for letter in channel_order(geometry)]
    return rhs.transpose(*range(rank), *channels)


def in_chunks(kernel: Kernel, lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_bytes: int) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts."""
    g, everything = geometry, whole(geometry)
    chunk = chosen_or_smallest(g, kernel, max_bytes)
    small, letters = part(g, chunk), channel_order(g)
    if chunk == everything:
        taps = kernel.prepare(taps_first(g, g.rhs_layout.whole(rhs)), letters, small)
        return g.out_layout.stored(kernel.compute(g.lhs_layout.whole(lhs), taps, small).astype(g.out_dtype))

    # The last chunk along each axis is moved back to end with the output; it computes some results a second time.
    def corner(index):
        sizes = zip(index, chunk[:3], everything[:3], strict=True)
        image, *position = (jnp.minimum(turn * some, all_ - some) for turn, some, all_ in sizes)
        return image, *(*position, *(0,) * g.ndim)[: g.ndim]

    def first_channel(index):
        return jnp.minimum(index[0] * chunk.outputs, g.out_channels - chunk.outputs)

    def read_lhs(index):
        image, *position = corner(index)
        if chunk.positions == everything.positions:
            sizes = (chunk.images, *g.spatial, g.groups, g.in_channels)
            return g.lhs_layout.read(lhs, (image, *(0,) * (g.ndim + 2)), sizes)
        return read_window(lhs, g, (image, *map(mul, position, g.strides), 0, 0), small)

    def read_rhs(index):
        sizes = (*g.kernel, g.in_channels, g.groups, chunk.outputs)
        return taps_first(g, g.rhs_layout.read(rhs, (*(0,) * (g.ndim + 2), first_channel(index)), sizes))

    def fill(out, taps, channel):
        """All images' outputs of one block of channels."""

        def compute(index, block, out):
            value = kernel.compute(block, taps, small).astype(g.out_dtype)
            return g.out_layout.write(out, value, (*corner(index), 0, channel))

        turns = tuple(map(ceil_div, everything[:3], chunk[:3]))
        if chunk.positions == everything.positions:  # whole images are read as they are, or padded by the kernel
            return for_each(turns, lambda index, out: compute(index, read_lhs(index), out), out)
        return for_each_block(turns, read_lhs, compute, out)

    def channels(index, block, out):
        return fill(out, kernel.prepare(block, letters, small), first_channel(index))

    out = g.out_layout.unfilled(g.out_dtype)
    if chunk.outputs == everything.outputs:
        out = fill(out, kernel.prepare(taps_first(g, g.rhs_layout.whole(rhs)), letters, small), 0)
    else:
        out = for_each_block((ceil_div(g.out_channels, chunk.outputs),), read_rhs, channels, out)
    return g.out_layout.filled(out)


def chunked(kernel: Kernel, refuses: Callable[[Geometry], str] = nothing) -> Algorithm:
    """The kernel as an algorithm, for all that `refuses` (geometry -> why not, or "") does not refuse."""

    def convolve(lhs, rhs, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> jax.Array:
        return in_chunks(kernel, lhs, rhs, geometry, max_workspace_bytes)

    def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        return needed(geometry, kernel, chosen_or_smallest(geometry, kernel, max_workspace_bytes))

    def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        chunk = chosen_or_smallest(geometry, kernel, max_workspace_bytes)
        return prod(map(ceil_div, whole(geometry), chunk))

    return bounded(convolve, workspace, turns, refuses)
