"""One sum of products for each output position: weight gradients of groups of few channels.

The weight gradient of a depthwise convolution is a convolution with few outputs, the taps, and a huge "kernel", the
gradient that comes in:

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Where the other algorithms go through the taps and add to all outputs, this one goes through the outputs s, each of
which is a sum over all k and c (the positions and images of the gradient) of a slice of lhs times rhs, group by group.

Adding up over whole images would read them from memory once for each s. So it is done in two steps: a fused pass adds
up blocks of a row, for all s while the row is in the cache, and writes these partial sums; a second adds those. It does
so an image at a time, or some rows of one where images are large. Arrays are taken in the order in which lhs is stored,
so that the groups, which are not summed, are innermost if they are there.
"""

from dataclasses import replace
from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES
from .._geometry import Geometry, ceil_div, dilated
from .._layout import of_bits, to_slice
from .._summands import Cut, in_summands, of_summands
from .._tiling import for_each
from ._runs import MAX_RUNS

# Output positions in one pass, where they are of one row and of several: more are looped over, row by row.
MOST_IN_A_ROW, MOST_IN_ROWS = 64, 9
LONGEST_BLOCK = 28  # of a row; with longer ones nothing is gained
CACHE_BYTES = 4 * 2**20  # what the fused pass reads and writes should stay in the cache: two images at once were slower


def plan(geometry: Geometry) -> tuple[int, int, int, int]:
    """How it is cut.

    The kernel axis whose taps are added in blocks, the length of a block, how many leading output axes are looped over,
    and where the positions along the others stand among the stored axes of the partial sums."""
    g = geometry
    stored = [axis for axis in np.argsort(g.lhs_layout.order) if 1 <= axis <= g.ndim]  # spatial axes as lhs has them
    channels_last = not stored or g.lhs_layout.order[g.ndim + 1] > g.lhs_layout.order[stored[-1]]
    axis = int(stored[-1 if channels_last or len(stored) == 1 else -2]) - 1 if stored else 0
    looped = 0
    while looped < g.ndim and prod(g.out_spatial[looped:]) > (MOST_IN_ROWS if looped < g.ndim - 1 else MOST_IN_A_ROW):
        looped += 1
    if not g.ndim:
        return 0, 1, 0, 1
    taps = g.kernel[axis]
    longest = min(taps, LONGEST_BLOCK)
    # The fewest taps left over, among blocks at least half as long as could be.
    block = min(range(longest, 0, -1), key=lambda n: (2 * n < longest, taps % n))
    at = 1 + max(g.lhs_layout.order[1 + i] for i in range(g.ndim)) if channels_last else 0
    return axis, block, looped, at


