"""Shifted slices times weights, added up: for groups of few channels.

    out[n, s, g, o] = sum over k, c of  lhs[n, stride * s + rhs_dilation * k, g, c] * rhs[k, c, g, o]

Each (k, c) is one slice of lhs times one vector of weights, elementwise over all images, positions and groups; the sum
is one fused loop that reads the input and writes the output, with no array in between. It is the sum over taps of
kn2row (Vasudevan, Anderson, Gregg 2017, arXiv 1704.04428) for products of one by one matrices.

No padded copy of lhs is made either. Along an axis the outputs fall into runs that have the same taps inside the input:
each run takes the sum over the taps it has, and the runs are concatenated. A 3x3 kernel makes 3 x 3 runs. Where that
would be too many (a 7x7 kernel makes 49), all rows that meet an end along the first axis are one run, and a padded copy
is made of the few rows it reads.

A dilated lhs is taken apart into its phases (`_phases`), whose outputs are interleaved.
"""

from collections.abc import Callable
from functools import reduce
from math import prod
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._algorithm import MAX_WORKSPACE_BYTES, bounded, once
from .._geometry import Geometry
from .._layout import bits, of_bits
from .._phases import Phase, axis_phases, interleave, meets_input

MAX_TERMS = 800  # products written out, over all runs: about a second of compiling
MAX_RUNS = 8  # along an axis: a concatenation of more is written run by run first, and then copied


class Run(NamedTuple):
    """Outputs [start, stop) along one axis, all from the taps `taps` of the phase.

    What tap j multiplies begins at `starts[j]` in the axis, of which `rows` [low, high) are read, with `pad` rows of
    zeros put around them.
    """

    start: int
    stop: int
    taps: range
    starts: range
    rows: tuple[int, int]
    pad: tuple[int, int]


def exact_runs(phase: Phase, count: int, size: int) -> list[Run]:
    """The outputs [0, count), cut where the set of taps that lie inside the axis changes."""
    offsets = [j * phase.spread - phase.low for j in range(phase.taps)]
    enter = [-(offset // phase.stride) for offset in offsets]  # first output for which the tap is not in front
    leave = [-((offset - size) // phase.stride) for offset in offsets]  # first for which it is behind
    cuts = sorted({0, count, *(min(max(cut, 0), count) for cut in enter + leave)})
    found = []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        front = start * phase.stride - phase.low  # what tap 0 meets; tap j is j * spread further on
        first, last = (min(max(-(at // phase.spread), 0), phase.taps) for at in (front, front - size))
        inside = range(first, last)
        starts = range(front + first * phase.spread, front + last * phase.spread, phase.spread)
        found.append(Run(start, stop, inside, starts, (0, size), (0, 0)))
    return found


def padded_runs(phase: Phase, count: int, size: int) -> list[Run]:
    """At most three runs of all taps: those that meet the front, those that do not, those that meet the end."""
    exact = exact_runs(phase, count, size)
    whole = [run for run in exact if len(run.taps) == phase.taps]
    cuts = sorted({0, count, *(cut for run in whole for cut in (run.start, run.stop))})
    found = []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        first = start * phase.stride - phase.low
        last = (stop - 1) * phase.stride - phase.low + (phase.taps - 1) * phase.spread + 1
        rows = min(max(first, 0), size), min(max(last, 0), size)
        pad = rows[0] - first, last - rows[1]
        if rows[0] == rows[1]:  # nothing but padding
            pad = last - first, 0
        begin = 0
        if pad == (0, 0):  # slices of them would be copies, where there are strides
            begin, rows = first, (0, size)
        starts = range(begin, begin + phase.taps * phase.spread, phase.spread)
        found.append(Run(start, stop, range(phase.taps), starts, rows, pad))
    return found


def terms(geometry: Geometry, axes: list[list[Phase]], padded: int) -> int:
    """Products written out, where the first `padded` axes are cut into padded runs and the others into exact ones."""
    total = geometry.in_channels
    for axis, (size, count) in enumerate(zip(geometry.spatial, geometry.out_spatial, strict=True)):
        cut = padded_runs if axis < padded else exact_runs
        each = -(-count // len(axes[axis]))
        total *= sum(len(run.taps) for phase in axes[axis] for run in cut(phase, each, size))
    return total


def padded_axes(geometry: Geometry) -> int:
    """How many leading axes are cut into padded runs, so that few enough products are written out, in few enough runs;
    -1 if they cannot be."""
    g, every = geometry, axis_phases(geometry)
    each = [-(-count // len(phases)) for count, phases in zip(g.out_spatial, every, strict=True)]
    met = [
        sum(int(meets_input(phase, count, size).sum()) for phase in phases)
        for phases, count, size in zip(every, each, g.spatial, strict=True)
    ]
    if g.in_channels * prod(met) > MAX_TERMS:  # however it is cut; of many taps that is sooner told
        return -1
    runs = [
        max(len(exact_runs(phase, count, size)) for phase in phases)
        for phases, count, size in zip(every, each, g.spatial, strict=True)
    ]
    first = next((n for n in range(g.ndim + 1) if max(runs[n:], default=0) <= MAX_RUNS), g.ndim)
    return next((n for n in range(first, g.ndim + 1) if terms(g, every, n) <= MAX_TERMS), -1)


def padded_rows(geometry: Geometry) -> int:
    """Elements of all images, in each channel, of the padded copies of what ends of axes read."""
    g, total = geometry, 0
    for axis in range(max(padded_axes(g), 0)):
        phases, size, count = axis_phases(g)[axis], g.spatial[axis], g.out_spatial[axis]
        runs = [run for phase in phases for run in padded_runs(phase, -(-count // len(phases)), size)]
        rows = sum(high - low + sum(run.pad) for run in runs if any(run.pad) for low, high in [run.rows])
        total += g.batch * rows * prod(g.spatial) // size
    return total


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
    each = [-(-count // len(phases)) for count, phases in zip(g.out_spatial, every, strict=True)]
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
    if g.dtype == "bfloat16":  # else XLA:CPU would slice a float32 copy of it, or several
        lhs = bits(lhs)
    view = lhs.reshape(g.lhs_layout.split).transpose([g.lhs_layout.order[axis] for axis in order])
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
