"""Compute a convolution a few images, rows and output channels at a time, so that it needs no more memory than it may.

A kernel computes `(lhs [N, *S, G, C], taps, geometry) -> out [N, *S', G, O]` on whole arrays in canonical order, with
every argument of the geometry, padding included. Its taps are what it prepared from rhs, once for all images. Operands
that are stored in another order are transposed for it, a chunk at a time.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product, starmap
from math import prod
from operator import le
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._algorithm import MAX_WORKSPACE_BYTES, Algorithm, bounded, nothing
from ._geometry import Geometry, ceil_div
from ._layout import channels_last
from ._tiling import for_each, for_each_block, halves, read_window, tile_of


def in_canonical_order(rhs: jax.Array, letters: str, geometry: Geometry) -> jax.Array:
    """[*K, C, G, O] from taps whose channels are in the order of the letters."""
    rank = geometry.ndim
    return rhs.transpose(*range(rank), *(rank + letters.index(letter) for letter in "cgo"))


class Kernel(NamedTuple):
    """A way to compute a convolution of whole arrays.

    Attributes:
      compute: (lhs [N, *S, G, C], what `prepare` gave, geometry) -> [N, *S', G, O].
      workspace: geometry -> bytes of all that both make, the result aside.
      prepare: (rhs, letters, geometry) -> whatever `compute` wants of it. rhs has the taps first and then C, G and O in
        the order they are stored in, which the letters "c", "g", "o" tell: a product of matrices takes any.
      fuses: whether the compiler can fuse cutting, turning and putting back what is computed with computing it.
    """

    compute: Callable[[jax.Array, Any, Geometry], jax.Array]
    workspace: Callable[[Geometry], int]
    prepare: Callable[[jax.Array, str, Geometry], Any] = in_canonical_order
    fuses: bool = True


class Chunk(NamedTuple):
    """How much of the output is computed at once: images, rows along the first spatial axis, output channels."""

    images: int
    rows: int
    outputs: int


def channel_order(geometry: Geometry) -> str:
    """The letters of C, G and O in the order in which rhs has them."""
    rank, order = geometry.ndim, geometry.rhs_layout.order
    return "".join("cgo"[axis - rank] for axis in sorted(range(rank, rank + 3), key=order.__getitem__))


def taps_first(geometry: Geometry, rhs: jax.Array) -> jax.Array:
    """rhs in canonical order with its channels as stored: free where the taps come first."""
    rank = geometry.ndim
    channels = [rank + "cgo".index(letter) for letter in channel_order(geometry)]
    return rhs.transpose(*range(rank), *channels)


def whole(geometry: Geometry) -> Chunk:
    """All of it."""
    return Chunk(geometry.batch, geometry.out_spatial[0] if geometry.ndim else 1, geometry.out_channels)


def part(geometry: Geometry, chunk: Chunk) -> Geometry:
    """The chunk as a convolution, its operands in canonical order. A block of rows comes with its padding."""
    g = replace(geometry, dimension_numbers=channels_last(geometry.ndim), batch_grouped=False)
    if chunk.rows == whole(g).rows:
        return replace(g, batch=chunk.images, out_channels=chunk.outputs)
    positions = (chunk.rows, *g.out_spatial[1:])
    return tile_of(g, (chunk.images, *positions, g.groups, chunk.outputs, g.in_channels, *g.kernel))


def needed(geometry: Geometry, kernel: Kernel, chunk: Chunk) -> int:
    """Bytes beside operands and result: the kernel's and the copies'."""
    g, everything, small = geometry, whole(geometry), part(geometry, chunk)
    itemsize, out_itemsize = jnp.dtype(g.dtype).itemsize, jnp.dtype(g.out_dtype).itemsize
    total = kernel.workspace(small)
    if chunk[:2] != everything[:2] or not g.lhs_layout.is_canonical:
        copies = (1 if chunk.rows == everything.rows else 2) + (not kernel.fuses)  # this chunk's and the next
        total += copies * small.batch * prod(small.spatial) * g.groups * g.in_channels * itemsize
    if chunk != everything or not g.out_layout.is_canonical:
        copies = 1 + (not kernel.fuses)
        total += copies * small.batch * prod(small.out_spatial) * g.groups * small.out_channels * out_itemsize
    in_front = sorted(axis for axis in g.rhs_layout.order[: g.ndim]) == list(range(g.ndim))
    if chunk.outputs < g.out_channels or not in_front:
        copies = 2 if chunk.outputs < g.out_channels else 1
        total += copies * prod(g.kernel) * g.in_channels * g.groups * chunk.outputs * itemsize
    return total


@lru_cache(4096)  # the chooser asks several times for each algorithm
def choose_chunk(geometry: Geometry, kernel: Kernel, max_bytes: int) -> Chunk | None:
    """Of those that fit under the bound, the one for which all chunks together need least; None if none fits.

    Chunks of rows read some rows twice, chunks of images all taps, chunks of outputs all images: all that adds up, so
    parts of a chunk that fits are not looked at.
    """
    everything = whole(geometry)
    sizes = [halves(size) for size in everything]
    # Rows of a dilated lhs would come with zeros that a kernel may count on not being there.
    if max(geometry.lhs_dilation, default=1) > 1:
        sizes[1] = sizes[1][:1]
    totals: dict[Chunk, int] = {}
    for chunk in starmap(Chunk, product(*sizes)):
        if any(all(map(le, chunk, larger)) for larger in totals):
            continue
        if (bytes_ := needed(geometry, kernel, chunk)) <= max_bytes:
            totals[chunk] = bytes_ * prod(map(ceil_div, everything, chunk))
    return min(totals, key=totals.__getitem__, default=None)


def smallest(geometry: Geometry) -> Chunk:
    """The least that there is."""
    return Chunk(1, 1 if max(geometry.lhs_dilation, default=1) == 1 else whole(geometry).rows, 1)


def in_chunks(kernel: Kernel, lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_bytes: int) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts."""
    g, everything = geometry, whole(geometry)
    chunk = choose_chunk(g, kernel, max_bytes) or smallest(g)
    small, letters = part(g, chunk), channel_order(g)
    if chunk == everything:
        taps = kernel.prepare(taps_first(g, g.rhs_layout.whole(rhs)), letters, small)
        return g.out_layout.stored(kernel.compute(g.lhs_layout.whole(lhs), taps, small).astype(g.out_dtype))

    # The last chunk along each axis is moved back to end with the output; it computes some results a second time.
    def corner(index):
        image = jnp.minimum(index[0] * chunk.images, g.batch - chunk.images)
        return image, jnp.minimum(index[1] * chunk.rows, everything.rows - chunk.rows)

    def first_channel(index):
        return jnp.minimum(index[0] * chunk.outputs, g.out_channels - chunk.outputs)

    def read_lhs(index):
        image, row = corner(index)
        if chunk.rows == everything.rows:
            sizes = (chunk.images, *g.spatial, g.groups, g.in_channels)
            return g.lhs_layout.read(lhs, (image, *(0,) * (g.ndim + 2)), sizes)
        return read_window(lhs, g, (image, row * g.strides[0], *(0,) * (g.ndim - 1), 0, 0), small)

    def read_rhs(index):
        sizes = (*g.kernel, g.in_channels, g.groups, chunk.outputs)
        return taps_first(g, g.rhs_layout.read(rhs, (*(0,) * (g.ndim + 2), first_channel(index)), sizes))

    def fill(out, taps, channel):
        """All images' outputs of one block of channels."""

        def compute(index, block, out):
            image, row = corner(index)
            value = kernel.compute(block, taps, small).astype(g.out_dtype)
            return g.out_layout.write(out, value, (image, *(row, *(0,) * (g.ndim - 1))[: g.ndim], 0, channel))

        turns = ceil_div(g.batch, chunk.images), ceil_div(everything.rows, chunk.rows)
        if chunk.rows == everything.rows:  # whole images are read as they are, or padded by the kernel
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
        chunk = choose_chunk(geometry, kernel, max_workspace_bytes) or smallest(geometry)
        return needed(geometry, kernel, chunk)

    def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        chunk = choose_chunk(geometry, kernel, max_workspace_bytes) or smallest(geometry)
        return prod(map(ceil_div, whole(geometry), chunk))

    return bounded(convolve, workspace, turns, refuses)