def workspace(geometry: Geometry) -> int:
    """Bytes of the padded lhs, the copies of rhs and the partial sums."""
    g = geometry
    images = g.in_channels  # in a weight gradient
    axis, block, looped, _ = plan(g)
    size, wide = jnp.dtype(g.dtype).itemsize, g.accumulator.itemsize
    extent = prod(
        dilated(length, grow) + max(low, 0) + max(high, 0)
        for length, grow, (low, high) in zip(g.spatial, g.lhs_dilation, g.padding, strict=True)
    )
    lhs = images * extent * g.batch * g.groups
    rhs = images * prod(g.kernel) * g.groups * g.out_channels
    rows = (
        images
        * prod(g.kernel)
        // (g.kernel[axis] if g.ndim else 1)
        * (ceil_div(g.kernel[axis], block) if g.ndim else 1)
    )
    out = g.groups * g.batch * g.out_channels
    inner = g.out_spatial[looped:]
    partial = rows * prod(inner) * out * (1 if max(inner, default=1) <= MAX_RUNS else 2)  # stacked, or written first
    widened = rhs if looped and wide > size else 0  # once, ahead of the loop
    return (2 * lhs + rhs) * size + (widened + partial + 2 * prod(g.out_spatial) * out) * wide


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and `max_workspace_bytes`."""
    g = geometry
    order = [int(axis) for axis in np.argsort(g.lhs_layout.order)]  # canonical axes of lhs, as they are stored
    place = {axis: at for at, axis in enumerate(order)}
    batch, space, summed = place[0], [place[1 + i] for i in range(g.ndim)], place[g.ndim + 2]
    # rhs in the same order: taps where lhs has its positions, one element where it has the batch; o comes last.
    of_rhs = {g.ndim + 1: g.ndim + 1, g.ndim + 2: g.ndim, **{1 + i: i for i in range(g.ndim)}}
    order_of_rhs = [*(of_rhs[axis] for axis in order if axis), g.ndim + 2]

    def compute(left, right, small):
        """In the order that lhs is stored in."""
        as_stored = replace(small, dimension_numbers=g.dimension_numbers, batch_grouped=g.batch_grouped)
        taps = jnp.expand_dims(right.transpose(order_of_rhs), batch)
        return positions(left.transpose(order), taps, as_stored, batch, space, summed)

    return in_summands(compute, workspace, lhs, rhs, g, max_workspace_bytes, CUT)


def positions(lhs: jax.Array, rhs: jax.Array, g: Geometry, batch: int, space: list[int], summed: int) -> jax.Array:
    """[N, *S', G, O] from all of lhs and rhs, both in the stored order of lhs, rhs with O behind."""
    axis, block, looped, at = plan(g)
    lhs, rhs = to_slice(lhs), to_slice(rhs)
    pads = [(0, 0, 0)] * lhs.ndim
    for place, (low, high), grow in zip(space, g.padding, g.lhs_dilation, strict=True):
        pads[place] = (low, high, grow - 1)
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), pads)
    extent = [dilated(taps, spread) for taps, spread in zip(g.kernel, g.rhs_dilation, strict=True)]
    inner = g.out_spatial[looped:]

    def products(window, corner, begin, size, count):
        """`count` blocks of `size` taps of `axis` from `begin` on, each added up, for the position at `corner`."""
        terms = []
        for r in range(size):
            starts, stops, steps = [0] * lhs.ndim, list(window.shape), [1] * lhs.ndim
            factor = rhs
            for i, place in enumerate(space):
                first, taps, step = 0, g.kernel[i], 1
                if i == axis:
                    first, taps, step = begin + r, count, size
                    factor = lax.slice_in_dim(rhs, first, first + (count - 1) * size + 1, size, place)
                spread = g.rhs_dilation[i]
                starts[place] = corner[i] + first * spread
                stops[place] = starts[place] + (taps - 1) * step * spread + 1
                steps[place] = step * spread
            # One slice of the padded array: of several in a row XLA would pad each anew.
            pixels = lax.slice(window, starts, stops, steps)
            pixels, factor = (of_bits(x, g.dtype).astype(g.accumulator) for x in (pixels[..., None], factor))
            terms.append(pixels * factor)
        return reduce(add, terms)

    def stacked(window, corner, begin, size, count):
        """Partial sums of all positions along the axes that are not looped over, stacked in front of axis `at`."""
        if len(corner) == g.ndim:
            return products(window, corner, begin, size, count)
        i = len(corner)
        starts = [s * g.strides[i] for s in range(g.out_spatial[i])]
        return jnp.stack([stacked(window, (*corner, start), begin, size, count) for start in starts], at)

    def add_up(window):
        taps = g.kernel[axis] if g.ndim else 1
        whole = taps // block
        sums = [(0, block, whole)] + ([(whole * block, taps - whole * block, 1)] if taps % block else [])
        reduced = [place if place < at else place + len(inner) for place in (summed, *space)]
        total = reduce(add, (stacked(window, (0,) * looped, *piece).sum(reduced, g.accumulator) for piece in sums))
        # What is left, in order: positions before or after the stored order of n and g, then o.
        names = [*(place for place in range(lhs.ndim) if place not in (summed, *space))]
        ahead = sum(place < at for place in names)
        move = list(range(total.ndim))
        spots = move[ahead : ahead + len(inner)]
        kept = [axis for axis in move if axis not in spots]
        n, group = (kept[0], kept[1]) if names[0] == batch else (kept[1], kept[0])
        return total.transpose([n, *spots, group, kept[2]])

    if not looped:
        return add_up(padded)

    def turn(index, out):
        window = padded
        for i, s in enumerate(index):
            window = lax.dynamic_slice_in_dim(window, s * g.strides[i], extent[i], space[i])
        value = add_up(window)
        value = value.reshape(g.batch, *(1,) * looped, *inner, g.groups, g.out_channels)
        return lax.dynamic_update_slice(out, value, (0, *index, *(0,) * (len(inner) + 2)))

    shape = (g.batch, *g.out_spatial, g.groups, g.out_channels)
    return for_each(g.out_spatial[:looped], turn, jnp.zeros(shape, g.accumulator))


def cached(geometry: Geometry) -> bool:
    """Whether what the fused pass reads and writes stays in the cache, or it is of one image: rows of one, each read
    with its neighbours, are for what does not fit otherwise."""
    return geometry.in_channels == 1 or workspace(geometry) <= CACHE_BYTES


CUT = Cut(("channels", "rows"), cached=cached, copies=2)
ALGORITHM = of_summands(convolve, workspace, cut=CUT)
