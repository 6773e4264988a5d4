"""Runs: the outputs along an axis, cut where the set of taps that meet the input changes.

The sum over taps of each run is written out (`written_out`) without a padded copy of the input. A 3x3 kernel makes
3 x 3 runs. Where that would be too many (a 7x7 kernel makes 49), all rows that meet an end along the first axis are one
run, and a padded copy is made of the few rows it reads.
"""

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

from .._geometry import Geometry
from .._phases import Phase, axis_phases, meets_input, phase_outputs, too_many

MAX_TERMS = 800  # products written out, over all runs: about a second of compiling
MAX_RUNS = 8  # along an axis: a concatenation of more is written part by part first, and then copied


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
    each = phase_outputs(axes, geometry.out_spatial)
    for axis, (phases, count, size) in enumerate(zip(axes, each, geometry.spatial, strict=True)):
        cut = padded_runs if axis < padded else exact_runs
        total *= sum(len(run.taps) for phase in phases for run in cut(phase, count, size))
    return total


def padded_axes(geometry: Geometry) -> int:
    """How many leading axes are cut into padded runs, so that few enough products are written out, in few enough runs;
    -1 if they cannot be."""
    return _padded_axes(replace(geometry, batch=1, out_channels=1))  # whatever these are; a chunk is one of many


@lru_cache(4096)
def _padded_axes(g: Geometry) -> int:
    if too_many(g):
        return -1
    every = axis_phases(g)
    each = phase_outputs(every, g.out_spatial)
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
    g, total, every = geometry, 0, axis_phases(geometry)
    each = phase_outputs(every, g.out_spatial)
    for phases, count, size in [*zip(every, each, g.spatial, strict=True)][: max(padded_axes(g), 0)]:
        runs = [run for phase in phases for run in padded_runs(phase, count, size)]
        rows = sum(high - low + sum(run.pad) for run in runs if any(run.pad) for low, high in [run.rows])
        total += g.batch * rows * prod(g.spatial) // size
    return total
