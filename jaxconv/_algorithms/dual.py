"""One sum of products for each output position: weight gradients of groups of few channels.

The weight gradient of a depthwise convolution is a convolution with few outputs, the taps, and a huge "kernel", the
gradient that comes in:

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Where the other algorithms go through the taps and add to all outputs, this one goes through the outputs s, each of
which is a sum over all k and c (the positions and images of the gradient) of a slice of lhs times rhs, group by group.

Adding up over whole images would read them from memory once for each s. So it is done in two steps: a fused pass adds
up blocks of a row, for all s while the row is in the cache, and writes these partial sums; a second adds those. Arrays
are taken in the order in which lhs is stored, so that groups, which are not summed, are innermost if they are there.

Of few s and short rows (`WHOLE`) that is done for all images at once, each s with the taps alone that meet the input.
Otherwise of a padded copy, an image at a time so that it stays in the cache, or some rows of one.
"""

from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from .._algorithm import MAX_WORKSPACE_BYTES, bounded, once
from .._cut import Cut
from .._geometry import Geometry, ceil_div, dilated
from .._summands import Compute, in_summands, of_summands
from ._positions import plan, positions
from ._runs import MAX_RUNS, MAX_TERMS

CACHE_BYTES = 4 * 2**20  # what the fused pass reads and writes should stay in the cache: two images at once were slower


def workspace(geometry: Geometry, is_padded: bool = True) -> int:
    """Bytes of the padded lhs and a copy of rhs, or of what is to be cut as bits or turned, and of the partial sums."""
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
    sums = (widened + partial + 2 * prod(g.out_spatial) * out) * wide
    is_turned = not g.rhs_layout.is_stored_as(orders(g)[1])
    if is_padded:
        return (2 * lhs + (1 + is_turned) * rhs) * size + sums
    return ((lhs + rhs) * (g.dtype == "bfloat16") + rhs * is_turned) * size + sums


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: the output and `max_workspace_bytes`."""
    return in_summands(in_order(geometry, True), workspace, lhs, rhs, geometry, max_workspace_bytes, CUT)


def convolve_whole(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """The same of all images at once, without a padded copy of them."""
    g = geometry
    total = in_order(g, False)(g.lhs_layout.whole(lhs), g.rhs_layout.whole(rhs), g)
    return g.out_layout.stored(total.astype(g.out_dtype))


def orders(geometry: Geometry) -> tuple[list[int], list[int]]:
    """The canonical axes of lhs as they are stored, and those of rhs in the same order: taps where lhs has its
    positions, one element where it has the batch; o comes last."""
    g = geometry
    order = [int(axis) for axis in np.argsort(g.lhs_layout.order)]
    of_rhs = {g.ndim + 1: g.ndim + 1, g.ndim + 2: g.ndim, **{1 + i: i for i in range(g.ndim)}}
    return order, [*(of_rhs[axis] for axis in order if axis), g.ndim + 2]


def in_order(geometry: Geometry, is_padded: bool) -> Compute:
    """`positions` of parts of the operands of this convolution, in the order that lhs is stored in."""
    g = geometry
    order, order_of_rhs = orders(g)
    place = {axis: at for at, axis in enumerate(order)}
    batch, space, summed = place[0], [place[1 + i] for i in range(g.ndim)], place[g.ndim + 2]

    def compute(left, right, small):
        as_stored = replace(small, dimension_numbers=g.dimension_numbers, batch_grouped=g.batch_grouped)
        taps = jnp.expand_dims(right.transpose(order_of_rhs), batch)
        return positions(left.transpose(order), taps, as_stored, batch, space, summed, is_padded)

    return compute


def refuses_whole(geometry: Geometry) -> str:
    """Why not all images at once, or ""."""
    g = geometry
    axis, block, looped, _ = plan(g)
    if not jnp.issubdtype(g.accumulator, np.floating):
        return f"sums of {g.accumulator} are faster of a padded copy"
    if looped:
        return f"{prod(g.out_spatial)} output positions are looped over"
    if max(g.lhs_dilation, default=1) > 1:
        return f"lhs_dilation must be 1, and is {g.lhs_dilation}"
    if g.ndim and block < g.kernel[axis]:
        return f"rows of {g.kernel[axis]} are added up in blocks of {block}"
    terms = prod(g.out_spatial) * block
    return f"it would write out {terms} products, more than {MAX_TERMS}" * (terms > MAX_TERMS)


def cached(geometry: Geometry) -> bool:
    """Whether what the fused pass reads and writes stays in the cache, or it is of one image: rows of one, each read
    with its neighbours, are for what does not fit otherwise."""
    return geometry.in_channels == 1 or workspace(geometry) <= CACHE_BYTES


CUT = Cut(("channels", "rows"), cached=cached, copies=2)
ALGORITHM = of_summands(convolve, workspace, cut=CUT)
WHOLE = bounded(convolve_whole, lambda geometry, *bound: workspace(geometry, is_padded=False), once, refuses_whole)
