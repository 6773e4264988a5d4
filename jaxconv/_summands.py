"""Compute a convolution a part of its sum at a time, and add up, as `_cut` says."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from ._algorithm import MAX_WORKSPACE_BYTES, Algorithm, bounded, nothing
from ._chunk import part, whole
from ._cut import CUT, Cut, Workspace, chosen_or_smallest, count, needed
from ._geometry import Geometry, ceil_div
from ._tiling import for_each, for_each_block, read_window

Compute = Callable[[jax.Array, jax.Array, Geometry], jax.Array]


def in_summands(
    compute: Compute,
    workspace: Workspace,
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: Geometry,
    max_bytes: int,
    cut: Cut = CUT,
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts.

    `compute(lhs [N, *S, G, C], rhs [*K, C, G, O], geometry) -> [N, *S', G, O]` for a part of the sum.
    """
    g, taps = geometry, geometry.kernel[0] if geometry.ndim else 1
    small = chosen_or_smallest(g, workspace, max_bytes, cut)
    small = part(small, whole(small))
    images, channels, rows = small.batch, small.in_channels, small.kernel[0] if g.ndim else 1
    if (images, rows, channels) == (g.batch, taps, g.in_channels):
        total = compute(g.lhs_layout.whole(lhs), g.rhs_layout.whole(rhs), small)
        return g.out_layout.stored(total.astype(g.out_dtype))

    def read_lhs(image, row, channel):
        if rows == taps:
            starts = (image, *(0,) * (g.ndim + 1), channel)
            return g.lhs_layout.read(lhs, starts, (images, *g.spatial, g.groups, channels))
        # A window of rows is cut out padded; `compute` does what is left to do, and pads along the other axes.
        grow, rest = small.lhs_dilation[0], g.ndim - 1
        padding = tuple(ceil_div(side, grow) for side in g.padding[0])
        first_axis = replace(
            g,
            padding=(padding, *((0, 0),) * rest),
            lhs_dilation=(g.lhs_dilation[0] // grow, *(1,) * rest),
        )
        return read_window(lhs, first_axis, (image, row * g.rhs_dilation[0] // grow, *(0,) * g.ndim, channel), small)

    def read(index):
        image, row, channel = index[0] * images, index[1] * rows, index[2] * channels
        starts = (*(row, *(0,) * (g.ndim - 1))[: g.ndim], channel, 0, 0)
        right = g.rhs_layout.read(rhs, starts, (*small.kernel, channels, g.groups, g.out_channels))
        return read_lhs(image, row, channel), right

    def add(index, left, right, total):
        value = compute(left, right, small)
        if images == g.batch:
            return total + g.out_layout.stored(value)
        starts = (index[0] * images, *(0,) * (g.ndim + 2))
        return g.out_layout.write(total, g.out_layout.read(total, starts, value.shape) + value, starts)

    turns = (g.batch // images, taps // rows, g.in_channels // channels)
    nothing = jnp.zeros(g.out_layout.shape, g.accumulator)
    if not cut.ahead:
        total = for_each(turns, lambda index, total: add(index, *read(index), total), nothing)
    else:  # Between turns operands are in memory, so in the order that they are stored in most often: of images.
        total = for_each_block(
            turns,
            lambda index: turned(*read(index)),
            lambda index, operands, total: add(index, *turned_back(*operands), total),
            nothing,
        )
    return total.astype(g.out_dtype)


def turned(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [C, *S, G, N], [C, *K, G, O]."""
    return jnp.swapaxes(lhs, 0, -1), jnp.moveaxis(rhs, -3, 0)


def turned_back(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The other way round."""
    return jnp.swapaxes(lhs, 0, -1), jnp.moveaxis(rhs, 0, -3)


def added_up(
    compute: Compute,
    workspace: Workspace,
    refuses: Callable[[Geometry], str] = nothing,
    cut: Cut = CUT,
) -> Algorithm:
    """`compute` as an algorithm, for all that `refuses` (geometry -> why not, or "") does not refuse."""

    def convolve(lhs, rhs, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> jax.Array:
        return in_summands(compute, workspace, lhs, rhs, geometry, max_workspace_bytes, cut)

    return of_summands(convolve, workspace, refuses, cut)


def of_summands(
    convolve: Callable[..., jax.Array],
    workspace: Workspace,
    refuses: Callable[[Geometry], str] = nothing,
    cut: Cut = CUT,
) -> Algorithm:
    """The same with another way to go through the parts of the sum, that are cut as `cut` says."""

    def estimate(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        return needed(geometry, chosen_or_smallest(geometry, workspace, max_workspace_bytes, cut), workspace, cut)

    def turns(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
        return count(geometry, chosen_or_smallest(geometry, workspace, max_workspace_bytes, cut))

    return bounded(convolve, estimate, turns, refuses)
