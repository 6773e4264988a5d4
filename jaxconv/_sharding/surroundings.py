"""A shard and the rows around it, which it received, without a copy of the shard: in boxes, read a block at a time.

Along each axis there are, in this order, boxes of the rows of the shards before, nearest last, the shard's own, and
boxes of those after. Boxes of the second axis are as long along the first as all that is there by then, cut at the
same places: so corners come along, and messages stay one for each shard that has rows of interest.

A block may begin anywhere and end anywhere, beyond what there is included. Of each box as many rows are taken, or all
if it has fewer, from where the block begins, or the nearest place to that. Where the block passes from one box to the
next, the rows that were taken end and begin there: so it lies in one piece in what was taken, put together.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import ceil_div
from .factors import Axes
from .halo import passed_on
from .windows import Span

Boxes = dict[tuple[int, ...], jax.Array]  # by their index along each of some axes
Place = Any  # an int, or a traced one


class Side(NamedTuple):
    """An axis of an array, how many rows of the shards before and after there are to be, and the mesh axes of these."""

    axis: int
    low: int = 0
    high: int = 0
    names: Axes = ()


class Surroundings(NamedTuple):
    """What there is of an array.

    Attributes:
      axes: of the array, along which there may be several boxes.
      spans: for each of them the rows of each box, counted from the first of the shard's own.
      boxes: the same of these axes.
    """

    axes: tuple[int, ...]
    spans: tuple[list[Span], ...]
    boxes: Boxes


def surroundings(x: jax.Array, sides: Sequence[Side], mesh: dict[str, int]) -> Surroundings:
    """Those of a shard. The sizes of the mesh axes are in the order of the mesh."""
    here = Surroundings((), (), {(): x})
    for axis, low, high, names in sides:
        own, boxes = x.shape[axis], {}
        if (low or high) and not own:
            raise ValueError(f"{low} and {high} rows around an empty shard: {x.shape}, axis {axis}")
        before = [(hop, (-min(low, hop * own), own - hop * own)) for hop in range(ceil_div(low, max(own, 1)), 0, -1)]
        after = [(-hop, (hop * own, own + min(high, hop * own))) for hop in range(1, ceil_div(high, max(own, 1)) + 1)]
        hops = [*before, (0, (0, own)), *after]
        for place, (hop, (first, end)) in enumerate(hops):
            rows = {key: cut(box, {axis: (first + hop * own, end - first)}) for key, box in here.boxes.items()}
            if hop:
                rows = _split(passed_on(_joined(rows, here.axes), names, hop, mesh), here)
            boxes.update({(*key, place): box for key, box in rows.items()})
        here = Surroundings((*here.axes, axis), (*here.spans, [span for _, span in hops]), boxes)
    return here


def read(
    here: Surroundings, firsts: Sequence[Place], rows: Sequence[int], margins: Sequence[tuple[int, int]] | None = None
) -> jax.Array:
    """A block of so many rows from these on, along each axis; beyond what there is, zeros.

    Args:
      here: what there is.
      firsts: the first row along each axis, counted from the first of the shard's own.
      rows: how many.
      margins: how many of them may lie before and after all there is; none do by default.
    """
    margins = margins or [(0, 0)] * len(rows)
    along = [_parts(*each) for each in zip(here.spans, firsts, rows, margins, strict=True)]
    boxes: Boxes = {}
    like = next(iter(here.boxes.values()))
    for key in product(*(range(len(parts)) for parts, _ in along)):
        chosen = [parts[at] for (parts, _), at in zip(along, key, strict=True)]
        where = {axis: (part.start, part.length) for axis, part in zip(here.axes, chosen, strict=True)}
        box = here.boxes.get(tuple(part.box for part in chosen))
        shape = [where[axis][1] if axis in where else size for axis, size in enumerate(like.shape)]
        boxes[key] = jnp.zeros(shape, like.dtype) if box is None else cut(box, where)
    places = {axis: (place, count) for axis, (_, place), count in zip(here.axes, along, rows, strict=True)}
    return cut(_joined(boxes, here.axes), places)


class _Part(NamedTuple):
    """Rows that are taken of a box; of one that is not there, zeros."""

    box: int
    start: Place
    length: int


def _parts(spans: list[Span], first: Place, count: int, margins: tuple[int, int]) -> tuple[list[_Part], Place]:
    """What to take along one axis, and where in that the block begins."""
    before, after = (spans[0][0] - margins[0], spans[0][0]), (spans[-1][1], spans[-1][1] + margins[1])
    parts, place = [], 0
    for box, (low, high) in [(-1, before), *enumerate(spans), (len(spans), after)]:
        if isinstance(first, int):  # no more than it is
            start, length = max(first - low, 0), max(min(first + count, high) - max(first, low), 0)
        else:
            length = min(count, high - low)
            start = jnp.clip(first - low, 0, high - low - length)
            place += jnp.clip(first - low - start, 0, length)
        if length:
            parts.append(_Part(box, start, length))
    return parts or [_Part(0, 0, 0)], place if len(parts) > 1 else 0


def _joined(boxes: Boxes, axes: Sequence[int]) -> jax.Array:
    """One array of boxes that lie next to each other along these axes."""
    for axis in reversed(axes):
        lines: dict[tuple[int, ...], list[jax.Array]] = {}
        for key in sorted(boxes):
            lines.setdefault(key[:-1], []).append(boxes[key])
        boxes = {key: jnp.concatenate(line, axis) if len(line) > 1 else line[0] for key, line in lines.items()}
    return boxes[()]


def _split(x: jax.Array, like: Surroundings) -> Boxes:
    """The way back: boxes that are cut where those of these axes are."""
    boxes = {}
    for key in like.boxes:
        spans = [(axis, spans[0][0], spans[at]) for axis, spans, at in zip(like.axes, like.spans, key, strict=True)]
        boxes[key] = cut(x, {axis: (first - begin, end - first) for axis, begin, (first, end) in spans})
    return boxes


def cut(x: jax.Array, where: dict[int, tuple[Place, int]]) -> jax.Array:
    """So many rows from this one on, along some axes."""
    starts, sizes = [0] * x.ndim, [*x.shape]
    for axis, (start, size) in where.items():
        starts[axis], sizes[axis] = start, size
    if all(isinstance(start, int) for start in starts):
        return lax.slice(x, starts, [start + size for start, size in zip(starts, sizes, strict=True)])
    x, first = lax.optimization_barrier((x, indices(starts)))  # as in `Layout.read_stored`
    return lax.dynamic_slice(x, first, sizes, allow_negative_indices=False)


def indices(places: Sequence[Place]) -> list[jax.Array]:
    """Of one type, which XLA asks for."""
    return [jnp.asarray(place, jnp.int32) for place in places]
