"""Shifted slices times weights, added up: for groups of few channels.

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Each (k, c) is one slice of lhs times one vector of weights, elementwise over all images, positions and groups; the sum
is one fused loop that reads the input and writes the output, with no array in between. It is the sum over taps of
kn2row (Vasudevan, Anderson, Gregg 2017, arXiv 1704.04428) for products of one by one matrices.

No padded copy of lhs is made either. Along an axis the outputs fall into runs (`_runs`) that have the same taps inside
the input: each run takes the sum over the taps it has, and the runs are concatenated.

A dilated lhs is taken apart into its phases (`_phases`), whose outputs are interleaved.
"""

from collections.abc import Callable
from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES, bounded, once
from .._geometry import Geometry
from .._layout import of_bits, to_slice
from .._phases import axis_phases, interleave, phase_outputs
from ._runs import MAX_TERMS, exact_runs, padded_axes, padded_rows, padded_runs


def shift_and_add(view: jax.Array, term: Callable, geometry: Geometry, space: list[int]) -> jax.Array:
    """Sum over the taps of `term(window, tap)`, window being what the tap meets of view at all output positions.

    Args:
      view: an array whose spatial axes are `space`.
      term: gives an array of the accumulator's type; only the axes that are not spatial may have another size.
    """
    g = geometry

    def total(view, chosen, axes, tap=(), corner=()):
        """Sum over the taps of the axes that are left: row by row, which compiles to faster code than one long sum. One
        slice along all axes: of slices of slices with steps, which it does not merge, XLA copies those that are shared.
        """
        if len(tap) == g.ndim:
            start, stop, step = [0] * view.ndim, [*view.shape], [1] * view.ndim
            for at, first, run, phase in zip(space, corner, chosen, axes, strict=True):
                start[at], step[at] = first, phase.stride
                stop[at] = first + (run.stop - 1 - run.start) * phase.stride + 1
            return term(lax.slice(view, start, stop, step), tap)
        axis = len(tap)
        run, phase = chosen[axis], axes[axis]
        along = zip(run.taps, run.starts, strict=True)
        taps = [(phase.first + phase.step * j, start) for j, start in along]
        return reduce(add, [total(view, chosen, axes, (*tap, k), (*corner, start)) for k, start in taps])

    def nothing(view, chosen):
        """Zeros where no tap meets anything, of the shape that a term would have."""
        first = view
        for at, run in zip(space, chosen, strict=True):
            shape = list(first.shape)
            shape[at] = run.stop - run.start
            first = jax.ShapeDtypeStruct(shape, view.dtype)
        some = jax.eval_shape(lambda window: term(window, (0,) * g.ndim), first)
        return jnp.zeros(some.shape, some.dtype)

    def cut(view, axes, chosen=()):
        """The outputs of the phases `axes`, run by run."""
        if len(chosen) == g.ndim:
            return total(view, chosen, axes) if all(run.taps for run in chosen) else nothing(view, chosen)
        axis = len(chosen)
        parts = []
        for run in split[axis](axes[axis], each[axis], g.spatial[axis]):
            part = lax.slice_in_dim(view, *run.rows, axis=space[axis])
            pads = [(0, 0, 0)] * view.ndim
            pads[space[axis]] = (*run.pad, 0)
            parts.append(cut(lax.pad(part, jnp.zeros((), part.dtype), pads), axes, (*chosen, run)))
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, space[axis])

    every = axis_phases(g)
    each = phase_outputs(every, g.out_spatial)
    padded = max(padded_axes(g), 0)
    split = [padded_runs] * padded + [exact_runs] * (g.ndim - padded)
    return interleave(every, lambda axes: cut(view, axes), space, g.out_spatial)


def convolve(
    lhs: jax.Array, rhs: jax.Array, geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES
) -> jax.Array:
    """lhs, rhs and the result in the caller's layouts. Memory: rows at the ends, and a copy of lhs if its layout is not
    that of the output, or its type bfloat16."""
    g = geometry
    # Everything happens in the order in which the output is stored; lhs has its channels where out has its own.
    order = np.argsort(g.out_layout.order)
    place = {axis: int(at) for at, axis in enumerate(order)}
    space = [place[1 + axis] for axis in range(g.ndim)]
    group, channel = place[g.ndim + 1], place[g.ndim + 2]
    view = to_slice(lhs).reshape(g.lhs_layout.split).transpose([g.lhs_layout.order[axis] for axis in order])
    weights = g.rhs_layout.whole(rhs)

    def term(window, tap):
        shape = [1] * window.ndim
        shape[group], shape[channel] = g.groups, g.out_channels
        terms = []
        for c in range(g.in_channels):
            weight = weights[(*tap, c)] if group < channel else weights[(*tap, c)].T
            pixels = of_bits(lax.slice_in_dim(window, c, c + 1, axis=channel), g.dtype).astype(g.accumulator)
            terms.append(pixels * weight.reshape(shape).astype(g.accumulator))
        return reduce(add, terms)

    return shift_and_add(view, term, g, space).astype(g.out_dtype).reshape(g.out_layout.shape)


def workspace(geometry: Geometry, max_workspace_bytes: int = MAX_WORKSPACE_BYTES) -> int:
    """Bytes of what the compiler does not fuse: runs along the axis stored last, rows that are padded, and a copy of
    lhs, in another order or as bits."""
    g = geometry
    total = padded_rows(g) * g.groups * g.in_channels * jnp.dtype(g.dtype).itemsize
    order = [axis for axis in np.argsort(g.out_layout.order) if g.out_layout.split[g.out_layout.order[axis]] > 1]
    if order and 1 <= order[-1] <= g.ndim:
        copies = 1 if g.out_dtype == g.accumulator.name else 2  # rounded from another
        total += copies * prod(g.out_layout.shape) * g.accumulator.itemsize
    of_lhs = [axis for axis in np.argsort(g.lhs_layout.order) if axis in order]
    if of_lhs != order or g.dtype == "bfloat16":
        total += prod(g.lhs_layout.shape) * jnp.dtype(g.dtype).itemsize
    return total


def refuses(geometry: Geometry) -> str:
    """Why not, or ""."""
    return "" if padded_axes(geometry) >= 0 else f"it would write out more than {MAX_TERMS} products"


ALGORITHM = bounded(convolve, workspace, once, refuses)
