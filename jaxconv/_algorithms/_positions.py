"""One sum of products for each output position, in two steps: what `dual` is made of."""

from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry, dilated
from .._layout import of_bits, to_slice
from .._tiling import for_each

# Output positions in one pass, where they are of one row and of several: more are looped over, row by row.
MOST_IN_A_ROW, MOST_IN_ROWS = 64, 9
LONGEST_BLOCK = 28  # of a row; with longer ones nothing is gained


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


def positions(
    lhs: jax.Array, rhs: jax.Array, g: Geometry, batch: int, space: list[int], summed: int, is_padded: bool
) -> jax.Array:
    """[N, *S', G, O] from all of lhs and rhs, both in the stored order of lhs, rhs with O behind."""
    axis, block, looped, at = plan(g)
    lhs, rhs = to_slice(lhs), to_slice(rhs)
    source, lows = lhs, [low for low, _ in g.padding]
    if is_padded:
        pads = [(0, 0, 0)] * lhs.ndim
        for place, (low, high), grow in zip(space, g.padding, g.lhs_dilation, strict=True):
            pads[place] = (low, high, grow - 1)
        source, lows = lax.pad(lhs, jnp.zeros((), lhs.dtype), pads), [0] * g.ndim
    extent = [dilated(taps, spread) for taps, spread in zip(g.kernel, g.rhs_dilation, strict=True)]
    inner = g.out_spatial[looped:]

    def products(window, corner, begin, size, count):
        """`count` blocks of `size` taps of `axis` from `begin` on, each added up, for the position at `corner`: of the
        taps that meet the window, with zeros where the others would be."""
        starts = [position - low for position, low in zip(corner, lows, strict=True)]
        lengths = [window.shape[place] for place in space]
        met = [meeting(*each) for each in zip(starts, g.rhs_dilation, g.kernel, lengths, strict=True)]

        def term(r):
            """Tap r of each block."""
            of_window, of_rhs = ([[0, length, 1] for length in array.shape] for array in (window, rhs))
            for i, place in enumerate(space):
                first, taps, step = (begin + r, count, size) if i == axis else (met[i].start, len(met[i]), 1)
                start, spread = starts[i] + first * g.rhs_dilation[i], step * g.rhs_dilation[i]
                of_window[place] = [start, start + (taps - 1) * spread + 1, spread]
                of_rhs[place] = [first, first + (taps - 1) * step + 1, step]
            # One slice of a padded array: of several in a row XLA would pad each anew.
            pixels, factor = (lax.slice(x, *zip(*cut, strict=True)) for x, cut in ((window, of_window), (rhs, of_rhs)))
            pixels, factor = (of_bits(x, g.dtype).astype(g.accumulator) for x in (pixels[..., None], factor))
            return pixels * factor

        if not all(met):
            shape = [*window.shape, g.out_channels]
            for i, place in enumerate(space):
                shape[place] = count if i == axis else g.kernel[i]
            return jnp.zeros(shape, g.accumulator)
        # Some taps of a block meet nothing only where that is a whole row.
        inside = range(max(met[axis].start - begin, 0), min(met[axis].stop - begin, size)) if g.ndim else range(1)
        total = reduce(add, map(term, inside))
        for i, place in enumerate(space):
            if i != axis:
                front, behind = met[i].start, g.kernel[i] - met[i].stop
                total = surrounded(total, front, behind, place)
        return total

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
        return add_up(source)

    def turn(index, out):
        window = source
        for i, s in enumerate(index):
            window = lax.dynamic_slice_in_dim(window, s * g.strides[i], extent[i], space[i])
        value = add_up(window)
        value = value.reshape(g.batch, *(1,) * looped, *inner, g.groups, g.out_channels)
        return lax.dynamic_update_slice(out, value, (0, *index, *(0,) * (len(inner) + 2)))

    shape = (g.batch, *g.out_spatial, g.groups, g.out_channels)
    return for_each(g.out_spatial[:looped], turn, jnp.zeros(shape, g.accumulator))


def meeting(start: int, spread: int, taps: int, size: int) -> range:
    """Of so many taps, the first at `start` and the others `spread` apart, those that are within [0, size)."""
    first = max(0, -(start // spread))
    return range(first, max(first, min(taps, (size - 1 - start) // spread + 1)))


def surrounded(array: jax.Array, front: int, behind: int, axis: int) -> jax.Array:
    """By so many zeros along the axis."""
    shape = [*array.shape]
    ends = [jnp.zeros((*shape[:axis], length, *shape[axis + 1 :]), array.dtype) for length in (front, behind)]
    parts = [part for part in (ends[0], array, ends[1]) if part.shape[axis]]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)
