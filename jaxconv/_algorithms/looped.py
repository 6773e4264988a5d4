"""Shifted slices times weights, added up in a loop: for groups of few channels and kernels too large to write out.

The loop runs over the leading taps; its body adds as many products as compile in tenths of a second, all as one fused
pass over the output. Of two images of RepLKNet (31x31 taps) that is two rows of taps a turn.
"""

from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from .._chunk import Kernel
from .._chunks import chunked
from .._geometry import Geometry
from .._layout import of_bits, to_slice
from .._phases import Phase, axis_phases, interleave, phase_outputs, too_many
from .._tiling import for_each

MAX_TERMS = 64  # products in the body; with more than about a hundred LLVM spills registers, and times double


def workspace(geometry: Geometry) -> int:
    """Bytes of the input padded for each phase, the window that a turn reads, the sum before and after; where there are
    phases, of their taps and of their outputs put in order."""
    g = geometry
    channels = g.batch * g.groups * g.in_channels
    is_padded, length = False, []
    every = axis_phases(g)
    parts = prod(map(len, every))
    for axes, each, size in zip(every, phase_outputs(every, g.out_spatial), g.spatial, strict=True):
        reach = [(each - 1) * phase.stride + (phase.taps - 1) * phase.spread + 1 for phase in axes if phase.taps]
        length.append(max(reach, default=0))
        is_padded |= any(phase.low for phase in axes) or reach != [size]
    itemsize = jnp.dtype(g.dtype).itemsize
    inputs = channels * prod(length) * itemsize * (1 + is_padded * parts)
    outputs = g.batch * prod(g.out_spatial) * g.groups * g.out_channels * g.accumulator.itemsize
    if parts == 1:
        return inputs + 2 * outputs
    taps = prod(g.kernel) * g.in_channels * g.groups * g.out_channels * itemsize
    return inputs + taps + 4 * outputs


def compute(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """lhs [N, *S, G, C], rhs [*K, C, G, O] -> [N, *S', G, O]."""
    g = geometry
    every = axis_phases(g)
    counts = phase_outputs(every, g.out_spatial)
    space = range(1, 1 + g.ndim)
    lhs = to_slice(lhs)
    return interleave(every, lambda axes: add_up(lhs, rhs, g, axes, counts), space, g.out_spatial)


def add_up(lhs: jax.Array, rhs: jax.Array, g: Geometry, axes: tuple[Phase, ...], counts: list[int]) -> jax.Array:
    """The outputs of one phase along each axis; of bfloat16 lhs comes as bits."""
    shape = (g.batch, *counts, g.groups, g.out_channels)
    total = jnp.zeros(shape, g.accumulator)
    taps = [phase.taps for phase in axes]
    if 0 in taps:
        return total
    # Taps of axes before `axis` are looped over one by one, those of `axis` in blocks, those after it are written out.
    axis, inner = len(taps), g.in_channels
    while axis and (axis == len(taps) or inner * taps[axis] <= MAX_TERMS):
        inner *= taps[axis] if axis < len(taps) else 1
        axis -= 1
    block = max(1, min(taps[axis], MAX_TERMS // inner))

    reach = [(count - 1) * phase.stride + 1 for count, phase in zip(counts, axes, strict=True)]
    pads = [
        (phase.low, length + (phase.taps - 1) * phase.spread - phase.low - size, 0)
        for phase, length, size in zip(axes, reach, g.spatial, strict=True)
    ]
    padded = lax.pad(lhs, jnp.zeros((), lhs.dtype), [(0, 0, 0), *pads, (0, 0, 0), (0, 0, 0)])
    some = rhs[tuple(slice(phase.first, None, phase.step) for phase in axes)]

    def turns(begin, size, turns, total):
        """Blocks of `size` taps of `axis` from `begin` on."""

        def turn(index, total):
            corner = [*index[:-1], begin + size * index[-1], *(0,) * (g.ndim - axis - 1)]
            here = [*(1,) * axis, size, *taps[axis + 1 :]]
            window = lax.dynamic_slice(
                padded,
                (0, *(k * phase.spread for k, phase in zip(corner, axes, strict=True)), 0, 0),
                (
                    g.batch,
                    *(long + (n - 1) * phase.spread for long, n, phase in zip(reach, here, axes, strict=True)),
                    *lhs.shape[-2:],
                ),
                allow_negative_indices=False,
            )
            weights = lax.dynamic_slice(some, (*corner, 0, 0, 0), (*here, *rhs.shape[-3:]))
            return total + products(window, weights, axes, counts, g)

        return for_each((*taps[:axis], turns), turn, total)

    whole = taps[axis] // block
    total = turns(0, block, whole, total)
    rest = taps[axis] - whole * block
    return turns(whole * block, rest, 1, total) if rest else total


def products(window: jax.Array, weights: jax.Array, axes: tuple[Phase, ...], counts: list[int], g: Geometry):
    """Sum of all weights [*K, C, G, O] times the slices of the window that they multiply."""

    def along(window, tap):
        if len(tap) == g.ndim:
            # Weights are indexed in one go: of a slice of them with a single use, XLA would compute the place anew for
            # each element, and the loop would take seven times as long.
            return reduce(
                add,
                (
                    of_bits(window[..., c : c + 1], g.dtype).astype(g.accumulator)
                    * jnp.expand_dims(weights[(*tap, c)], range(1 + g.ndim)).astype(g.accumulator)
                    for c in range(g.in_channels)
                ),
            )
        axis = len(tap)
        span = (counts[axis] - 1) * axes[axis].stride + 1
        terms = []
        for k in range(weights.shape[axis]):
            start = k * axes[axis].spread
            part = lax.slice_in_dim(window, start, start + span, axes[axis].stride, 1 + axis)
            terms.append(along(part, (*tap, k)))
        return reduce(add, terms)

    return along(window, ())


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    if not geometry.ndim:
        return "there are no taps to loop over"
    if geometry.in_channels > MAX_TERMS:
        return f"groups of {geometry.in_channels} input channels are too wide to be written out"
    return too_many(geometry)


KERNEL = Kernel(compute, workspace)
ALGORITHM = chunked(KERNEL, refuses)
